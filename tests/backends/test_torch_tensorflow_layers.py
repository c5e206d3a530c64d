"""Each layer of PyTorch's and TensorFlow's sessions: its output held against loops over NumPy arrays,
its gradients against each other."""

import numpy as np
import pytest
from kinks import KINKS, at
from scipy.special import ndtr


def naive_windows(x, layer, counts, fill=0.0, beyond=None):
    """N×C×H'×W'×kH×kW windows of N×C×H×W: `fill` in the padding, `beyond` behind it."""
    kernel, stride, dilation = layer.kernel, layer.step, getattr(layer, "dilation", (1, 1))
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), *layer.edges), constant_values=fill)
    behind = [
        (0, max(s * n + k * d, 0))
        for s, n, k, d in zip(stride, counts, kernel, dilation, strict=True)
    ]
    x = np.pad(x, ((0, 0), (0, 0), *behind), constant_values=fill if beyond is None else beyond)
    result = np.empty((*x.shape[:2], *counts, *kernel))
    for i in range(counts[0]):
        for j in range(counts[1]):
            for p in range(kernel[0]):
                for q in range(kernel[1]):
                    row, column = i * stride[0] + p * dilation[0], j * stride[1] + q * dilation[1]
                    result[:, :, i, j, p, q] = x[:, :, row, column]
    return result


CONVOLUTIONS = [
    {"kernel": 5, "stride": 2, "padding": 2},
    {"kernel": 3, "padding": 1},
    {"kernel": [2, 4], "stride": [3, 2], "padding": [1, 2], "bias": False},
    {"kernel": 4, "padding": 1},
    {"kernel": 3, "stride": 2, "padding": 1},
    {"kernel": 1, "stride": 2, "bias": False},
    {"kernel": 1, "padding": 2},
    {"kernel": 3, "dilation": 2},
    {"kernel": 3, "dilation": [2, 3], "stride": 2, "padding": [4, 1]},
    {"kernel": 3, "dilation": 2, "padding": 2},
    {"kernel": 3, "stride": 2, "padding": [[0, 1], [1, 0]]},
    {"kernel": [2, 4], "padding": [[0, 1], [2, 1]], "bias": False},
    {"kernel": 1, "padding": [[0, 0], [0, 2]]},
]


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_convolution_is_the_sum_over_padded_windows(lab, options):
    layer = {"type": "conv2d", "out_channels": 4, **options}
    workload = lab.workload([layer], loss="mean_squared_error")
    inputs, _ = lab.batch(workload, 2)
    got, weights = lab.infer([layer], inputs)
    conv = workload.nodes[0].layer
    windows = naive_windows(inputs, conv, workload.output_shape[1:])
    expected = np.einsum("nchwpq,ocpq->nohw", windows, weights["conv1.weight"])
    if conv.bias:
        expected += weights["conv1.bias"][:, None, None]
    assert got.shape == (2, *workload.output_shape)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=2e-5)


POOLS = [
    {"kernel": 2},
    {"kernel": 3, "stride": 2, "padding": 1},
    {"kernel": 3, "stride": 1, "padding": 1},
    {"kernel": [2, 5], "stride": [1, 3], "padding": [1, 2]},
    {"kernel": [4, 2], "stride": 2, "padding": [2, 0]},
    {"kernel": [4, 3], "stride": [3, 2], "ceil_mode": True},
    {"kernel": [3, 2], "stride": [2, 3], "padding": 1, "ceil_mode": True},
    {"kernel": 3, "stride": 2, "padding": [[0, 1], [1, 0]]},
    {"kernel": [3, 2], "stride": [2, 1], "padding": [[2, 1], [0, 1]], "ceil_mode": True},
]


@pytest.mark.parametrize("options", POOLS, ids=str)
def test_padding_never_wins_in_a_max_pool_of_negative_numbers(lab, options):
    layer = {"type": "max_pool", **options}
    (pool,) = lab.workload([layer], loss="mean_squared_error").nodes
    inputs = -1 - np.random.default_rng(0).random((2, *lab.IMAGE), np.float32)
    got, _ = lab.infer([layer], inputs)
    windows = naive_windows(inputs, pool.layer, pool.output_shape[1:], fill=-np.inf)
    np.testing.assert_array_equal(got, windows.max((-2, -1)))


@pytest.mark.parametrize("counted", [False, True])
@pytest.mark.parametrize("options", POOLS, ids=str)
def test_average_pool_divides_by_the_elements_inside_or_in_its_padding(lab, options, counted):
    layer = {"type": "avg_pool", "count_include_pad": counted, **options}
    (pool,) = lab.workload([layer], loss="mean_squared_error").nodes
    inputs = 5 + np.random.default_rng(0).random((2, *lab.IMAGE), np.float32)
    got, _ = lab.infer([layer], inputs)
    fill = 0.0 if counted else np.nan
    windows = naive_windows(inputs, pool.layer, pool.output_shape[1:], fill, beyond=np.nan)
    np.testing.assert_allclose(got, np.nanmean(windows, (-2, -1)), rtol=1e-6)


