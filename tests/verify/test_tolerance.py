import dataclasses

import numpy as np
import pytest
import small

from dlbench.oracle.layers import Pass
from dlbench.oracle.network import forward, forward_backward
from dlbench.oracle.rounding import Emulated
from dlbench.spec.precision import policy_of
from dlbench.spec.workload import read_workload
from dlbench.verify.expected.evaluation_points import (
    Point,
    draw_point,
    oracle_inputs,
    oracle_weights,
)
from dlbench.verify.expected.tolerance import expect, expect_output, expectation


def first(name, precision="fp32"):
    workload = small.workload(name)
    point = draw_point(workload, 4, "test", precision)
    return workload, point, next(expect(workload, [point], [1.0], precision))


@pytest.mark.parametrize("name", ["convolution", "norm", "Adam"])
def test_values_are_the_exact_oracles_rounded_once(name):
    workload, point, expected = first(name)
    weights, inputs = oracle_weights(point.weights), oracle_inputs(point.inputs)
    run = Pass(True, point.counts)
    _, loss = forward_backward(workload.nodes, workload.loss, weights, inputs, point.targets, run)
    assert expected["loss"].value == np.float32(loss)
    for key, gradient in run.gradients.items():
        np.testing.assert_array_equal(
            expected[f"gradient of {key}"].value, gradient.astype(np.float32)
        )
    logits = forward(workload.nodes, weights, inputs, Pass(False, run.counts))
    np.testing.assert_array_equal(expected["logits"].value, logits.astype(np.float32))


def test_every_array_that_a_step_leaves_is_expected():
    workload, _, expected = first("norm")
    names = {p.name for p in workload.parameters}
    gradients = {f"gradient of {p.name}" for p in workload.parameters if p.trainable}
    assert set(expected) == names | gradients | {"logits", "loss", "logits after"}


@pytest.mark.parametrize("name", ["convolution", "norm", "max pool", "squared error"])
def test_tolerances_are_a_few_hundred_roundings_at_the_most(name):
    _, _, expected = first(name)
    for key, each in expected.items():
        assert np.all(each.tolerance > 0)
        size = np.sqrt(np.mean(np.square(each.value)))
        assert np.max(each.tolerance) < 1000 * 2.0**-24 * max(size, 0.1), key


def test_a_coarser_precision_has_wider_tolerances_by_the_ratio_of_roundings():
    workload = small.workload("sigmoid")
    point = draw_point(workload, 4, "test")
    fine, coarse = (next(expect(workload, [point], [1.0], p)) for p in ("fp32", "tf32"))
    for key in ("logits", "loss", "gradient of conv1.weight"):
        # factors alone are coarser, so that a sum's length does not count
        ratio = np.median(coarse[key].tolerance / fine[key].tolerance)
        assert 2.0**8 < ratio < 2.0**13, key


def test_the_optimizers_state_lives_on_from_point_to_point():
    workload = small.workload("squared error")
    points = [draw_point(workload, 4, f"test {i}") for i in range(2)]
    _, second = expect(workload, points, [1.0, 1.0])
    fresh = next(expect(workload, points[1:], [1.0]))
    key = "linear1.weight"
    error = np.abs(second[key].value - fresh[key].value)
    assert np.max(error / second[key].tolerance) > 1000
    np.testing.assert_array_equal(second["loss"].value, fresh["loss"].value)


def _ambiguous():
    """A relu whose input is within rounding of zero, the sum of two products that cancel."""
    workload = read_workload(
        {
            "input_shape": [2],
            "layers": [
                {"type": "linear", "out_features": 1},
                {"type": "relu"},
                {"type": "linear", "out_features": 1, "bias": False},
            ],
            "loss": "mean_squared_error",
            "optimizer": {"type": "sgd", "learning_rate": 1.0},
        }
    )
    one = np.ones((1, 1), np.float32)
    weights = {
        "linear1.weight": np.array([[1, -1]], np.float32),
        "linear1.bias": np.full(1, 1e-9, np.float32),
        "linear2.weight": one,
    }
    inputs = np.array([[3, 3]], np.float32)
    return workload, Point(weights, inputs, 5 * one, np.array([0]), 1)


def test_a_branch_within_rounding_widens_the_tolerance_by_what_it_can_move():
    workload, point = _ambiguous()
    key = "gradient of linear1.weight"
    expected = next(expect(workload, [point], [1.0]))[key]
    unaware = dataclasses.replace(point, ambiguous=0)
    narrow = next(expect(workload, [unaware], [1.0]))[key]
    # taken or not, the gradient is -30 or 0
    assert np.all(np.abs(expected.value) <= expected.tolerance)
    assert np.all(narrow.tolerance < 1e-3)


def test_outputs_alone_are_expected_as_the_oracle_infers_them():
    workload, point, expected = first("norm")
    weights, inputs = oracle_weights(point.weights), oracle_inputs(point.inputs)
    alone = expect_output(workload, weights, inputs, "fp32")
    np.testing.assert_array_equal(alone.value, expected["logits"].value)
    assert np.median(alone.tolerance / expected["logits"].tolerance) == pytest.approx(1, abs=0.5)


