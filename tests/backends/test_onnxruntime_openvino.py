"""What the two backends that only infer owe beyond what every backend does."""

import importlib
import re
import sys

import numpy as np
import pytest

from dlbench.cli.conformance import Request, hold
from dlbench.contract import Plan
from dlbench.errors import BackendUnavailable, PlanRefused
from dlbench.spec.workload import initial_weights, read_workload

MODES = {"onnxruntime": [""], "openvino": ["latency", "throughput"]}
EACH = [(name, mode) for name, modes in MODES.items() for mode in modes]
SOME_NETWORKS, MANY_NETWORKS = 3, 200


def adapter_of(name):
    return importlib.import_module(f"dlbench.backends.{name}.adapter").Adapter()


@pytest.fixture(params=list(MODES))
def name(request):
    pytest.importorskip(request.param)
    return request.param


@pytest.fixture(params=EACH, ids=lambda each: " ".join(filter(None, each)))
def chosen(request):
    """A backend and one of its modes."""
    pytest.importorskip(request.param[0])
    return request.param


@pytest.fixture(scope="module")
def workload():
    return read_workload(
        {
            "input_shape": [2, 7, 8],
            "layers": [
                {"type": "conv2d", "out_channels": 3, "kernel": 3},
                {"type": "tanh"},
                {"type": "flatten"},
                {"type": "linear", "out_features": 4},
            ],
            "loss": "cross_entropy",
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )


def opened(name, workload, **choices):
    plan = {"device": "cpu", "batch": 6, "threads": 2, "scenario": "infer"} | choices
    return adapter_of(name).open(Plan(name, **plan), workload, initial_weights(workload, 0))


def batch_of(workload, seed, count=6):
    random = np.random.default_rng(seed)
    inputs = random.standard_normal((count, *workload.input_shape), np.float32)
    return inputs, random.integers(0, 4, count)


def test_training_is_refused_by_name(name, workload):
    with pytest.raises(PlanRefused, match=f"^{name} infers only: "):
        opened(name, workload, scenario="train")


def test_what_it_has_not_got_is_refused_by_name(name, workload):
    for choice in ({"mode": "fast"}, {"precision": "tf32"}, {"device": "tpu"}):
        with pytest.raises(PlanRefused, match=next(iter(choice.values()))):
            opened(name, workload, **choice)


@pytest.mark.parametrize("missing", ["the framework", "onnx"])
def test_what_is_not_installed_is_said_with_what_would_help(name, monkeypatch, missing):
    module = "onnx" if missing == "onnx" else name
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendUnavailable) as caught:
        adapter_of(name).info()
    assert "is not installed" in caught.value.reason
    assert re.fullmatch(r"pip install 'dlbench\[\w+\]'", caught.value.remedy)


def test_facts_are_what_was_seen(chosen, workload):
    name, mode = chosen
    facts = opened(name, workload, mode=mode).facts
    assert ("cpu", 2) == (facts["device"], facts["threads"])
    if name == "openvino":
        assert "f32" == facts["inference_precision"]
        assert mode.upper() == facts["performance_hint"]
        assert (2 if mode == "throughput" else 1) == facts["requests"]
    else:
        assert "on" == facts["intra_op_spinning"]


def test_results_last_and_batches_may_be_taken_in_any_order(chosen, workload):
    name, mode = chosen
    session = opened(name, workload, mode=mode)
    one, two = (session.upload(*batch_of(workload, seed)) for seed in (1, 2))
    first = session.infer(one)
    second = session.infer(two)
    again = session.infer(one)
    session.synchronize()
    a, b, c = map(session.download, (first, second, again))
    np.testing.assert_array_equal(a, c)
    assert not np.array_equal(a, b)


@pytest.mark.parametrize(("batch", "requests"), [(1, 1), (6, 3), (5, 1), (8, 4)])
def test_a_batch_is_split_into_equal_parts_as_far_as_it_goes(workload, batch, requests):
    pytest.importorskip("openvino")
    whole = opened("openvino", workload, batch=batch)
    split = opened("openvino", workload, batch=batch, threads=4, mode="throughput")
    assert requests == split.facts["requests"]
    inputs = batch_of(workload, 3, batch)
    one, other = (each.download(each.infer(each.upload(*inputs))) for each in (whole, split))
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_it_agrees_with_the_oracle_in_everything(chosen, cache_dir):
    conformant(*chosen, cache_dir, SOME_NETWORKS)


@pytest.mark.soak
def test_it_agrees_with_the_oracle_in_many_networks(chosen, cache_dir):
    conformant(*chosen, cache_dir, MANY_NETWORKS, seed=int(np.random.default_rng().integers(2**40)))


def conformant(name, mode, cache_dir, networks, seed=0):
    threads = 2 if mode == "throughput" else 1
    held = hold(Request(name, "cpu", threads, networks, seed, cache_dir, mode=mode))
    assert not held.trouble, held.trouble
    assert held.planned == len(held.verdicts)
    assert [] == [verdict for verdict in held.verdicts if verdict.failed or verdict.refused]