def test_flatten_keeps_the_order_of_channels_rows_columns(lab):
    inputs = np.random.default_rng(0).standard_normal((2, *lab.IMAGE)).astype(np.float32)
    got, _ = lab.infer([{"type": "flatten"}], inputs)
    np.testing.assert_array_equal(got, inputs.reshape(2, -1))


@pytest.mark.parametrize("between", [[], [{"type": "tanh"}], [{"type": "dropout", "rate": 0.5}]])
def test_a_linear_layer_reads_flattened_features_in_the_canonical_order(lab, between):
    inputs = np.random.default_rng(0).standard_normal((2, *lab.IMAGE)).astype(np.float32)
    layers = [{"type": "flatten"}, *between, {"type": "linear", "out_features": 3}]
    got, weights = lab.infer(layers, inputs)
    features = inputs.reshape(2, -1).astype(np.float64)
    if between and between[0]["type"] == "tanh":
        features = np.tanh(features)
    expected = features @ weights["linear1.weight"].T.astype(np.float64) + weights["linear1.bias"]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_elementwise_layers_are_their_formulas(lab):
    inputs = np.linspace(-4, 4, 21, dtype=np.float32).reshape(3, 7)
    formulas = {
        "relu": np.maximum(inputs, 0),
        "leaky_relu": np.where(inputs > 0, inputs, 0.2 * inputs),
        "sigmoid": 1 / (1 + np.exp(-inputs.astype(np.float64))),
        "tanh": np.tanh(inputs.astype(np.float64)),
        "relu6": np.clip(inputs, 0, 6),
        "silu": inputs / (1 + np.exp(-inputs.astype(np.float64))),
        "hard_sigmoid": np.clip(inputs.astype(np.float64) + 3, 0, 6) / 6,
        "hard_swish": inputs * np.clip(inputs.astype(np.float64) + 3, 0, 6) / 6,
        "gelu": inputs * ndtr(inputs.astype(np.float64)),
    }
    for word, expected in formulas.items():
        layer = {"type": word, **({"slope": 0.2} if word == "leaky_relu" else {})}
        got, _ = lab.infer([layer], inputs, input_shape=(7,))
        # of 1 + erf, frameworks have the rounding of 1
        atol = 5e-7 if word == "gelu" else 1e-7
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=atol, err_msg=word)


@pytest.mark.parametrize("word", KINKS)
def test_an_activation_has_the_pinned_derivative_at_its_kinks(lab, word):
    inputs, outputs, slopes = KINKS[word]
    workload, weights, sample, _, targets = at({"type": word}, inputs)
    first, read, wanted = (
        {name: value.astype(np.float32) for name, value in weights.items()},
        sample.astype(np.float32),
        targets.astype(np.float32),
    )
    session = lab.open(workload, first, batch=1)
    batch = session.upload(read, wanted)
    np.testing.assert_allclose(session.download(session.infer(batch))[0], outputs, atol=1e-6)
    session.train_step(batch)
    moved = first["linear1.bias"] - session.weights()["linear1.bias"]
    np.testing.assert_allclose(moved, slopes, atol=2e-6)


def test_option_a_takes_every_second_pixel_and_puts_zeros_behind(lab):
    inputs = np.random.default_rng(0).standard_normal((2, *lab.IMAGE)).astype(np.float32)
    got, _ = lab.infer([{"type": "option_a", "stride": [2, 3], "extra_channels": 4}], inputs)
    expected = np.zeros((2, 7, 9, 8), np.float32)
    expected[:, :3] = inputs[:, :, ::2, ::3]
    np.testing.assert_array_equal(got, expected)


def test_residual_adds_and_concat_appends(lab):
    inputs = np.random.default_rng(0).standard_normal((2, *lab.IMAGE)).astype(np.float32)
    tanh = np.tanh(inputs)
    added, _ = lab.infer([{"type": "residual", "body": [{"type": "tanh"}]}], inputs)
    np.testing.assert_allclose(added, inputs + tanh, rtol=1e-6, atol=1e-6)
    joined, _ = lab.infer([{"type": "concat", "body": [{"type": "tanh"}]}], inputs)
    np.testing.assert_allclose(joined, np.concatenate([inputs, tanh], 1), rtol=1e-6, atol=1e-6)


def test_bodies_stand_side_by_side_in_their_order(lab):
    inputs = np.random.default_rng(0).standard_normal((2, *lab.IMAGE)).astype(np.float32)
    bodies = [[{"type": "tanh"}], [], [{"type": "relu"}]]
    joined, _ = lab.infer([{"type": "concat", "bodies": bodies}], inputs)
    expected = np.concatenate([np.tanh(inputs), inputs, np.maximum(inputs, 0)], 1)
    np.testing.assert_allclose(joined, expected, rtol=1e-6, atol=1e-6)


def test_global_average_pool_is_the_mean_over_pixels(lab):
    inputs = np.random.default_rng(0).standard_normal((2, *lab.IMAGE)).astype(np.float32)
    got, _ = lab.infer([{"type": "global_avg_pool"}], inputs)
    np.testing.assert_allclose(got, inputs.mean((2, 3), np.float64), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("eps", "momentum"), [(1e-5, 0.1), (0.5, 0.3), (1e-9, 1.0)])
