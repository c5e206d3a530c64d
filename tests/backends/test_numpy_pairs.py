"""Convolutions two rows at a time: the same as one row at a time, whatever the sizes, and no worse in float32."""

import numpy as np
import pytest
from dlbench.backends.numpy.adapter import Adapter
from dlbench.backends.numpy.convolutions import row_pairs as pairs
from dlbench.backends.numpy.convolutions.dense import Conv2d
from dlbench.backends.numpy.convolutions.expansion import Geometry
from dlbench.backends.numpy.convolutions.row_pairs import PairedConv2d, RowPairs
from hypothesis import given, settings
from hypothesis import strategies as some

from dlbench.contract import Plan
from dlbench.oracle.layers import Pass
from dlbench.oracle.network import forward
from dlbench.spec.workload import initial_weights, read_workload


def network(channels, size, *convolutions):
    """A network of convolutions, with one before them so that all need the gradient of their input."""
    before = {"type": "conv2d", "out_channels": channels, "kernel": 1}
    layers = [before, *({"type": "conv2d", **each} for each in convolutions)]
    return read_workload(
        {
            "input_shape": [2, *size],
            "layers": [*layers, {"type": "tanh"}, {"type": "global_avg_pool"}],
            "loss": "mean_squared_error",
            "optimizer": {"type": "sgd", "learning_rate": 1.0},
        }
    )


def one_step(workload, batch, threads=1, seed=0):
    """What a session infers, its loss, and its weights after a step; and the kinds of its convolutions."""
    draw = np.random.default_rng(seed)
    inputs = draw.normal(size=(batch, *workload.input_shape)).astype(np.float32)
    targets = draw.normal(size=(batch, *workload.output_shape)).astype(np.float32)
    weights = initial_weights(workload, seed)
    session = Adapter().open(Plan("numpy", "cpu", batch, threads), workload, weights)
    resident = session.upload(inputs, targets)
    output, loss = session.infer(resident), session.train_step(resident)
    kinds = {type(layer) for layer in session._chain.layers if isinstance(layer, Conv2d)}
    return output, loss, session.weights(), kinds


@pytest.fixture
def always(monkeypatch):
    """Two rows at a time wherever that can be done."""
    monkeypatch.setattr(pairs, "_LEAST_DEPTH", 0)
    monkeypatch.setattr(pairs, "_LEAST_PIXELS", 0)


@given(
    channels=some.integers(4, 9),
    size=some.tuples(some.integers(3, 11), some.integers(3, 11)),
    columns=some.integers(1, 4),
    padding=some.tuples(*[some.integers(0, 2)] * 4),
    batch=some.integers(1, 7),
    threads=some.integers(1, 2),
    bias=some.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_two_rows_at_a_time_are_the_convolution(
    channels, size, columns, padding, batch, threads, bias
):
    top, bottom, left, right = padding
    left, right = min(left, columns - 1), min(right, columns - 1)
    if size[1] + left + right < columns:
        left = right = columns - 1
    convolution = {"out_channels": 5, "kernel": [3, columns], "bias": bias}
    convolution["padding"] = [[top, bottom], [left, right]]
    workload = network(channels, size, convolution)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "_LEAST_PIXELS", 10**12)
        expected = one_step(workload, batch, threads)
        patch.setattr(pairs, "_LEAST_PIXELS", 0)
        patch.setattr(pairs, "_LEAST_DEPTH", 0)
        found = one_step(workload, batch, threads)
    assert {Conv2d} == expected[3]
    assert PairedConv2d in found[3]
    scale = max(1.0, float(np.abs(expected[0]).max()))
    np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=2e-6 * scale)
    for name, weight in expected[2].items():
        np.testing.assert_allclose(found[2][name], weight, rtol=0, atol=2e-5, err_msg=name)


def test_the_gradient_of_an_input_that_does_not_suit_is_made_in_the_other_way(always):
    # padding beyond the kernel: its mirror image would begin inside
    workload = network(4, (9, 9), {"out_channels": 3, "kernel": 3, "padding": 3})
    found = one_step(workload, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "_LEAST_PIXELS", 10**12)
        expected = one_step(workload, 4)
    assert PairedConv2d in found[3]
    for name, weight in expected[2].items():
        np.testing.assert_allclose(found[2][name], weight, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "channels", "batch", "suits"),
    [
        ((3, 3), (1, 1), (1, 1), 32, 64, True),
        ((3, 3), (1, 1), (1, 1), 16, 64, False),
        ((3, 3), (1, 1), (1, 1), 32, 1, False),
        ((3, 3), (2, 2), (1, 1), 32, 64, False),
        ((3, 3), (1, 1), (2, 2), 32, 64, False),
        ((5, 5), (1, 1), (1, 1), 32, 64, False),
    ],
)
def test_it_is_taken_where_it_saves_something(kernel, stride, dilation, channels, batch, suits):
    geometry = Geometry(channels, 32, (8, 8), (8, 8), kernel, stride, (1, 1), dilation)
    assert suits == RowPairs.suits(geometry, batch)


def test_rounding_is_hardly_worse_than_one_row_at_a_time():
    workload = network(32, (12, 12), {"out_channels": 32, "kernel": 3, "padding": 1})
    weights = {name: each.astype(np.float64) for name, each in initial_weights(workload, 0).items()}
    draw = np.random.default_rng(0)
    inputs = draw.normal(size=(16, *workload.input_shape)).astype(np.float32)
    exact = forward(workload.nodes, weights, inputs.astype(np.float64), Pass(False, np.ones(16)))
    errors = []
    for least in (0, 10**12):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pairs, "_LEAST_PIXELS", least)
            output = one_step(workload, 16)[0]
        errors.append(float(np.sqrt(np.mean((output - exact) ** 2))))
    assert errors[0] < 3 * errors[1]


def test_inference_at_other_weights_is_not_of_the_kernels_before(always):
    workload = network(4, (6, 6), {"out_channels": 4, "kernel": 3})
    inputs = np.ones((2, *workload.input_shape), np.float32)
    targets = np.zeros((2, *workload.output_shape), np.float32)
    session = Adapter().open(Plan("numpy", "cpu", 2, 1), workload, initial_weights(workload, 0))
    batch = session.upload(inputs, targets)
    before = session.infer(batch)
    session.load(initial_weights(workload, 1))
    other = session.infer(batch)
    session.train_step(batch)
    after = session.infer(batch)
    session.load(initial_weights(workload, 0))
    assert not np.array_equal(before, other)
    assert not np.array_equal(other, after)
    np.testing.assert_array_equal(before, session.infer(batch))
