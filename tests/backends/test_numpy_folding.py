"""Inference with batch norm in the kernel of the convolution before it: right, and never that of old weights."""

import numpy as np
import pytest
from dlbench.backends.numpy.adapter import Adapter
from dlbench.backends.numpy.norm import BatchNorm

from dlbench.contract import Plan
from dlbench.oracle.layers import Pass
from dlbench.oracle.network import forward
from dlbench.spec.workload import initial_weights, read_workload

BATCH = 40
"""Of so many images of this size the second convolution goes two rows at a time, and the others do not."""


@pytest.fixture(scope="module")
def workload():
    norm, relu = {"type": "batch_norm"}, {"type": "relu"}
    paired = {"type": "conv2d", "out_channels": 32, "kernel": 3, "padding": 1, "bias": True}
    strided = {"type": "conv2d", "out_channels": 9, "kernel": 3, "stride": 2, "bias": False}
    body = [{"type": "conv2d", "out_channels": 9, "kernel": 1, "bias": True}, norm]
    before = {"type": "conv2d", "out_channels": 32, "kernel": 1, "bias": False}
    layers = [before, norm, relu, paired, norm, relu, strided, norm]
    layers += [{"type": "residual", "body": body}, relu, norm, {"type": "global_avg_pool"}]
    return read_workload(
        {
            "input_shape": [3, 9, 8],
            "layers": layers,
            "loss": "mean_squared_error",
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )


def drawn(workload, seed):
    """Weights whose running estimates are those of no batch."""
    draw = np.random.default_rng(seed)
    weights = initial_weights(workload, seed)
    for name, value in weights.items():
        if name.endswith(("scale", "shift", "mean", "variance", "bias")):
            weights[name] = draw.uniform(0.5, 2, value.shape).astype(np.float32)
    inputs = draw.normal(size=(BATCH, *workload.input_shape)).astype(np.float32)
    targets = draw.normal(size=(BATCH, *workload.output_shape)).astype(np.float32)
    return weights, inputs, targets


def right(workload, weights, inputs):
    weights = {name: value.astype(np.float64) for name, value in weights.items()}
    run = Pass(False, np.ones(len(inputs)))
    return forward(workload.nodes, weights, inputs.astype(np.float64), run)


def opened(workload, weights, threads):
    return Adapter().open(Plan("numpy", "cpu", BATCH, threads), workload, weights)


@pytest.mark.parametrize("threads", [1, 2])
def test_inference_is_that_of_the_weights_of_the_moment(workload, threads):
    weights, inputs, targets = drawn(workload, 1)
    session = opened(workload, weights, threads)
    batch = session.upload(inputs, targets)
    for change in ("none", "none", "training", "training", "load"):
        if change == "training":
            session.train_step(batch)
        elif change == "load":
            session.load(drawn(workload, 2)[0])
        wanted = right(workload, session.weights(), inputs)
        error = np.max(np.abs(session.infer(batch) - wanted))
        assert error < 1e-5 * np.max(np.abs(wanted)), change


def test_training_is_the_same_whether_it_was_inferred_meanwhile_or_not(workload):
    weights, inputs, targets = drawn(workload, 3)
    found = []
    for infers in (False, True):
        session = opened(workload, weights, 1)
        batch = session.upload(inputs, targets)
        for _ in range(3):
            session.train_step(batch)
            if infers:
                session.infer(batch)
        found.append(session.weights())
    for name, value in found[0].items():
        np.testing.assert_array_equal(value, found[1][name], name)


def test_a_norm_behind_a_convolution_is_no_step_of_its_own(workload):
    session = opened(workload, drawn(workload, 4)[0], 1)
    steps = {getattr(step.calls, "__self__", None) for step in session._inference.steps}
    alone = [each.node.name for each in steps if isinstance(each, BatchNorm)]
    assert len(alone) == 1


def test_the_step_of_both_is_told_as_that_of_both(workload):
    weights, inputs, targets = drawn(workload, 5)
    session = opened(workload, weights, 1)
    batch = session.upload(inputs, targets)
    with session.spans() as spans:
        session.infer(batch)
    first, second = (node.name for node in workload.nodes[:2])
    assert (first, second) in {tuple(span.layers) for span in spans}
