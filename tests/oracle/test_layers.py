import networks
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbench.oracle.layers import Pass
from dlbench.oracle.network import forward, forward_backward
from dlbench.spec.layers import KINDS
from dlbench.spec.workload import read_workload
from dlbench.verify.random_networks import draw_workload

torch_float64 = pytest.importorskip("torch_float64", exc_type=ImportError)
COUNTS = np.array([1, 3, 1, 2])
SEEDS = st.integers(0, 2**31)


def relative(got, expected):
    return np.max(np.abs(got - expected)) / (np.max(np.abs(expected)) + 1e-3)


def train(workload, weights, inputs, targets, counts=None, **how):
    """A training pass, its output, and its loss."""
    counts = np.ones(len(inputs)) if counts is None else counts.astype(np.float64)
    run = Pass(True, counts, **how)
    output, loss = forward_backward(workload.nodes, workload.loss, weights, inputs, targets, run)
    return run, output, loss


def masks(workload, samples, seed):
    random = np.random.default_rng(seed)
    return {
        node.name: random.random((samples, *node.output_shape)) < 0.6
        for node in workload.nodes
        if node.name.startswith("dropout")
    }


def assert_gradients_are_slopes(workload, seed):
    """Central differences along a random direction of each parameter, branches held."""
    weights = networks.weights(workload, seed)
    inputs, targets = networks.batch(workload, 4, seed)
    kept = masks(workload, 4, seed)
    run, _, _ = train(workload, weights, inputs, targets, COUNTS, masks=kept)
    random, step = np.random.default_rng(seed), 1e-5
    assert set(run.gradients) == {p.name for p in workload.parameters if p.trainable}
    for name, gradient in run.gradients.items():
        direction = random.normal(size=gradient.shape)
        direction /= np.linalg.norm(direction)
        losses = []
        for sign in (1, -1):
            moved = weights | {name: weights[name] + sign * step * direction}
            how = {"masks": kept, "forced": run.branches}
            losses.append(train(workload, moved, inputs, targets, COUNTS, **how)[2])
        slope = (losses[0] - losses[1]) / (2 * step)
        assert slope == pytest.approx(np.sum(gradient * direction), rel=1e-5, abs=1e-8), name


def assert_agrees_with_torch(workload, seed):
    weights = networks.weights(workload, seed)
    inputs, targets = networks.batch(workload, 4, seed)
    run, output, loss = train(workload, weights, inputs, targets, COUNTS)
    repeated = np.repeat(inputs, COUNTS, axis=0), np.repeat(targets, COUNTS, axis=0)
    logits, value, gradients, state = torch_float64.forward_backward(workload, weights, *repeated)
    assert relative(np.repeat(output, COUNTS, axis=0), logits) < 1e-9
    assert loss == pytest.approx(value, rel=1e-10)
    assert set(run.gradients) == set(gradients)
    assert set(run.state) == set(state)
    for name, expected in (gradients | state).items():
        assert relative((run.gradients | run.state)[name], expected) < 1e-8, name
    inferred = forward(workload.nodes, weights, inputs, Pass(False, np.ones(4)))
    assert relative(inferred, torch_float64.infer(workload, weights, inputs)) < 1e-9


@pytest.mark.parametrize("name", networks.PIECES)
def test_gradients_of_every_layer_are_the_slopes_of_the_loss(name):
    assert_gradients_are_slopes(networks.network(name), 1)


@pytest.mark.parametrize("name", ["tanh", "everything"])
def test_gradients_of_the_squared_error_are_its_slopes(name):
    assert_gradients_are_slopes(networks.network(name, "mean_squared_error"), 2)


@settings(max_examples=25)
@given(SEEDS)
def test_gradients_of_random_networks_are_the_slopes_of_the_loss(seed):
    assert_gradients_are_slopes(draw_workload(seed, freezes=True)[0], seed)


@pytest.mark.parametrize("loss", ["cross_entropy", "mean_squared_error"])
@pytest.mark.parametrize("name", networks.PIECES)
def test_every_layer_agrees_with_pytorch_in_float64(name, loss):
    assert_agrees_with_torch(networks.network(name, loss).without_dropout(), 3)


@settings(max_examples=100)
@given(SEEDS)
def test_random_networks_agree_with_pytorch_in_float64(seed):
    assert_agrees_with_torch(draw_workload(seed, freezes=True)[0], seed)


def test_the_networks_here_hold_every_kind_of_layer():
    def words(tables):
        for table in tables:
            yield table["type"]
            inside = [table.get("body"), table.get("shortcut"), *table.get("bodies", [])]
            for inner in inside:
                if isinstance(inner, list):
                    yield from words(inner)

    every = {word for name in networks.PIECES for word in words(networks.PIECES[name])}
    # the two that `network` adds, and what the word option_a of a residual stands for
    assert every | {"flatten", "linear", "option_a"} == set(KINDS)


