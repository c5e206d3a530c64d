"""PyTorch and TensorFlow in bf16 and fp16: what is rounded, what is not, and what the environment may not change."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from dlbench.contract import Plan
from dlbench.oracle.rounding import rounded
from dlbench.spec.precision import FORMATS

MODES = {"torch": ("eager", "channels-last"), "tensorflow": ("graph", "xla")}
WAYS = [(name, mode) for name, modes in MODES.items() for mode in modes]
NETWORK = (
    {"type": "conv2d", "out_channels": 6, "kernel": 3, "stride": 2, "padding": 1}
    # before a batch norm its gradient would be next to nothing
    | {"bias": False},
    {"type": "leaky_relu", "slope": 0.1},
    {"type": "max_pool", "kernel": 3, "stride": 2},
    {"type": "batch_norm"},
    {"type": "sigmoid"},
    {"type": "avg_pool", "kernel": 2, "stride": 1},
    {"type": "flatten"},
    {"type": "linear", "out_features": 8},
    {"type": "tanh"},
    {"type": "linear", "out_features": 4},
)
LARGE = {"type": "linear", "out_features": 1, "bias": False}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize(("name", "mode"), WAYS)
def test_short_values_stay_near_float32_and_are_not_float32(lab_of, name, mode, precision):
    lab = lab_of(name)
    workload = lab.workload(NETWORK)
    weights, arrays = lab.weights(workload), lab.batch(workload)
    found = {}
    for each in ("fp32", precision):
        session = lab.open(workload, weights, mode=mode, precision=each)
        session.learning_rate = 2.0**20
        batch = session.upload(*arrays)
        outputs = session.download(session.infer(batch))
        session.train_step(batch)
        after = session.weights()
        steps = {n: weights[n].astype(np.float64) - after[n] for n in weights}
        found[each] = {"outputs": outputs} | {n: s for n, s in steps.items() if s.any()}
    assert found["fp32"].keys() == found[precision].keys()
    unit = FORMATS[precision].unit_roundoff
    for what, exact in found["fp32"].items():
        error = np.linalg.norm(found[precision][what] - exact) / np.linalg.norm(exact)
        assert 0 < error < 40 * unit, what


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize(("name", "mode"), WAYS)
def test_factors_are_rounded_and_long_sums_are_not(lab_of, name, mode, precision):
    """Whole numbers that a short sum would lose: 2,500 terms of 1, and 4 more of half a unit that rounding removes."""
    lab = lab_of(name)
    workload = lab.workload([LARGE], (2504,), "mean_squared_error")
    unit = FORMATS[precision].unit_roundoff
    weights = {parameter.name: np.ones((1, 2504), np.float32) for parameter in workload.parameters}
    inputs = np.ones((5, 2504), np.float32)
    inputs[:, :2000:2] = -1
    inputs[:, 2500:] = 1 + unit
    session = lab.open(workload, weights, mode=mode, precision=precision)
    zeros = np.zeros((5, 1), np.float32)
    outputs = session.download(session.infer(session.upload(inputs, zeros)))
    # 1,500 ones less 1,000, and the four that became 1
    np.testing.assert_array_equal(outputs, 504.0)
    assert session.facts["factors"] == {"bf16": "bf16", "fp16": "tf32 or fp16"}[precision]


@pytest.mark.parametrize(("name", "mode"), WAYS)
def test_the_gradient_of_a_gate_is_summed_in_float32(lab_of, name, mode):
    lab = lab_of(name)
    gate = [{"type": "global_avg_pool"}, {"type": "linear", "out_features": 3}]
    layers = [
        # as it is, but stored short
        {"type": "conv2d", "out_channels": 3, "kernel": 1, "bias": False},
        {"type": "scale", "body": gate},
        {"type": "global_avg_pool"},
    ]
    workload = lab.workload(layers, (3, 40, 40), "mean_squared_error")
    weights = {
        "conv1.weight": np.eye(3, dtype=np.float32)[:, :, None, None],
        "linear1.weight": np.zeros((3, 3), np.float32),
        "linear1.bias": np.ones(3, np.float32),
    }
    # all terms have one sign, so that every rounding of a partial sum shows
    inputs = np.abs(lab.batch(workload)[0]).astype(np.float16).astype(np.float32)
    found = {}
    for precision in ("fp32", "fp16"):
        session = lab.open(workload, weights, mode=mode, precision=precision)
        session.learning_rate = 2.0**20
        session.train_step(session.upload(inputs, np.zeros((5, 3), np.float32)))
        found[precision] = session.weights()["linear1.bias"].astype(np.float64) - 1
    np.testing.assert_allclose(found["fp16"], found["fp32"], 2 * FORMATS["fp16"].unit_roundoff)


@pytest.mark.parametrize(("name", "mode"), WAYS)
@pytest.mark.parametrize(
    ("image", "options"),
    [
        # one column of outputs, which AMX has wrong: padded, dilated, and padded on one side alone
        ((6, 16, 1), {"stride": 2, "padding": 1}),
        ((6, 16, 7), {"stride": [1, 3], "padding": [1, 0], "dilation": [1, 2]}),
        ((6, 16, 5), {"stride": [1, 3], "padding": [[0, 1], [0, 2]], "kernel": [2, 5]}),
        # windows that move by more than the image is wide, to one output and to a row of two
        ((16, 1, 1), {"stride": 2, "padding": 1}),
        ((16, 9, 1), {"stride": [3, 2], "padding": [0, 2], "kernel": [1, 3]}),
    ],
)
def test_convolutions_of_narrow_images_are_right(lab_of, name, mode, image, options):
    lab = lab_of(name)
    layers = [{"type": "conv2d", "out_channels": 9, "kernel": 3} | options, {"type": "flatten"}]
    workload = lab.workload(layers, image, loss="mean_squared_error")
    short = FORMATS["bf16"]
    weights = {n: rounded(w, short).astype(np.float32) for n, w in lab.weights(workload).items()}
    inputs, targets = lab.batch(workload)
    inputs = rounded(inputs, short).astype(np.float32)
    found = {}
    for precision in ("fp32", "bf16"):
        session = lab.open(workload, weights, mode=mode, precision=precision)
        session.learning_rate = 2.0**20
        batch = session.upload(inputs, targets)
        outputs = session.download(session.infer(batch))
        for _ in range(3):
            # what is not written holds numbers that were there before
            session.load(weights)
            session.train_step(batch)
        weight = "conv1.weight"
        found[precision] = outputs, session.weights()[weight].astype(np.float64) - weights[weight]
    for exact, got in zip(*found.values(), strict=True):
        np.testing.assert_allclose(got, exact, 0, 4 * short.unit_roundoff * np.abs(exact).max())


@pytest.mark.parametrize("mode", MODES["torch"])
@pytest.mark.parametrize(
    "behind",
    [
        # each hands a gradient back in another order in memory than the input's
        [{"type": "batch_norm"}, {"type": "global_avg_pool"}],
        [{"type": "concat", "bodies": [[{"type": "batch_norm"}], []]}, {"type": "flatten"}],
    ],
    ids=["pooled", "part"],
)
def test_torch_sums_a_norms_gradients_in_float32_however_they_lie_in_memory(lab_of, mode, behind):
    lab = lab_of("torch")
    conv = {"type": "conv2d", "out_channels": 5, "kernel": 3}
    workload = lab.workload([conv, *behind, {"type": "linear", "out_features": 4}])
    weights = lab.weights(workload) | {"norm1.shift": np.zeros(5, np.float32)}
    session = lab.open(workload, weights, mode=mode, precision="bf16")
    session.learning_rate = 2.0**20
    session.train_step(session.upload(*lab.batch(workload)))
    shift = session.weights()["norm1.shift"].astype(np.float64)
    # a sum that was rounded to 8 bits is a bf16 number
    assert np.any(rounded(shift, FORMATS["bf16"]) != shift)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", list(MODES))
def test_masters_take_steps_that_a_short_weight_would_lose(lab_of, name, precision):
    lab = lab_of(name)
    workload = lab.workload([LARGE], (3,), "mean_squared_error")
    weights = {parameter.name: np.ones((1, 3), np.float32) for parameter in workload.parameters}
    session = lab.open(workload, weights, precision=precision)
    session.learning_rate = 2.0**-16
    batch = session.upload(np.ones((5, 3), np.float32), np.full((5, 1), 2.0, np.float32))
    for _ in range(3):
        session.train_step(batch)
    # the gradient is 2·(3 − 2): weights sink so little that products do not see it
    stepped = next(iter(session.weights().values()))
    np.testing.assert_array_equal(stepped, np.float32(1 - 3 * 2 * 2.0**-16))


@pytest.mark.parametrize("name", list(MODES))
def test_inference_sees_weights_that_were_loaded_or_trained_since(lab_of, name):
    lab = lab_of(name)
    workload = lab.workload([LARGE], (3,), "mean_squared_error")
    (parameter,) = workload.parameters
    weights = {parameter.name: np.ones((1, 3), np.float32)}
    session = lab.open(workload, weights, precision="bf16")
    batch = session.upload(np.ones((5, 3), np.float32), np.ones((5, 1), np.float32))
    outputs = [session.download(session.infer(batch))[0, 0]]
    session.load({parameter.name: np.full((1, 3), 2.0, np.float32)})
    outputs.append(session.download(session.infer(batch))[0, 0])
    session.learning_rate = 0.1
    session.train_step(batch)
    outputs.append(session.download(session.infer(batch))[0, 0])
    # 3, 6, and a step of 0.1 · 2·(6 − 1) for each weight
    np.testing.assert_allclose(outputs, [3, 6, 3], rtol=2.0**-7)


TRIAL = """
import json, os, sys
from importlib import import_module
from dlbench.contract import Plan
name, precision = sys.argv[1:]
adapter = import_module(f"dlbench.backends.{name}.adapter").Adapter()
plan = Plan(name, "cpu", 4, 1, precision=precision)
os.environ.update(adapter.environment(plan))
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import initial_weights
workload = load_suite("smoke").workload
session = adapter.open(plan, workload, initial_weights(workload, 0))
print(json.dumps(dict(session.facts)))
"""


@pytest.mark.parametrize("name", list(MODES))
def test_the_environment_makes_nothing_short_and_compiles_nothing(name):
    pytest.importorskip(name)
    mischief = {
        "ONEDNN_DEFAULT_FPMATH_MODE": "BF16",
        "TF_SET_ONEDNN_FPMATH_MODE": "BF16",
        "TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit",
        "TF_ENABLE_AUTO_MIXED_PRECISION": "1",
    }
    command = [sys.executable, "-c", TRIAL, name, "fp32"]
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | mischief)
    assert ended.returncode == 0, ended.stderr
    facts = json.loads(ended.stdout.splitlines()[-1])
    seen = ("tf32", "factors", "autocast", "onednn_fpmath")
    assert ["off", "fp32", "off", "strict"] == [facts[name] for name in seen]
    assert facts.get("xla", "off") == "off"


def test_where_torch_sums_in_the_short_format_factors_are_rounded_and_products_are_not(monkeypatch):
    torch = pytest.importorskip("torch")
    from dlbench.backends.torch import precision

    from dlbench.spec.precision import policy_of

    device, dtype = torch.device("cpu"), torch.bfloat16
    precision.sums_are_float32.cache_clear()
    plain = torch.nn.functional.linear

    def short_sums(x, weight, bias=None):
        """Two halves, each rounded."""
        if x.dtype == torch.float64:
            return plain(x, weight, bias)
        half = x.shape[1] // 2
        found = plain(x[:, :half], weight[:, :half]) + plain(x[:, half:], weight[:, half:])
        return found if bias is None else found + bias

    monkeypatch.setattr(precision.F, "linear", short_sums)
    assert not precision.sums_are_float32(device, dtype)
    assert precision.short_of(policy_of("bf16"), device).wide_products
    precision.sums_are_float32.cache_clear()


def test_products_in_float32_of_rounded_factors_are_those_of_short_ones(lab_of, monkeypatch):
    lab = lab_of("torch")
    from dlbench.backends.torch import precision

    workload = lab.workload((NETWORK[0], NETWORK[6], NETWORK[9]))
    weights, arrays = lab.weights(workload), lab.batch(workload)
    found = {}
    for wide in (False, True):
        monkeypatch.setattr(precision, "sums_are_float32", lambda *_, wide=wide: not wide)
        session = lab.open(workload, weights, precision="bf16")
        session.train_step(session.upload(*arrays))
        found[wide] = session.weights()
    for name, array in found[False].items():
        scale = np.abs(array - weights[name]).max()
        np.testing.assert_allclose(found[True][name], array, 0, 2.0**-7 * scale, err_msg=name)


def test_a_mode_that_records_needs_a_gpu(lab_of):
    from dlbench.errors import BackendUnavailable

    lab = lab_of("torch")
    workload = lab.workload([{"type": "flatten"}], loss="mean_squared_error")
    for mode in ("cuda-graph", "compile-cuda-graph"):
        assert mode in lab.adapter.info().modes
        with pytest.raises(BackendUnavailable, match="a CPU has no such recording") as refusal:
            lab.adapter.open(Plan("torch", "cpu", 5, 1, mode=mode), workload, {})
        assert "GPU" in refusal.value.remedy
