"""Every layer and every optimizer in a network of its own, for the conformance of a backend."""

from __future__ import annotations

from typing import Any

Table = dict[str, Any]

IMAGE = [2, 9, 11]
CONV: Table = {"type": "conv2d", "out_channels": 4, "kernel": 3}
_BODY: list[Table] = [
    {"type": "conv2d", "out_channels": 7, "kernel": 3, "stride": 2, "padding": 1},
    {"type": "batch_norm"},
]
END: list[Table] = [{"type": "flatten"}, {"type": "linear", "out_features": 3}]
SGD: Table = {"type": "sgd", "learning_rate": 0.1}
MOMENTUM = SGD | {"momentum": 0.9}

LAYERS: dict[str, list[Table]] = {
    "linear": [],
    "linear without bias": [
        {"type": "flatten"},
        {"type": "linear", "out_features": 5, "bias": False},
    ],
    "conv2d": [CONV],
    "conv2d with stride": [CONV | {"stride": [2, 3], "kernel": [5, 2]}],
    "conv2d with padding": [CONV | {"padding": [2, 1], "kernel": [4, 3]}],
    "conv2d with uneven padding": [CONV | {"padding": [[0, 2], [1, 0]], "kernel": [4, 3]}],
    "conv2d with dilation": [CONV | {"dilation": [2, 3], "padding": 1}],
    "conv2d without bias": [CONV | {"bias": False}],
    "conv2d in groups": [CONV, CONV | {"out_channels": 6, "groups": 2, "padding": 1}],
    "conv2d in groups, with stride and dilation": [
        CONV | {"out_channels": 6},
        CONV | {"out_channels": 3, "groups": 3, "stride": 2, "dilation": [1, 2], "bias": False},
    ],
    "conv2d, depthwise": [CONV, CONV | {"groups": 4, "padding": 1}],
    "conv2d, depthwise with stride": [CONV, CONV | {"groups": 4, "stride": 2, "padding": 1}],
    "conv2d, depthwise with several outputs": [
        CONV,
        CONV | {"groups": 4, "out_channels": 8, "stride": [1, 2]},
    ],
    "batch_norm": [CONV, {"type": "batch_norm"}],
    "batch_norm of features": [
        *END[:1],
        {"type": "linear", "out_features": 5},
        {"type": "tanh"},
        {"type": "batch_norm"},
    ],
    "batch_norm behind a flatten": [CONV, *END[:1], {"type": "batch_norm"}],
    "conv_transpose2d": [{"type": "conv_transpose2d", "out_channels": 3, "kernel": 3}],
    "conv_transpose2d with stride": [
        CONV,
        {
            "type": "conv_transpose2d",
            "out_channels": 3,
            "kernel": [3, 4],
            "stride": 2,
            "padding": 1,
            "output_padding": [1, 0],
            "bias": False,
        },
    ],
    "group_norm": [CONV, {"type": "group_norm", "groups": 2}],
    "layer_norm": [CONV, {"type": "layer_norm"}],
    "layer_norm of features": [
        *END[:1],
        {"type": "linear", "out_features": 5},
        {"type": "tanh"},
        {"type": "layer_norm"},
    ],
    "local_response_norm": [
        CONV,
        {"type": "local_response_norm", "size": 3, "alpha": 0.5, "beta": 0.75, "k": 2.0},
    ],
    "relu": [CONV, {"type": "relu"}],
    "leaky_relu": [CONV, {"type": "leaky_relu"}],
    "sigmoid": [CONV, {"type": "sigmoid"}],
    "tanh": [CONV, {"type": "tanh"}],
    "relu6": [CONV, {"type": "relu6"}],
    "silu": [CONV, {"type": "silu"}],
    "hard_sigmoid": [CONV, {"type": "hard_sigmoid"}],
    "hard_swish": [CONV, {"type": "hard_swish"}],
    "gelu": [CONV, {"type": "gelu"}],
    "gelu by tanh": [CONV, {"type": "gelu", "approximate": "tanh"}],
    "max_pool": [CONV, {"type": "max_pool", "kernel": 2}],
    "max_pool, overlapping": [CONV, {"type": "max_pool", "kernel": 3, "stride": 2, "padding": 1}],
    "max_pool in ceil mode": [
        CONV,
        {"type": "max_pool", "kernel": [2, 3], "stride": [2, 4], "ceil_mode": True},
    ],
    "max_pool with uneven padding": [
        CONV,
        {"type": "max_pool", "kernel": 3, "stride": 2, "padding": [[0, 1], [2, 1]]},
    ],
    "avg_pool": [CONV, {"type": "avg_pool", "kernel": [2, 3]}],
    "avg_pool, overlapping": [CONV, {"type": "avg_pool", "kernel": 3, "stride": 2, "padding": 1}],
    "avg_pool in ceil mode": [
        CONV,
        {"type": "avg_pool", "kernel": [2, 3], "stride": [2, 3], "padding": 1, "ceil_mode": True},
    ],
    "avg_pool that counts padding": [
        CONV,
        {"type": "avg_pool", "kernel": 3, "stride": 2, "padding": 1, "count_include_pad": True},
    ],
    "avg_pool that counts padding, in ceil mode": [
        CONV,
        {
            "type": "avg_pool",
            "kernel": 3,
            "stride": [2, 3],
            "padding": [1, 0],
            "ceil_mode": True,
            "count_include_pad": True,
        },
    ],
    "avg_pool with uneven padding": [
        CONV,
        {"type": "avg_pool", "kernel": 3, "stride": 2, "padding": [[0, 1], [2, 1]]},
    ],
    "global_avg_pool": [CONV, {"type": "global_avg_pool"}, {"type": "linear", "out_features": 4}],
    "adaptive_avg_pool": [CONV, {"type": "adaptive_avg_pool", "output": [3, 4]}],
    "adaptive_avg_pool of windows side by side": [
        {"type": "adaptive_avg_pool", "output": [3, 1]},
        {"type": "conv2d", "out_channels": 4, "kernel": 1},
    ],
    "dropout before a linear layer": [CONV, {"type": "tanh"}, {"type": "dropout", "rate": 0.25}],
    "dropout before a convolution": [CONV, {"type": "dropout", "rate": 0.5}, CONV],
    "residual, identity": [
        {
            "type": "residual",
            "body": [{"type": "conv2d", "out_channels": 2, "kernel": 3, "padding": 1}],
        },
    ],
    "residual, option A": [CONV, {"type": "residual", "shortcut": "option_a", "body": _BODY}],
    "residual, projection": [CONV, {"type": "residual", "shortcut": "projection", "body": _BODY}],
    "concat": [
        {
            "type": "concat",
            "body": [CONV | {"padding": 1, "out_channels": 2}, {"type": "relu"}],
        },
        CONV,
    ],
    "concat of bodies": [
        {
            "type": "concat",
            "bodies": [
                [CONV | {"kernel": 1}, {"type": "relu"}],
                [CONV | {"padding": 1, "out_channels": 3}],
                [{"type": "max_pool", "kernel": 3, "stride": 1, "padding": 1}],
            ],
        },
        CONV,
    ],
    "scale by features": [
        CONV,
        {
            "type": "scale",
            "body": [
                {"type": "global_avg_pool"},
                {"type": "linear", "out_features": 3},
                {"type": "tanh"},
                {"type": "linear", "out_features": 4},
                {"type": "sigmoid"},
            ],
        },
    ],
    "scale by an image of one pixel": [
        CONV,
        {
            "type": "scale",
            "body": [
                {"type": "adaptive_avg_pool", "output": 1},
                {"type": "conv2d", "out_channels": 4, "kernel": 1},
                {"type": "sigmoid"},
            ],
        },
        CONV,
    ],
}
_FREEZE: Table = {"freeze": True}
FROZEN: dict[str, list[Table]] = {
    "what comes first": [CONV | _FREEZE, {"type": "batch_norm"} | _FREEZE, {"type": "tanh"}, CONV],
    "what comes between": [
        CONV,
        CONV | _FREEZE | {"padding": 1},
        {"type": "batch_norm"} | _FREEZE,
        {"type": "tanh"},
    ],
    "layers of every kind": [
        CONV | {"padding": 1},
        CONV | _FREEZE | {"groups": 4, "padding": 1},
        {"type": "group_norm", "groups": 2} | _FREEZE,
        CONV | _FREEZE | {"groups": 2, "padding": 1},
        {"type": "layer_norm"} | _FREEZE,
        {"type": "conv_transpose2d", "out_channels": 3, "kernel": 2} | _FREEZE,
        {"type": "flatten"},
        {"type": "linear", "out_features": 5} | _FREEZE,
        {"type": "tanh"},
        {"type": "batch_norm"} | _FREEZE,
    ],
    "a residual body": [
        {"type": "residual", "shortcut": "projection", "body": _BODY} | _FREEZE,
        {
            "type": "residual",
            "body": [{"type": "conv2d", "out_channels": 7, "kernel": 1} | _FREEZE],
        },
    ],
}
LOSSES: dict[str, str | Table] = {
    "cross_entropy": "cross_entropy",
    "cross_entropy with smoothed labels": {"type": "cross_entropy", "label_smoothing": 0.1},
    "mean_squared_error": "mean_squared_error",
}
_WEIGHTS_ALONE: Table = {"weight_decay": 0.1, "decay_biases_and_norms": False}

