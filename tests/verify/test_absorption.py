"""A backend that adds up in order in float32 is right, though it loses what is small beside the sum."""

import numpy as np
import pytest

from dlbench.oracle.rounding import Perturbed, absorbed, exact
from dlbench.spec.workload import read_workload
from dlbench.verify.expected.evaluation_points import Point
from dlbench.verify.expected.tolerance import expect

SAMPLES, SIDE, RATE = 32, 32, 0.5
KEY = "gradient of conv1.weight"


@pytest.fixture(scope="module")
def workload():
    return read_workload(
        {
            "input_shape": [4, SIDE, SIDE],
            "layers": [
                {"type": "conv2d", "out_channels": 8, "kernel": 1},
                {"type": "global_avg_pool"},
                {"type": "linear", "out_features": 2},
            ],
            "loss": "cross_entropy",
            "optimizer": {"type": "sgd", "learning_rate": RATE},
        }
    )


@pytest.fixture(scope="module")
def point(workload):
    """A softmax that is sure of class 1, which half of the samples belong to: the first ones do not."""
    random = np.random.default_rng(5)
    weights = {p.name: 0.1 * random.standard_normal(p.shape) for p in workload.parameters}
    weights["linear1.bias"] = np.array([0.0, 8.0])
    return Point(
        {name: value.astype(np.float32) for name, value in weights.items()},
        random.uniform(0.5, 1.5, (SAMPLES, 4, SIDE, SIDE)).astype(np.float32),
        np.repeat([0, 1], SAMPLES // 2),
        np.arange(SAMPLES),
        0,
    )


@pytest.fixture(scope="module")
def expected(workload, point):
    return next(expect(workload, [point], [1.0]))


def output(weights, inputs):
    """Logits in float64, and what the linear layer reads."""
    conv = weights["conv1.weight"].reshape(8, 4)
    means = inputs.mean((2, 3)) @ conv.T + weights["conv1.bias"]
    return means @ weights["linear1.weight"].T + weights["linear1.bias"], means


def parts(point):
    """What each sample's output hands back to each output channel, at every position."""
    weights = {name: value.astype(np.float64) for name, value in point.weights.items()}
    logits, means = output(weights, point.inputs.astype(np.float64))
    softmax = np.exp(logits - logits.max(1, keepdims=True))
    softmax /= softmax.sum(1, keepdims=True)
    residual = (softmax - np.eye(2)[point.targets]) / SAMPLES
    return weights, residual, means, residual @ weights["linear1.weight"] / SIDE**2


def added_in_order(point, dy):
    """The weight's gradient, its products rounded and added up in order in float32; all else is exact."""
    images = np.moveaxis(point.inputs, 1, 0).reshape(4, -1)
    each = np.repeat(dy.T, SIDE**2, axis=1).astype(np.float32)
    sums = [[np.cumsum(o * i, dtype=np.float32)[-1] for i in images] for o in each]
    return np.array(sums, np.float64)


def logits_after(point, gradient):
    weights, residual, means, dy = parts(point)
    gradients = {
        "conv1.weight": gradient,
        "conv1.bias": dy.sum(0) * SIDE**2,
        "linear1.weight": residual.T @ means,
        "linear1.bias": residual.sum(0),
    }
    after = {
        k: v - RATE * gradients[k].reshape(v.shape).astype(np.float64) for k, v in weights.items()
    }
    return output(after, point.inputs.astype(np.float64))[0]


def share(got, expectation):
    """The largest error as a share of its tolerance."""
    error = np.abs(np.asarray(got).reshape(expectation.value.shape) - expectation.value)
    return float(np.max(error / expectation.tolerance))


def test_sums_in_order_lose_the_samples_that_a_softmax_is_sure_of(point, expected):
    *_, dy = parts(point)
    all_lost = added_in_order(point, np.where(np.arange(SAMPLES)[:, None] < SAMPLES // 2, dy, 0))
    want = expected[KEY].value.reshape(8, 4)
    error = added_in_order(point, dy) - want
    lost = all_lost - want
    assert np.abs(error - lost).max() < 0.2 * np.abs(lost).max()


def test_a_backend_that_adds_up_in_order_is_right(point, expected):
    gradient = added_in_order(point, parts(point)[-1])
    assert share(gradient, expected[KEY]) < 0.8
    assert share(logits_after(point, gradient), expected["logits after"]) < 0.8


def test_more_than_sums_can_lose_is_wrong(point, expected):
    want = expected[KEY].value.astype(np.float64).reshape(8, 4)
    lost = added_in_order(point, parts(point)[-1]) - want
    assert share(want + 4 * lost, expected[KEY]) > 1
    assert share(logits_after(point, want + 4 * lost), expected["logits after"]) > 1


def test_only_small_terms_are_perturbed_by_one_sign_a_channel():
    random = np.random.default_rng(0)
    dy = np.broadcast_to(random.uniform(1, 2, (6, 5, 1)), (6, 5, 300)).copy()
    x = random.uniform(1, 2, (6, 1, 3, 300))
    counts = np.ones(6)
    assert absorbed(dy, x, counts, Perturbed(1)) is dy
    assert absorbed(dy, x, counts, exact) is dy
    dy[4] *= 1e-5
    dy[5] = 0
    found = absorbed(dy, x, counts, Perturbed(1))
    np.testing.assert_array_equal(found[[0, 1, 2, 3, 5]], dy[[0, 1, 2, 3, 5]])
    ratio = found[4] / dy[4]
    np.testing.assert_allclose(np.abs(ratio - 1), 0.25)
    assert np.all(ratio == ratio[:, :1])
