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
    "batch_norm": [{"type": "batch_norm", "eps": 1e-3, "momentum": 0.3}],
    "batch_norm of features": [
        {"type": "flatten"},
        {"type": "batch_norm", "eps": 1e-3, "momentum": 0.3},
        {"type": "linear", "out_features": 5},
        {"type": "tanh"},
        {"type": "batch_norm"},
    ],
    "relu": [{"type": "relu"}],
    "leaky_relu": [{"type": "leaky_relu", "slope": 0.2}],
    "sigmoid": [{"type": "sigmoid"}],
    "tanh": [{"type": "tanh"}],
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
