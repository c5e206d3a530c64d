"""Networks in which every kind of layer occurs, and weights and batches for them in float64."""

import numpy as np

from dlbench.spec.training import CrossEntropy
from dlbench.spec.workload import read_workload

CONV = {"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}
SGD = {"type": "sgd", "learning_rate": 0.1}
PIECES = {
    "conv2d": [{**CONV, "kernel": [3, 2], "stride": [2, 1], "padding": [1, 0]}],
    "conv2d, dilated": [{**CONV, "kernel": [2, 3], "dilation": [3, 2], "padding": [1, 2]}],
    "conv2d, uneven padding": [{**CONV, "stride": [1, 2], "padding": [[0, 2], [3, 1]]}],
    "conv2d without bias": [{**CONV, "bias": False, "stride": 3}],
    "conv2d in groups": [
        {**CONV, "out_channels": 6, "groups": 2, "stride": [2, 1]},
        {**CONV, "out_channels": 3, "groups": 3, "dilation": 2, "bias": False},
    ],
    "conv2d, depthwise": [{**CONV, "groups": 4}, {**CONV, "groups": 4, "out_channels": 8}],
    "batch_norm": [{"type": "batch_norm", "eps": 1e-3, "momentum": 0.3}],
    "batch_norm of features": [
        {"type": "flatten"},
        {"type": "batch_norm", "eps": 1e-3, "momentum": 0.3},
        {"type": "linear", "out_features": 5},
        {"type": "tanh"},
        {"type": "batch_norm"},
    ],
    "conv_transpose2d": [
        {
            "type": "conv_transpose2d",
            "out_channels": 5,
            "kernel": [3, 2],
            "stride": [2, 3],
            "padding": [1, 0],
            "output_padding": [1, 2],
        },
        {"type": "conv_transpose2d", "out_channels": 3, "kernel": 3, "padding": 2, "bias": False},
    ],
    "group_norm": [
        {"type": "group_norm", "groups": 2, "eps": 1e-2},
        {**CONV, "stride": 2},
        {"type": "group_norm", "groups": 4},
    ],
    "layer_norm": [
        {"type": "layer_norm", "eps": 1e-1},
        {**CONV, "out_channels": 9},
        {"type": "layer_norm", "eps": 1e-2},
    ],
    "norms of features": [
        {"type": "flatten"},
        {"type": "layer_norm"},
        {"type": "linear", "out_features": 6},
        {"type": "group_norm", "groups": 2},
    ],
    "local_response_norm": [
        {"type": "local_response_norm", "size": 3, "alpha": 0.5, "k": 2.0},
        CONV,
        {"type": "local_response_norm", "size": 9, "alpha": 2.0, "beta": 0.5},
    ],
    "relu": [{"type": "relu"}],
    "leaky_relu": [{"type": "leaky_relu", "slope": 0.2}],
    "sigmoid": [{"type": "sigmoid"}],
    "tanh": [{"type": "tanh"}],
    "relu6": [{"type": "relu6"}],
    "silu": [{"type": "silu"}],
    "hard_sigmoid": [{"type": "hard_sigmoid"}],
    "hard_swish": [{"type": "hard_swish"}],
    "gelu": [{"type": "gelu"}, CONV, {"type": "gelu", "approximate": "tanh"}],
    "max_pool": [{"type": "max_pool", "kernel": [3, 2], "stride": [1, 2], "padding": [1, 0]}],
    "max_pool, ceil mode": [
        {"type": "max_pool", "kernel": 2, "stride": [4, 3], "padding": 1, "ceil_mode": True}
    ],
    "max_pool, uneven padding": [
        {"type": "max_pool", "kernel": 3, "stride": 2, "padding": [[0, 2], [1, 0]]}
    ],
    "avg_pool, ceil mode": [
        {"type": "avg_pool", "kernel": 2, "stride": [4, 3], "padding": 1, "ceil_mode": True}
    ],
    "avg_pool, padding counts": [
        {"type": "avg_pool", "kernel": 3, "stride": 2, "padding": 1, "count_include_pad": True}
    ],
    "avg_pool, everything": [
        {
            "type": "avg_pool",
            "kernel": [4, 3],
            "stride": 3,
            "padding": [[1, 3], [0, 2]],
            "ceil_mode": True,
            "count_include_pad": True,
        }
    ],
    "avg_pool": [{"type": "avg_pool", "kernel": [3, 2], "stride": [1, 2], "padding": [1, 1]}],
    "global_avg_pool": [{"type": "global_avg_pool"}],
    "adaptive_avg_pool": [
        {"type": "adaptive_avg_pool", "output": [4, 3]},
        {"type": "adaptive_avg_pool", "output": [2, 5]},
    ],
    "scale": [
        {
            "type": "scale",
            "body": [
                {"type": "global_avg_pool"},
                {"type": "linear", "out_features": 3},
                {"type": "relu"},
                {"type": "linear", "out_features": 4},
                {"type": "sigmoid"},
            ],
        }
    ],
    "scale by an image": [
        {
            "type": "scale",
            "body": [
                {"type": "adaptive_avg_pool", "output": 1},
                {**CONV, "kernel": 1, "padding": 0},
                {"type": "tanh"},
            ],
        }
    ],
    "dropout": [{"type": "dropout", "rate": 0.4}],
    "residual": [{"type": "residual", "body": [CONV, {"type": "tanh"}]}],
    "residual, option A": [
        {
            "type": "residual",
            "shortcut": "option_a",
            "body": [{**CONV, "out_channels": 7, "stride": 2}],
        }
    ],
    "residual, projection": [
        {
            "type": "residual",
            "shortcut": "projection",
            "body": [{**CONV, "out_channels": 5, "stride": 2}],
        }
    ],
    "concat": [{"type": "concat", "body": [{**CONV, "out_channels": 3}, {"type": "sigmoid"}]}],
    "concat of bodies": [
        {"type": "concat", "bodies": [[{**CONV, "out_channels": 3}], [], [{"type": "tanh"}, CONV]]}
    ],
    "everything": [
        {**CONV, "kernel": 5, "padding": 2},
        {"type": "batch_norm"},
        {"type": "leaky_relu"},
        {"type": "residual", "body": [CONV, {"type": "batch_norm"}, {"type": "relu"}]},
        {"type": "concat", "body": [{"type": "batch_norm"}, {"type": "relu"}, CONV]},
        {"type": "avg_pool", "kernel": 2, "stride": 1, "padding": 1},
        {"type": "max_pool", "kernel": 3, "stride": 2, "padding": 1},
    ],
}


def network(name, loss="cross_entropy"):
    """A 1×1 convolution, the piece of that name, and a linear layer."""
    piece = PIECES[name]
    first = {**CONV, "kernel": 1, "padding": 0}
    flat = [{"type": "flatten"}]
    if any(layer["type"] in ("global_avg_pool", "flatten") for layer in piece):
        flat = []
    layers = [first, *piece, *flat, {"type": "linear", "out_features": 3}]
    return read_workload(
        {"input_shape": [2, 6, 7], "layers": layers, "loss": loss, "optimizer": SGD}
    )


def weights(workload, seed):
    """Weights with nothing left at 0 or 1; running variances are positive."""
    random = np.random.default_rng(seed)
    drawn = {p.name: random.normal(0, 0.5, p.shape) for p in workload.parameters}
    for p in workload.parameters:
        if p.role in ("scale", "running_variance"):
            drawn[p.name] = np.abs(drawn[p.name]) + 0.5
    return drawn


def batch(workload, count, seed):
    """Inputs and targets of `count` samples."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(count, *workload.input_shape))
    if isinstance(workload.loss, CrossEntropy):
        return inputs, random.integers(0, workload.output_shape[0], count)
    return inputs, random.normal(size=(count, *workload.output_shape))