@pytest.mark.parametrize("loss", ["cross_entropy", "mean_squared_error"])
def test_a_sample_counted_twice_is_a_batch_with_it_twice(loss):
    workload = networks.network("everything", loss)
    weights = networks.weights(workload, 4)
    inputs, targets = networks.batch(workload, 4, 4)
    few, output, value = train(workload, weights, inputs, targets, COUNTS)
    repeated = np.repeat(inputs, COUNTS, axis=0), np.repeat(targets, COUNTS, axis=0)
    many, outputs, total = train(workload, weights, *repeated)
    np.testing.assert_allclose(np.repeat(output, COUNTS, axis=0), outputs, rtol=1e-10, atol=1e-12)
    assert value == pytest.approx(total, rel=1e-12)
    for name, expected in (many.gradients | many.state).items():
        got = (few.gradients | few.state)[name]
        np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-10, err_msg=name)


def test_running_statistics_move_by_the_mean_and_the_unbiased_variance():
    workload = read_workload(
        {
            "input_shape": [2, 3, 3],
            "layers": [
                {"type": "batch_norm", "momentum": 0.25},
                {"type": "flatten"},
                {"type": "linear", "out_features": 2},
            ],
            "optimizer": networks.SGD,
        }
    )
    weights = networks.weights(workload, 5)
    inputs, targets = networks.batch(workload, 4, 5)
    run, _, _ = train(workload, weights, inputs, targets)
    values = np.moveaxis(inputs, 1, 0).reshape(2, -1)
    mean = 0.75 * weights["norm1.running_mean"] + 0.25 * values.mean(1)
    variance = 0.75 * weights["norm1.running_variance"] + 0.25 * values.var(1, ddof=1)
    np.testing.assert_allclose(run.state["norm1.running_mean"], mean, rtol=1e-12)
    np.testing.assert_allclose(run.state["norm1.running_variance"], variance, rtol=1e-12)


def test_inference_leaves_no_gradients_and_no_running_statistics_behind():
    workload = networks.network("everything")
    inputs, _ = networks.batch(workload, 4, 6)
    run = Pass(False, np.ones(4))
    forward(workload.nodes, networks.weights(workload, 6), inputs, run)
    assert run.gradients == {}
    assert run.state == {}


def test_dropout_divides_what_its_mask_keeps_and_is_the_identity_in_inference():
    workload = read_workload(
        {
            "input_shape": [5],
            "layers": [{"type": "dropout", "rate": 0.2}],
            "loss": "mean_squared_error",
            "optimizer": networks.SGD,
        }
    )
    inputs = np.arange(10.0).reshape(2, 5) + 1
    mask = np.array([[1, 0, 1, 1, 0], [0, 0, 1, 1, 1]])
    run = Pass(True, np.ones(2), masks={"dropout1": mask})
    np.testing.assert_allclose(forward(workload.nodes, {}, inputs, run), inputs * mask / 0.8)
    still = Pass(False, np.ones(2), masks={"dropout1": mask})
    np.testing.assert_array_equal(forward(workload.nodes, {}, inputs, still), inputs)


def _ones(layers, shape, images):
    """The gradient that reaches a bias-free 1×1 convolution of weight 1 before `layers`."""
    first = {"type": "conv2d", "out_channels": 1, "kernel": 1, "bias": False}
    workload = read_workload(
        {
            "input_shape": shape,
            "layers": [first, *layers],
            "loss": "mean_squared_error",
            "optimizer": networks.SGD,
        }
    )
    weights = {"conv1.weight": np.ones((1, 1, 1, 1))}
    targets = np.zeros((len(images), *workload.output_shape))
    return train(workload, weights, images, targets)


def test_a_tie_sends_the_whole_gradient_to_the_first_maximum_in_row_major_order():
    # Weighting each pixel's place by its own input would hide which one won: so count winners.
    images = np.ones((1, 1, 4, 4))
    run, _, _ = _ones([{"type": "max_pool", "kernel": 2}], [1, 4, 4], images)
    assert np.all(run.branches["pool1"].taken == 0)
    images[0, 0, 0, 0] = 0
    run, _, _ = _ones([{"type": "max_pool", "kernel": 2}], [1, 4, 4], images)
    assert run.branches["pool1"].taken.ravel().tolist() == [1, 0, 0, 0]