_CLIPPED: Table = MOMENTUM | {"clip_norm": 0.5, "weight_decay": 0.01}

SHRINKING: Table = _CLIPPED | {"weight_decay": 0.1}
"""Moves whatever it takes for trained, and counts it in the norm of the gradients."""

OPTIMIZERS: dict[str, Table] = {
    "sgd": SGD,
    "sgd with momentum": MOMENTUM,
    "sgd with nesterov and weight decay": MOMENTUM | {"nesterov": True, "weight_decay": 0.01},
    "adam": {"type": "adam", "learning_rate": 0.01},
    "adam with weight decay": {"type": "adam", "learning_rate": 0.01, "weight_decay": 0.1},
    "adamw": {"type": "adamw", "learning_rate": 0.01, "weight_decay": 0.1},
    "sgd, gradients clipped by their norm": _CLIPPED,
    "adam, gradients clipped by their norm": {
        "type": "adam",
        "learning_rate": 0.01,
        "weight_decay": 0.1,
        "clip_norm": 0.5,
    },
    "adagrad": {"type": "adagrad", "learning_rate": 0.01, "weight_decay": 0.01},
    "rmsprop": {"type": "rmsprop", "learning_rate": 0.001, "weight_decay": 0.01},
    "rmsprop with momentum": {"type": "rmsprop", "learning_rate": 0.001, "momentum": 0.9},
    "adadelta": {"type": "adadelta", "learning_rate": 1.0, "weight_decay": 0.01},
    "sgd, biases and norms without decay": MOMENTUM | _WEIGHTS_ALONE,
    "adamw, biases and norms without decay": {"type": "adamw", "learning_rate": 0.01}
    | _WEIGHTS_ALONE,
}
