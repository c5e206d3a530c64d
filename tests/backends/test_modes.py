"""The further modes of PyTorch and TensorFlow: other ways to the same numbers."""

import shutil

import numpy as np
import pytest

from dlbench.contract import Plan
from dlbench.errors import BackendUnavailable
from dlbench.verify.check import verify
from dlbench.verify.sessions.reuse import Reusing

DROPOUT = {"type": "dropout", "rate": 0.4}
needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="there is no C++ compiler")


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("torch", "channels-last"),
        ("tensorflow", "eager"),
        ("tensorflow", "xla"),
        pytest.param("torch", "compile", marks=[pytest.mark.soak, needs_compiler]),
        pytest.param("torch", "compile-max-autotune", marks=[pytest.mark.soak, needs_compiler]),
    ],
)
def test_a_mode_computes_what_the_oracle_does(name, mode, lab_of, cache_dir):
    lab = lab_of(name)
    assert mode in lab.adapter.info().modes
    layers = (*lab.EVERYTHING[:3], DROPOUT, *lab.EVERYTHING[3:])
    workload = lab.workload(layers, optimizer={"type": "adam", "learning_rate": 0.001})
    plan = Plan(name, "cpu", 5, 2, mode=mode)
    # as in a conformance: each network is compiled once, at one batch
    found = verify(Reusing(lab.adapter), plan, workload, cache_dir, small_batch=plan.batch)
    assert "" == found.reason


@needs_compiler
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_compiled_network_trains_and_infers_as_the_plain_one(lab_of):
    lab = lab_of("torch")
    workload = lab.workload(lab.EVERYTHING[:3] + lab.EVERYTHING[9:11])
    weights, arrays = lab.weights(workload), lab.batch(workload)
    found = {}
    for mode in ("eager", "compile"):
        session = lab.open(workload, weights, mode=mode)
        batch = session.upload(*arrays)
        losses = [float(session.download(session.train_step(batch))) for _ in range(3)]
        outputs = session.download(session.infer(batch))
        found[mode] = {"losses": np.array(losses), "outputs": outputs, **session.weights()}
    for what, array in found["eager"].items():
        np.testing.assert_allclose(found["compile"][what], array, 1e-4, 1e-5, err_msg=what)


def test_a_network_in_channels_last_hands_out_its_arrays_in_the_canonical_layout(lab_of):
    lab = lab_of("torch")
    workload = lab.workload(
        [{"type": "conv2d", "out_channels": 4, "kernel": 3}], loss="mean_squared_error"
    )
    session = lab.open(workload, mode="channels-last")
    outputs = session.download(session.infer(session.upload(*lab.batch(workload))))
    assert all(array.flags.c_contiguous for array in (outputs, *session.weights().values()))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_group_norm_that_comes_first_trains_in_channels_last(lab_of, precision):
    lab = lab_of("torch")
    layers = [{"type": "group_norm", "groups": 1}, {"type": "flatten"}]
    workload = lab.workload(layers, loss="mean_squared_error")
    arrays, found = lab.batch(workload), []
    for mode in ("eager", "channels-last"):
        session = lab.open(workload, mode=mode, precision=precision)
        session.train_step(session.upload(*arrays))
        found.append(session.weights())
    for name, array in found[0].items():
        np.testing.assert_allclose(found[1][name], array, 1e-2, 1e-3, err_msg=name)


def test_without_a_compiler_the_row_says_what_would_help(lab_of, monkeypatch):
    lab = lab_of("torch")
    workload = lab.workload([{"type": "flatten"}], loss="mean_squared_error")
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "no-such-compiler"))
    with pytest.raises(BackendUnavailable, match=r"needs a C\+\+ compiler") as refusal:
        lab.open(workload, mode="compile")
    assert "g++" in refusal.value.remedy
