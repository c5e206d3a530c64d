"""Layers of the NumPy backend that few networks have, and smoothed labels, against PyTorch in float64."""

import pytest

pytest.importorskip("torch")
from numpy_beside_torch import CONV, POINT, check


@pytest.mark.parametrize(
    ("groups", "outputs"), [(6, 6), (6, 12), (2, 4), (3, 3)], ids=["depthwise", "wide", "2", "3"]
)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kernel": 1, "bias": False},
        {"padding": 1},
        {"padding": [[0, 2], [3, 1]], "stride": [1, 2]},
        {"kernel": [5, 2], "stride": 3, "padding": 2},
        {"dilation": [2, 3], "padding": [1, 4]},
    ],
    ids=str,
)
def test_convolution_in_groups_agrees(groups, outputs, options):
    conv = {**CONV, "out_channels": outputs, "groups": groups, **options}
    check([POINT, conv], (2, 10, 13))
    check([POINT, conv, {"type": "relu"}, POINT], (2, 10, 13), batch=1)


def test_a_depthwise_kernel_that_meets_padding_alone_leaves_no_gradient_there():
    check([{**CONV, "out_channels": 2, "groups": 2, "kernel": 5, "padding": 4}], (2, 1, 2))


@pytest.mark.parametrize("smoothed", [0.1, 0.9])
def test_smoothed_labels_agree(smoothed):
    layers = [{"type": "flatten"}, {"type": "linear", "out_features": 7}]
    check(layers, loss={"type": "cross_entropy", "label_smoothing": smoothed})


@pytest.mark.parametrize("kernel", [1, 3, [4, 2]], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 1, "output_padding": 1},
        {"stride": [1, 3], "output_padding": [0, 2], "bias": False},
        {"padding": [0, 2]},
    ],
    ids=str,
)
def test_transposed_convolution_agrees(kernel, options):
    layer = {"type": "conv_transpose2d", "out_channels": 5, "kernel": kernel, **options}
    check([POINT, layer, {"type": "relu"}, POINT], (2, 5, 7))
    check([layer], (2, 5, 7), batch=1)


@pytest.mark.parametrize(
    "layer",
    [
        {"type": "group_norm", "groups": 1},
        {"type": "group_norm", "groups": 3, "eps": 1e-2},
        {"type": "layer_norm"},
        {"type": "layer_norm", "eps": 1e-2},
        {"type": "local_response_norm", "size": 5, "alpha": 0.5, "k": 2.0},
        {"type": "local_response_norm", "size": 13, "alpha": 2.0, "beta": 0.5},
    ],
    ids=str,
)
def test_normalisation_within_a_sample_agrees(layer):
    check([POINT, layer, {"type": "silu"}, POINT])
    check([POINT, layer, POINT], batch=1)
    if layer["type"] != "local_response_norm":
        # features in the order of a flatten, and of a linear layer
        flat = [{**CONV, "out_channels": 6, "stride": 4}, {"type": "flatten"}, layer]
        check([*flat, {"type": "linear", "out_features": 9}, layer])


@pytest.mark.parametrize("output", [1, 3, [4, 5], [9, 2], [12, 20]], ids=str)
def test_adaptive_pools_agree(output):
    pool = {"type": "adaptive_avg_pool", "output": output}
    check([CONV, pool, POINT], (2, 9, 11))
    check([pool, POINT], (2, 9, 11), batch=1)


EXCITE = [{"type": "linear", "out_features": 5}, {"type": "sigmoid"}]
BODIES = {
    "of features": [{"type": "global_avg_pool"}, *EXCITE],
    "of an image": [
        {"type": "adaptive_avg_pool", "output": 1},
        {**CONV, "kernel": 1},
        {"type": "hard_sigmoid"},
    ],
    "of flattened features": [
        {"type": "adaptive_avg_pool", "output": [1, 5]},
        {"type": "conv2d", "out_channels": 1, "kernel": 1},
        {"type": "flatten"},
    ],
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_scaling_agrees(body):
    scale = {"type": "scale", "body": body}
    check([CONV, {"type": "silu"}, scale, POINT])
    check([CONV, scale, {"type": "residual", "body": [{**scale}]}], batch=1)


def test_scaling_of_features_agrees_in_the_order_of_a_flatten():
    scale = {"type": "scale", "body": [{"type": "linear", "out_features": 45}, {"type": "tanh"}]}
    check([{**CONV, "stride": 3}, {"type": "flatten"}, scale], (2, 9, 11))