def test_what_few_draws_say_of_one_element_is_not_believed_against_the_rest_of_its_row():
    squares = np.ones((400, 20))
    squares[3], squares[3, 7] = 100, 0.01
    tolerance = expectation(np.zeros(squares.shape), squares, 4, 2.0**-24).tolerance
    assert tolerance[3, 7] == pytest.approx(tolerance[3, 8], rel=0.1)
    assert tolerance[3, 7] > 5 * tolerance[4].max()


@pytest.mark.parametrize("shape", [(10, 128), (128, 300), (16, 8, 3, 3)])
def test_four_draws_suffice_where_rows_and_columns_differ_in_size(shape):
    """As in the gradient of one sample, an outer product of what comes back and of the inputs."""
    random = np.random.default_rng(0)
    for _ in range(300):
        rows = np.exp(random.standard_normal((shape[0], *[1] * (len(shape) - 1))))
        columns = np.exp(random.standard_normal(shape[1:]))
        *few, got = random.standard_normal((5, *shape)) * rows * columns
        mean_square = np.mean(np.square(few), axis=0)
        expected = expectation(np.zeros(shape), mean_square, len(few), 2.0**-11)
        assert np.all(np.abs(got) <= expected.tolerance)


def test_a_sum_of_roundings_that_meet_on_two_grids_is_within_its_tolerance():
    """What the second norm hands back is a step for each step of the convolution's outputs, which are bf16 numbers:
    here nearly the step of bf16 there, so that a few hundred values are rounded one way and the bias's gradient, 0 but
    for that, is off by 14 times what noise says."""
    norms = [{"type": "batch_norm"}, {"type": "batch_norm"}, {"type": "global_avg_pool"}]
    conv = {"type": "conv2d", "out_channels": 2, "kernel": 3, "padding": 1}
    workload = read_workload(
        {
            "input_shape": [1, 24, 24],
            "layers": [conv, *norms, {"type": "linear", "out_features": 3}],
            "loss": "cross_entropy",
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )
    point = draw_point(workload, 4, "d38", "bf16")
    weights, inputs = oracle_weights(point.weights), oracle_inputs(point.inputs)
    run = point.run(True, Emulated(policy_of("bf16")))
    forward_backward(workload.nodes, workload.loss, weights, inputs, point.targets, run)
    expected = next(expect(workload, [point], [1.0], "bf16"))["gradient of conv1.bias"]
    size = np.sqrt(np.mean(np.square(expected.value)))
    assert np.abs(run.gradients["conv1.bias"]).max() > 1000 * size
    assert np.all(np.abs(run.gradients["conv1.bias"] - expected.value) < expected.tolerance)


def test_a_product_may_be_stored_before_its_bias_is_added():
    """So eager frameworks do it. All of a binade moves alike then, and a variance by 0.9 tolerances of noise alone."""
    workload = read_workload(
        {
            "input_shape": [16, 32, 32],
            "layers": [
                {"type": "conv2d", "out_channels": 64, "kernel": 3, "padding": 1},
                {"type": "batch_norm"},
                {"type": "global_avg_pool"},
                {"type": "linear", "out_features": 3},
            ],
            "loss": "cross_entropy",
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )
    point = draw_point(workload, 4, "d0", "bf16")
    run = point.run(True, Emulated(policy_of("bf16"), each=True))
    forward(workload.nodes, oracle_weights(point.weights), oracle_inputs(point.inputs), run)
    expected = next(expect(workload, [point], [1.0], "bf16"))["norm1.running_variance"]
    moved = np.abs(run.state["norm1.running_variance"] - expected.value)
    assert np.all(moved < 0.5 * expected.tolerance)


def test_a_variance_may_be_the_mean_of_squares_less_the_square_of_the_mean():
    workload = read_workload(
        {
            "input_shape": [64, 32, 32],
            "layers": [
                {"type": "batch_norm"},
                {"type": "global_avg_pool"},
                {"type": "linear", "out_features": 3},
            ],
            "loss": "cross_entropy",
            "optimizer": {"type": "sgd", "learning_rate": 0.01},
        }
    )
    point = draw_point(workload, 4, "test")
    drawn = np.random.default_rng(7).normal(3, 1, point.inputs.shape).astype(np.float32)
    point = dataclasses.replace(point, inputs=drawn)
    expected = next(expect(workload, [point], [1.0]))["norm1.running_variance"]

    channels = drawn.transpose(1, 0, 2, 3).reshape(64, -1)
    values = channels.shape[1]
    mean, squares = (
        np.cumsum(terms, 1, dtype=np.float32)[:, -1] / np.float32(values)
        for terms in (channels, channels * channels)
    )
    unbiased = (squares - mean * mean) * np.float32(values / (values - 1))
    old = point.weights["norm1.running_variance"]
    got = np.float32(0.9) * old + np.float32(0.1) * unbiased
    share = np.abs(got - expected.value) / expected.tolerance
    assert 0.1 < share.max() < 1
