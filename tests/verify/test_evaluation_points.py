import numpy as np
import pytest
import small
from hypothesis import assume, given
from hypothesis import strategies as st

from dlbench.oracle.layers import Branch, Pass
from dlbench.oracle.network import forward
from dlbench.oracle.rounding import Perturbed
from dlbench.spec.workload import read_workload
from dlbench.verify.expected import evaluation_points
from dlbench.verify.expected.evaluation_points import (
    DISTINCT_SAMPLES,
    InputRange,
    ambiguous_branches,
    arrangement,
    draw_point,
    draw_unbiased_point,
    oracle_inputs,
    oracle_weights,
    sample_inputs,
    sample_targets,
)
from dlbench.verify.expected.nudging import Nudger, gap_shift
from dlbench.verify.random_networks import draw_workload

KINKED = ["convolution", "norm", "max pool", "residual"]


def branches(workload, point, rounding=None, forced=None):
    counts = point.counts
    run = Pass(True, counts, forced=forced or {})
    if rounding is not None:
        run.rounding = rounding
    inputs = oracle_inputs(point.inputs)
    forward(workload.nodes, oracle_weights(point.weights), inputs, run)
    return run.branches


@pytest.mark.parametrize("name", KINKED)
def test_no_rounding_of_float32_turns_a_branch_at_a_point_without_ambiguous_ones(name):
    workload = small.workload(name)
    point = draw_point(workload, 4, "test")
    assert point.ambiguous == 0
    exact = branches(workload, point)
    for seed in range(10, 30):
        noisy = branches(workload, point, Perturbed(seed))
        for layer, branch in exact.items():
            np.testing.assert_array_equal(noisy[layer].taken, branch.taken)


@pytest.mark.parametrize("seed", range(8))
def test_random_networks_have_points_where_at_most_few_branches_are_ambiguous(seed):
    workload, batch = draw_workload(seed)
    assert draw_point(workload, batch, "test").ambiguous <= 2


def test_a_point_is_the_same_again_and_another_for_another_label_or_batch():
    workload = small.workload("convolution")
    first, again = (draw_point(workload, 4, "a") for _ in range(2))
    np.testing.assert_array_equal(first.inputs, again.inputs)
    np.testing.assert_array_equal(first.targets, again.targets)
    for name, value in first.weights.items():
        np.testing.assert_array_equal(value, again.weights[name])
    other = draw_point(workload, 4, "b")
    assert np.all(first.weights["conv1.weight"] != other.weights["conv1.weight"])
    larger = draw_point(workload, 8, "a")
    assert np.all(first.inputs != larger.inputs[:4])


@pytest.mark.parametrize("name", [*KINKED, "relu6"])
def test_the_branches_of_a_nudged_point_are_those_of_a_run_with_its_weights(name):
    workload = small.workload(name)
    weights = oracle_weights(evaluation_points._draw_weights(workload, "test"))
    inputs = oracle_inputs(sample_inputs(workload, 4, "test"))
    nudger = Nudger(dict(weights), Pass(True, np.ones(4)))
    nudger.sequence(workload.nodes, inputs, None)
    run = Pass(True, np.ones(4))
    forward(workload.nodes, nudger.weights, inputs, run)
    for layer, branch in run.branches.items():
        np.testing.assert_allclose(nudger.run.branches[layer].margin, branch.margin, atol=1e-12)
        np.testing.assert_array_equal(nudger.run.branches[layer].taken, branch.taken)
    assert nudger.is_exact


def test_a_mean_that_counts_padding_is_not_shifted_as_its_elements_are():
    table = small.workload("convolution").to_table()
    pool = {"type": "avg_pool", "kernel": 3, "stride": 1, "padding": 1}
    layers = [{"type": "conv2d", "out_channels": 2, "kernel": 1}, pool, {"type": "relu"}]
    head = [{"type": "flatten"}, {"type": "linear", "out_features": 3}]
    workload = read_workload(table | {"layers": [*layers, *head]})
    weights = oracle_weights(evaluation_points._draw_weights(workload, "test"))
    nudger = Nudger(weights, Pass(True, np.ones(4)))
    nudger.sequence(workload.nodes, oracle_inputs(sample_inputs(workload, 4, "test")), None)
    assert not nudger.is_exact
    assert draw_point(workload, 4, "test").ambiguous <= 2


def test_only_shifts_before_a_relu_are_moved_to_part_its_branches():
    shifts = {"norm": {"norm1.shift"}, "sigmoid": set(), "convolution": {"conv1.bias"}}
    for name, expected in shifts.items():
        workload = small.workload(name)
        drawn = evaluation_points._draw_weights(workload, "test")
        point = draw_point(workload, 4, "test")
        moved = {key for key in drawn if np.any(drawn[key] != point.weights[key])}
        assert expected == moved


def test_both_ways_of_a_relu_are_taken_at_a_point():
    workload = small.workload("convolution")
    taken = branches(workload, draw_point(workload, 4, "test"))["relu1"].taken
    channels = np.moveaxis(taken, 1, 0).reshape(taken.shape[1], -1)
    shares = channels.mean(1)
    assert np.all((shares > 0.15) & (shares < 0.85))


