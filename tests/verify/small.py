"""Workloads small enough to be verified in a fraction of a second, and a timed loop to go with them."""

import numpy as np

from dlbench.contract import Plan
from dlbench.spec.workload import initial_weights, read_workload
from dlbench.verify.expected.evaluation_points import sample_inputs, sample_targets
from dlbench.verify.extent import FULL
from dlbench.verify.timed.after_timing import Witness, check_after

BATCH = 6
SGD = {"type": "sgd", "learning_rate": 0.05, "momentum": 0.9}
DECAY = {"weight_decay": 0.02}
SLOW = {"learning_rate": 0.01}
CONV = {"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}
FLATTEN = ({"type": "flatten"},)
MEAN = ({"type": "global_avg_pool"},)
FEATURES = ({"type": "linear", "out_features": 6}, {"type": "tanh"})


def _image(layers, end=FLATTEN, optimizer=SGD, shape=(2, 6, 8)):
    last = {"type": "linear", "out_features": 3}
    return {
        "input_shape": list(shape),
        "layers": [*layers, *end, last],
        "loss": "cross_entropy",
        "optimizer": optimizer,
    }


def _features(optimizer, loss="mean_squared_error"):
    last = {"type": "linear", "out_features": 4}
    return {
        "input_shape": [5],
        "layers": [*FEATURES, last],
        "loss": loss,
        "optimizer": optimizer,
    }


_HALVED = {**CONV, "stride": 2}
TABLES = {
    "convolution": _image([_HALVED, {"type": "relu"}], optimizer=SGD | DECAY),
    "dilated": _image([{**CONV, "dilation": 2, "padding": 2}, {"type": "tanh"}], shape=(1, 7, 7)),
    "uneven stride": _image([{**CONV, "stride": [1, 2]}, {"type": "tanh"}], shape=(2, 5, 5)),
    "groups": _image([CONV, {**CONV, "out_channels": 6, "groups": 2}, {"type": "tanh"}]),
    "norm": _image(
        [{**CONV, "bias": False}, {"type": "batch_norm"}, {"type": "leaky_relu"}],
        optimizer=SGD | DECAY,
    ),
    "norm of features": {
        "input_shape": [5],
        "layers": [
            {"type": "linear", "out_features": 6, "bias": False},
            {"type": "batch_norm"},
            {"type": "relu"},
            {"type": "linear", "out_features": 3},
        ],
        "optimizer": SGD | DECAY,
    },
    "weights alone decay": _image(
        [CONV, {"type": "tanh"}, {"type": "batch_norm"}],
        optimizer=SGD | DECAY | {"decay_biases_and_norms": False},
    ),
    "sigmoid": _image([CONV, {"type": "sigmoid"}]),
    "relu6": _image([CONV, {"type": "relu6"}]),
    "silu": _image([CONV, {"type": "silu"}, CONV]),
    "hard_sigmoid": _image([CONV, {"type": "hard_sigmoid"}]),
    "hard_swish": _image([CONV, {"type": "hard_swish"}]),
    "gelu": _image([CONV, {"type": "gelu"}]),
    "gelu by tanh": _image([CONV, {"type": "gelu", "approximate": "tanh"}]),
    "max pool": _image([CONV, {"type": "max_pool", "kernel": 3, "stride": 2, "padding": 1}], MEAN),
    "average pool": _image(
        [CONV, {"type": "avg_pool", "kernel": 3, "stride": 2, "padding": 1}], MEAN
    ),
    "pool without padding": _image([CONV, {"type": "max_pool", "kernel": 3, "stride": 2}], MEAN),
    "uneven padding": _image(
        [{**CONV, "padding": [[0, 2], [2, 1]]}, {"type": "tanh"}], shape=(2, 5, 5)
    ),
    "uneven pool": _image(
        [CONV, {"type": "max_pool", "kernel": 3, "stride": 2, "padding": [[1, 0], [0, 1]]}], MEAN
    ),
    "max pool in ceil mode": _image(
        [CONV, {"type": "max_pool", "kernel": 3, "stride": 2, "ceil_mode": True}], MEAN
    ),
    "average that counts padding": _image(
        [
            CONV,
            {
                "type": "avg_pool",
                "kernel": 3,
                "stride": 2,
                "padding": 1,
                "ceil_mode": True,
                "count_include_pad": True,
            },
        ],
        MEAN,
    ),
    # a last window would begin behind the columns
    "average without a last window": _image(
        [CONV, {"type": "avg_pool", "kernel": 2, "stride": 3, "padding": 1, "ceil_mode": True}],
        MEAN,
    ),
    "option A": _image(
        [
            CONV,
            {
                "type": "residual",
                "shortcut": "option_a",
                "body": [{**_HALVED, "out_channels": 7}, {"type": "tanh"}],
            },
        ]
    ),
    "residual": _image([CONV, {"type": "residual", "body": [CONV, {"type": "tanh"}]}]),
    "concatenation": _image([CONV, {"type": "concat", "body": [CONV, {"type": "tanh"}]}]),
    "bodies": _image(
        [
            CONV,
            {
                "type": "concat",
                "bodies": [[{**CONV, "kernel": 1, "padding": 0}], [CONV, {"type": "tanh"}], []],
            },
        ]
    ),
    "transposed": _image(
        [
            {
                "type": "conv_transpose2d",
                "out_channels": 4,
                "kernel": 3,
                "stride": 2,
                "padding": 1,
                "output_padding": 1,
            },
            {"type": "tanh"},
        ],
        shape=(2, 3, 4),
    ),
    "group norm": _image([CONV, {"type": "group_norm", "groups": 2}]),
    "layer norm": _image([CONV, {"type": "layer_norm"}]),
    "responses": _image([CONV, {"type": "local_response_norm", "size": 3, "alpha": 0.5, "k": 2.0}]),
    "adaptive pool": _image([CONV, {"type": "adaptive_avg_pool", "output": [4, 3]}]),
    "scaling": _image(
        [
            CONV,
            {"type": "silu"},
            {
                "type": "scale",
                "body": [
                    {"type": "global_avg_pool"},
                    {"type": "linear", "out_features": 4},
                    {"type": "sigmoid"},
                ],
            },
        ]
    ),
    "dropout": _image([{**CONV, "out_channels": 6}, {"type": "dropout", "rate": 0.25}]),
    "two dropouts": {
        "input_shape": [40],
        "layers": [
            {"type": "linear", "out_features": 300},
            {"type": "dropout", "rate": 0.5},
            {"type": "linear", "out_features": 300},
            {"type": "dropout", "rate": 0.5},
            {"type": "linear", "out_features": 3},
        ],
        "optimizer": SGD | {"learning_rate": 0.001},
    },
    "dropout behind norm": _image(
        [
            {**CONV, "out_channels": 6, "bias": False},
            {"type": "batch_norm"},
            {"type": "dropout", "rate": 0.25},
        ]
    ),
    "squared error": _features(SGD),
    "clipped": _features(SGD | DECAY | {"clip_norm": 0.2}, "cross_entropy"),
    "frozen": _image(
        [
            CONV,
            {**CONV, "freeze": True},
            {"type": "batch_norm", "freeze": True},
            {"type": "tanh"},
        ],
        optimizer=SGD | DECAY | {"clip_norm": 0.2},
    ),
    "hardly clipped": _features(SGD | {"clip_norm": 1e6}),
    "smoothed labels": _features(SGD, {"type": "cross_entropy", "label_smoothing": 0.1}),
    "Nesterov": _features(SGD | {"nesterov": True}),
    "Adam": _features({"type": "adam"} | SLOW | DECAY),
    "AdamW": _features({"type": "adamw"} | SLOW | DECAY, loss="cross_entropy"),
    "Adagrad": _features({"type": "adagrad"} | SLOW | DECAY),
    "RMSprop": _features({"type": "rmsprop", "learning_rate": 0.001} | DECAY),
    "RMSprop with momentum": _features(
        {"type": "rmsprop", "learning_rate": 0.001, "rho": 0.9, "momentum": 0.9}
    ),
    "Adadelta": _features({"type": "adadelta", "learning_rate": 1.0} | DECAY),
}


def workload(name):
    """One of the workloads by name."""
    return read_workload(TABLES[name])


def plan(precision="fp32"):
    """How all of them are executed."""
    return Plan("faulty", "cpu", BATCH, 1, precision)


def batch(of, key):
    """A batch of inputs and targets for a workload, named by `key`."""
    return sample_inputs(of, BATCH, "timed", key), sample_targets(of, BATCH, "timed", key)


def check_after_timing(
    adapter, of, cache_dir, *, steps=16, trained=True, precision="fp32", extent=FULL
):
    """What `check_after` finds once the adapter went through a timed loop of `steps`."""
    weights = initial_weights(of, 0)
    session = adapter.open(plan(precision), of, weights)
    batches = [session.upload(*batch(of, number)) for number in range(8)]
    for step in range(steps):
        resident = batches[step % len(batches)]
        session.download(session.train_step(resident) if trained else session.infer(resident))
    seen = witnesses(session, of, batches)
    return check_after(
        session, plan(precision), of, weights, trained, seen, cache_dir, extent=extent
    )


def witnesses(session, of, batches):
    """A sample of each resident batch, and one of a batch that was not seen before."""
    held_out = batch(of, "held out")
    unseen = Witness(session.upload(*held_out), BATCH - 1, held_out[0][-1])
    seen = [
        Witness(resident, number % BATCH, batch(of, number)[0][number % BATCH])
        for number, resident in enumerate(batches)
    ]
    return [*seen, unseen]


def failing(checks):
    """Names of the checks that did not pass."""
    return [check.name for check in checks if not check.passed]


def strongest(checks):
    """The largest error in tolerances; infinite where something was not finite or should be exact."""
    worst = 0.0
    for check in checks:
        error = np.inf if check.error is None else check.error
        with np.errstate(divide="ignore"):
            # an exact check that holds is 0 tolerances off, though its tolerance is 0 too
            worst = max(worst, float(np.divide(error, check.tolerance)) if error else 0.0)
    return worst