def test_batch_norm_moves_its_running_statistics_with_the_unbiased_variance(lab, eps, momentum):
    layers = [{"type": "batch_norm", "eps": eps, "momentum": momentum}]
    workload = lab.workload(layers, loss="mean_squared_error")
    weights = lab.weights(workload)
    inputs, targets = lab.batch(workload)
    session = lab.open(workload, weights)
    session.learning_rate = 0.0
    batch = session.upload(inputs, targets)
    loss = session.download(session.train_step(batch))
    after = session.weights()

    column = (slice(None), None, None)
    x = inputs.astype(np.float64)
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
    normal = (x - mean[column]) / np.sqrt(variance[column] + eps)
    output = normal * weights["norm1.scale"][column] + weights["norm1.shift"][column]
    np.testing.assert_allclose(loss, ((output - targets) ** 2).mean(), rtol=1e-5)
    unbiased = x.var((0, 2, 3), ddof=1)
    for name, batch_value in (("running_mean", mean), ("running_variance", unbiased)):
        expected = (1 - momentum) * weights[f"norm1.{name}"] + momentum * batch_value
        np.testing.assert_allclose(after[f"norm1.{name}"], expected, rtol=1e-5, atol=1e-6)

    got = session.download(session.infer(batch))
    running_mean = after["norm1.running_mean"][column]
    spread = np.sqrt(after["norm1.running_variance"][column] + eps)
    expected = (x - running_mean) / spread * weights["norm1.scale"][column]
    expected += weights["norm1.shift"][column]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_batch_norm_of_features_is_over_the_batch(lab):
    layers = [{"type": "batch_norm", "eps": 1e-3, "momentum": 0.3}]
    workload = lab.workload(layers, (6,), loss="mean_squared_error")
    weights, (inputs, targets) = lab.weights(workload), lab.batch(workload)
    session = lab.open(workload, weights)
    session.learning_rate = 0.0
    batch = session.upload(inputs, targets)
    loss = session.download(session.train_step(batch))
    after, x = session.weights(), inputs.astype(np.float64)

    def output(mean, variance):
        normal = (x - mean) / np.sqrt(variance + 1e-3)
        return normal * weights["norm1.scale"] + weights["norm1.shift"]

    of_batch = output(x.mean(0), x.var(0))
    np.testing.assert_allclose(loss, ((of_batch - targets) ** 2).mean(), rtol=1e-5)
    running = {"mean": x.mean(0), "variance": x.var(0, ddof=1)}
    for name, value in running.items():
        expected = 0.7 * weights[f"norm1.running_{name}"] + 0.3 * value
        np.testing.assert_allclose(after[f"norm1.running_{name}"], expected, rtol=1e-5, atol=1e-6)
    expected = output(after["norm1.running_mean"], after["norm1.running_variance"])
    np.testing.assert_allclose(session.download(session.infer(batch)), expected, rtol=1e-4)


@pytest.mark.parametrize("shape", [(3, 1, 1), (3,)])
def test_batch_norm_refuses_to_train_on_one_value_per_channel(lab, shape):
    layers = [{"type": "batch_norm"}, {"type": "flatten"}, {"type": "linear", "out_features": 2}]
    workload = lab.workload(layers, shape)
    session = lab.open(workload, batch=1)
    batch = session.upload(*lab.batch(workload, 1))
    session.infer(batch)
    with pytest.raises(ValueError, match="value"):
        session.train_step(batch)


CONVOLUTION = {"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}


def assert_same_gradients(labs, layers, loss="cross_entropy"):
    workload = labs[0].workload(layers, loss=loss)
    weights, batch = labs[0].weights(workload), labs[0].batch(workload)
    (first_loss, first), (second_loss, second) = (
        lab.gradients(workload, weights, *batch) for lab in labs
    )
    np.testing.assert_allclose(first_loss, second_loss, rtol=1e-5)
    for name, gradient in first.items():
        scale = np.abs(second[name]).max()
        assert scale > 0, name
        np.testing.assert_allclose(gradient, second[name], atol=2e-5 * scale, err_msg=name)


@pytest.mark.parametrize("loss", ["cross_entropy", "mean_squared_error"])
def test_a_network_of_every_layer_has_the_same_gradients_in_both(labs, loss):
    assert_same_gradients(labs, labs[0].EVERYTHING, loss)


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_a_convolution_has_the_same_gradients_in_both(labs, options):
    second = {"type": "conv2d", "out_channels": 4, **options}
    assert_same_gradients(labs, [CONVOLUTION, second, {"type": "global_avg_pool"}])


@pytest.mark.parametrize("kind", ["max_pool", "avg_pool"])
@pytest.mark.parametrize("options", POOLS, ids=str)
def test_a_pool_has_the_same_gradients_in_both(labs, kind, options):
    pool = {"type": kind, **options}
    if kind == "avg_pool" and "ceil_mode" in options:
        pool["count_include_pad"] = True
    linear = {"type": "linear", "out_features": 3}
    assert_same_gradients(labs, [CONVOLUTION, pool, {"type": "flatten"}, linear])