def test_the_derivative_of_relu_at_zero_is_zero():
    run, _, _ = _ones([{"type": "relu"}], [1, 1, 1], np.zeros((1, 1, 1, 1)))
    assert not run.branches["relu1"].taken.any()


def test_padding_never_wins_a_maximum_and_never_counts_in_a_mean():
    images = -np.ones((1, 1, 2, 2))
    pool = {"kernel": 2, "stride": 1, "padding": 1}
    for kind in ("max_pool", "avg_pool"):
        _, output, _ = _ones([{"type": kind, **pool}], [1, 2, 2], images)
        np.testing.assert_array_equal(output, -np.ones((1, 1, 3, 3)))


IMAGE = np.arange(1.0, 17).reshape(1, 1, 4, 4)


def assert_pooled(expected, kind, images=IMAGE, **options):
    """Holds what a pool makes of an image of one channel to what was worked out by hand."""
    _, output, _ = _ones([{"type": kind, **options}], list(images.shape[1:]), images)
    np.testing.assert_allclose(output[0, 0], expected, rtol=1e-12)


def test_ceil_mode_has_a_last_window_over_what_is_left():
    options = {"kernel": 3, "stride": 2}
    assert_pooled([[11]], "max_pool", **options)
    assert_pooled([[11, 12], [15, 16]], "max_pool", **options, ceil_mode=True)
    # means of 9, 6, 6 and 4 elements: what lies beyond is not counted
    assert_pooled([[6, 7.5], [12, 13.5]], "avg_pool", **options, ceil_mode=True)


def test_the_last_window_of_ceil_mode_must_begin_inside_the_input_or_the_padding_before_it():
    # a third would begin at 2 · 3 − 1 = 5, behind the four columns
    options = {"kernel": 2, "stride": 3, "padding": 1}
    for ceil_mode in (False, True):
        assert_pooled([[1, 4], [13, 16]], "max_pool", **options, ceil_mode=ceil_mode)


def test_a_kernel_larger_than_the_image_fits_in_ceil_mode_once():
    assert_pooled([[16]], "max_pool", kernel=6, ceil_mode=True)
    assert_pooled([[8.5]], "avg_pool", kernel=6, ceil_mode=True)


def test_padding_that_counts_makes_a_mean_smaller_and_what_lies_beyond_it_does_not():
    ones = np.ones((1, 1, 4, 4))
    counted = {"kernel": 3, "stride": 2, "padding": 1, "count_include_pad": True}
    assert_pooled([[4 / 9, 6 / 9], [6 / 9, 1]], "avg_pool", ones, **counted)
    # a third window has one column of the image, one of padding, and one beyond
    expected = [[4 / 9, 6 / 9, 2 / 6], [6 / 9, 1, 3 / 6], [2 / 6, 3 / 6, 1 / 4]]
    assert_pooled(expected, "avg_pool", ones, **counted, ceil_mode=True)


def test_padding_of_one_side_lies_there_and_not_on_the_other():
    above, below = [[1, 0], [0, 0]], [[0, 1], [0, 0]]
    assert_pooled([[2, 4], [10, 12]], "max_pool", kernel=2, padding=above)
    assert_pooled([[6, 8], [14, 16]], "max_pool", kernel=2, padding=below)
    # (1 + 2) ÷ 4 and (3 + 4) ÷ 4 where the row of padding counts
    assert_pooled(
        [[0.75, 1.75], [7.5, 9.5]], "avg_pool", kernel=2, padding=above, count_include_pad=True
    )


def test_bodies_stand_side_by_side_in_their_order():
    images = np.array([[-1.0, 2.0], [3.0, -4.0]]).reshape(1, 1, 2, 2)
    bodies = [[{"type": "relu"}], [], [{"type": "leaky_relu", "slope": 0.5}]]
    _, output, _ = _ones([{"type": "concat", "bodies": bodies}], [1, 2, 2], images)
    expected = [np.maximum(images, 0), images, np.maximum(images, 0.5 * images)]
    np.testing.assert_array_equal(output, np.concatenate(expected, axis=1))


def test_forced_branches_are_taken():
    images = np.array([-1.0, 2.0]).reshape(1, 1, 1, 2)
    run, output, _ = _ones([{"type": "relu"}], [1, 1, 2], images)
    turned = run.branches["relu1"]
    turned.taken = ~turned.taken
    workload_run = Pass(True, np.ones(1), forced={"relu1": turned})
    workload = networks.network("relu")
    node = next(n for n in workload.nodes if n.name == "relu1")
    got = forward((node,), {}, images, workload_run)
    np.testing.assert_array_equal(output.ravel(), [0, 2])
    np.testing.assert_array_equal(got.ravel(), [-1, 0])