@given(st.integers(1, 600))
def test_every_distinct_sample_stands_somewhere_in_the_batch(batch):
    order = arrangement(batch)
    assert len(order) == batch
    assert set(order.tolist()) == set(range(min(batch, DISTINCT_SAMPLES)))


@given(st.integers(2, 600))
def test_the_two_halves_of_a_batch_differ(batch):
    order, half = arrangement(batch), batch // 2
    assert order[:half].tolist() != order[batch - half :].tolist()
    assert sorted(order[:half].tolist()) != sorted(order[batch - half :].tolist())


@pytest.mark.parametrize("batch", [1, 4, 16, 40])
def test_counts_say_how_often_each_sample_stands_in_the_batch(batch):
    point = draw_point(small.workload("convolution"), batch, "test")
    inputs, targets = point.batch()
    assert len(inputs) == len(targets) == batch
    for sample, target, count in zip(point.inputs, point.targets, point.counts, strict=True):
        same = [np.array_equal(row, sample) for row in inputs]
        assert sum(same) == count
        assert set(targets[same].tolist()) == {target}


def test_an_unbiased_point_is_one_sample_at_weights_without_biases():
    point = draw_unbiased_point(small.workload("convolution"), "test")
    assert len(point.inputs) == 1
    assert not point.weights["conv1.bias"].any()
    assert not point.weights["linear1.bias"].any()
    assert point.weights["conv1.weight"].all()


def test_inputs_have_unit_variance_or_the_range_that_is_asked_for():
    workload = small.workload("convolution")
    drawn = sample_inputs(workload, 50, "test")
    assert drawn.dtype == np.float32
    assert np.std(drawn) == pytest.approx(1, abs=0.03)
    point = draw_point(workload, 4, "test", inputs=InputRange(offset=-4.0, scale=0.01))
    assert np.mean(point.inputs) == pytest.approx(-4, abs=0.01)
    assert np.std(point.inputs) == pytest.approx(0.01, rel=0.1)


def test_targets_are_labels_of_all_classes_or_values_of_the_outputs_shape():
    labels = sample_targets(small.workload("convolution"), 100, "test")
    assert labels.dtype == np.int64
    assert set(labels.tolist()) == {0, 1, 2}
    values = sample_targets(small.workload("squared error"), 100, "test")
    assert values.dtype == np.float32
    assert values.shape == (100, 4)


@given(st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=40, unique=True))
def test_a_gap_shift_puts_zero_in_the_middle_between_two_values(values):
    row = np.array([values])
    shifted = (row + gap_shift(row)).ravel()
    above, below = shifted[shifted > 0], shifted[shifted <= 0]
    assume(len(above) and len(below))
    assert above.min() == pytest.approx(-below.max(), rel=1e-6, abs=1e-9)


@given(st.integers(0, 1000), st.integers(8, 100))
def test_a_gap_shift_leaves_a_share_of_the_values_on_either_side(seed, count):
    values = np.random.default_rng(seed).normal(3, 2, (1, count))
    positive = np.mean(values + gap_shift(values) > 0)
    assert 0.2 <= positive <= 0.8


def test_a_gap_shift_finds_the_widest_gap_near_the_median():
    values = np.array([[0, 1, 2, 3, 4, 9, 10, 11, 12, 13.0]])
    np.testing.assert_allclose(gap_shift(values), [-6.5])


def test_a_channel_of_equal_values_is_moved_off_zero_as_a_whole():
    shifted = np.full((1, 20), 3.0) + gap_shift(np.full((1, 20), 3.0))
    assert np.all(np.abs(shifted) > 0.5)


def test_a_branch_is_ambiguous_where_noise_reaches_its_margin_and_nothing_else_is():
    workload = small.workload("convolution")
    node = next(n for n in workload.nodes if n.name == "relu1")
    margin = np.array([1e-9, 1.0, -1e-9, -1.0, 0.0])
    exact = {"relu1": Branch(margin > 0, margin)}
    moved = margin + np.array([1e-8, 1e-8, -1e-8, 1e-8, 0.0])
    found = ambiguous_branches(exact, [{"relu1": Branch(moved > 0, moved)}], (node,))
    assert found["relu1"].tolist() == [True, False, True, False, False]


def test_what_some_runs_find_all_of_them_find():
    workload = small.workload("convolution")
    node = next(n for n in workload.nodes if n.name == "relu1")
    random = np.random.default_rng(0)
    margin = random.normal(size=5000) * 10.0 ** random.integers(-9, 0, 5000)
    exact = {"relu1": Branch(margin > 0, margin)}
    moved = [margin + 1e-4 * random.normal(size=5000) * random.random(5000) for _ in range(2)]
    runs = [{"relu1": Branch(each > 0, each)} for each in moved]
    some = ambiguous_branches(exact, runs[:1], (node,), 2)["relu1"]
    everything = ambiguous_branches(exact, runs, (node,))["relu1"]
    assert some.any()
    assert not (some & ~everything).any()
