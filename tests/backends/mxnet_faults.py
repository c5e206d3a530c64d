"""A program for MXNet's interpreter: what MXNet does of its own accord, and what is easily got wrong, planted in its
backend.

Writes, as JSON, the first check that fails for each fault, and an empty text for none.
"""

import json
import sys
from pathlib import Path
from unittest import mock

import mxnet as mx
import numpy as np
from dlbench.backends.mxnet import layers, network, optimizers
from dlbench.backends.mxnet.adapter import Adapter, Session

from dlbench.contract import Plan
from dlbench.spec.workload import read_workload
from dlbench.verify.check import verify
from dlbench.verify.sessions.reuse import Reusing

END = [{"type": "flatten"}, {"type": "linear", "out_features": 3}]
CONVOLUTION = {"type": "conv2d", "out_channels": 2, "kernel": 3}
UNEVEN = [{**CONVOLUTION, "padding": [[0, 1], [0, 1]]}, {"type": "tanh"}, *END]
NORM = [*END[:1], {"type": "batch_norm"}, *END[1:]]
POOL = [{"type": "max_pool", "kernel": 2, "stride": 3, "padding": 1, "ceil_mode": True}, *END]
MEANS = [{"type": "avg_pool", "kernel": 3, "stride": 2, "padding": 1}, *END]
GROWTH = [
    {"type": "batch_norm"},
    {"type": "relu"},
    {**CONVOLUTION, "out_channels": 12, "padding": 1},
]
JOINED = [
    {**CONVOLUTION, "out_channels": 16, "padding": 1},
    *({"type": "concat", "body": GROWTH} for _ in range(2)),
    *({"type": "batch_norm"}, {"type": "relu"}),
    {**CONVOLUTION, "out_channels": 160, "kernel": 1},
    *END,
]
# a body whose gradient its shortcut reads too
SHARED = [
    {**CONVOLUTION, "out_channels": 4, "padding": 1},
    {
        "type": "residual",
        "body": [{**CONVOLUTION, "out_channels": 4, "padding": 1}, {"type": "hard_sigmoid"}],
    },
    *END,
]
RESPONSE = [
    {**CONVOLUTION, "out_channels": 16, "padding": 1},
    {"type": "local_response_norm", "size": 1, "alpha": 0.01, "k": 2.0},
    {"type": "global_avg_pool"},
    *END[1:],
]
SGD = {"type": "sgd", "learning_rate": 0.05, "momentum": 0.9}
NESTEROV = {**SGD, "nesterov": True, "weight_decay": 0.5}
RATE = {"learning_rate": 0.01}


class With:
    """MXNet's operators, some of them with another option than they are called with."""

    def __init__(self, namespace, name, **options):
        self._namespace, self._name, self._options = namespace, name, options

    def __getattr__(self, name):
        operator = getattr(self._namespace, name)
        if name != self._name:
            return operator
        return lambda *arrays, **options: operator(*arrays, **{**options, **self._options})


def with_option(name, **options):
    """A sequence of layers on such operators."""

    def sequence(run, nodes, x):
        changed = layers.Pass(With(run.F, name, **options), run.batch, run.own)
        return SEQUENCE(changed, nodes, x)

    return sequence


def response_norm(run, node, norm, x):
    return run.F.LRN(x, alpha=norm.alpha, beta=norm.beta, knorm=norm.k, nsize=norm.size)


def hard_sigmoid(run, node, x):
    if type(node.layer).__name__ != "HardSigmoid":
        return LAYER(run, node, x)
    return run.F.hard_sigmoid(x, alpha=1 / 6, beta=0.5)


def turned(F, x, edges, value):
    """The larger half of a padding before an image instead of behind it."""
    return SURROUNDED(F, x, tuple((behind, before) for before, behind in edges), value)


def own_rule(function):
    return lambda self, name, weight, gradient, rate: function(
        weight, gradient, *self._moments[name], lr=rate, out=weight
    )


def half_labels(self, inputs, targets):
    """The bytes of int64 read as int32."""
    return UPLOAD(self, inputs, targets.view(np.int32)[: len(targets)])


def log_softmax(F, x):
    return F.log_softmax(x)


def nesterov(self, name, weight, gradient, rate):
    of = {"lr": rate, "momentum": self._rule.momentum, "wd": self._decays[name]}
    mx.nd.nag_mom_update(weight, gradient, *self._moments[name], out=weight, **of)


SEQUENCE, SURROUNDED, UPLOAD = layers.sequence, layers._surrounded, Session.upload
RULE, LAYER = optimizers.Rule, layers.layer
FAULTS = {
    "nothing": (mock, "x", None, UNEVEN, SGD),
    "nothing, with a norm": (mock, "x", None, NORM, NESTEROV),
    "nothing, joined within a block": (mock, "x", None, JOINED, SGD),
    "nothing, shared": (mock, "x", None, SHARED, SGD),
    "hard_sigmoid": (layers, "layer", hard_sigmoid, SHARED, SGD),
    "nothing, with a response norm": (mock, "x", None, RESPONSE, SGD),
    "the gradient of LRN": (layers, "_response_norm", response_norm, RESPONSE, SGD),
    "nothing, with a pool": (mock, "x", None, POOL, {"type": "adam", **RATE}),
    "running variance": (
        *(network.Network, "enter", lambda self, training: None),
        *(NORM, SGD),
    ),
    "momentum": (layers, "sequence", with_option("BatchNorm", momentum=0.1), NORM, SGD),
    "fix_gamma": (layers, "sequence", with_option("BatchNorm", fix_gamma=True), NORM, SGD),
    "another eps": (layers, "sequence", with_option("BatchNorm", eps=1e-3), NORM, SGD),
    "uneven padding": (layers, "_surrounded", turned, UNEVEN, SGD),
    "padding counted": (
        *(layers, "sequence", with_option("Pooling", count_include_pad=True)),
        *(MEANS, SGD),
    ),
    "rate in the velocity": (RULE, "_adopt", lambda self, rate: None, END, SGD),
    "decay beside the velocity": (RULE, "_sgd_with_velocity", nesterov, END, NESTEROV),
    "Adam uncorrected": (
        *(RULE, "_adam", own_rule(mx.nd.adam_update)),
        *(END, {"type": "adam", **RATE}),
    ),
    "eps inside the root": (
        *(RULE, "_pinned", own_rule(mx.nd.rmsprop_update)),
        *(END, {"type": "rmsprop", **RATE}),
    ),
    "labels of four bytes": (Session, "upload", half_labels, END, SGD),
    "oneDNN's log softmax": (network, "_log_softmax", log_softmax, END, SGD),
}


def first_failure(place, name, wrong, layers, optimizer):
    workload = read_workload(
        {
            "input_shape": [4, 4, 4],
            "layers": layers,
            "loss": "cross_entropy",
            "optimizer": optimizer,
        }
    )
    with mock.patch.object(place, name, wrong, create=True):
        found = verify(
            Reusing(Adapter()),
            Plan("mxnet", "cpu", 4, 1),
            workload,
            Path(sys.argv[1]),
            small_batch=4,
        )
    return next((check.name for check in found.checks if not check.passed), "")


sys.stdout.write(json.dumps({fault: first_failure(*planted) for fault, planted in FAULTS.items()}))
