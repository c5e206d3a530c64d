"""A program: what Keras does of its own accord, and what is easily got wrong, planted in its backend on PyTorch.

Writes, as JSON, the first check that fails for each fault, and an empty text for none. Keras keeps one engine for the
life of a process, hence one of its own.
"""

import json
import os
import sys
from pathlib import Path
from unittest import mock

import numpy as np

os.environ["KERAS_BACKEND"] = "torch"

import keras
from dlbench.backends.keras import layers as own
from dlbench.backends.keras import network, optimizers
from dlbench.backends.keras.adapter import Adapter, Session

from dlbench.contract import Plan
from dlbench.spec import training
from dlbench.spec.workload import read_workload
from dlbench.verify.check import verify
from dlbench.verify.sessions.reuse import Reusing

END = [{"type": "flatten"}, {"type": "linear", "out_features": 3}]
IMAGE = [{"type": "conv2d", "out_channels": 2, "kernel": 3}, {"type": "tanh"}, *END]
NORM = [*END[:1], {"type": "batch_norm"}, *END[1:]]
SGD = {"type": "sgd", "learning_rate": 0.05, "momentum": 0.9}
RATE = {"learning_rate": 0.01}


RULE = optimizers.Rule


def leaving(kind, make):
    """The rules, but for one that is Keras' own."""

    def rule(chosen, decays):
        if not isinstance(chosen, kind):
            return RULE(chosen, decays)
        made = make(chosen)
        made.reset = lambda: [
            variable.assign(np.zeros(variable.shape, np.float32))
            for variable in made.variables
            if variable is not made._learning_rate
        ]
        return made

    return rule


OWN_SGD = leaving(
    training.Sgd, lambda rule: keras.optimizers.SGD(rule.learning_rate, rule.momentum)
)
OWN_ADAM = leaving(
    training.Adam,
    lambda rule: keras.optimizers.Adam(rule.learning_rate, rule.beta1, rule.beta2, rule.eps),
)
OWN_ADAGRAD = leaving(
    training.Adagrad, lambda rule: keras.optimizers.Adagrad(rule.learning_rate, 0.0, rule.eps)
)


class OtherMomentum(own.BatchNorm):
    def __init__(self, momentum, **options):
        super().__init__(momentum=1 - momentum, **options)


def other_layout(self, array):
    """N×C×H×W read as if its channels were last, where the sizes agree."""
    return np.array(array.transpose(0, 2, 3, 1) if array.ndim == 4 else array, order="C")


def half_labels(self, inputs, targets):
    """The bytes of int64 read as int32."""
    return UPLOAD(self, inputs, targets.view(np.int32)[: len(targets)])


UPLOAD = Session.upload
FAULTS = {
    "nothing": (mock.MagicMock, "x", None, IMAGE, SGD),
    "nothing, with a norm": (mock.MagicMock, "x", None, NORM, SGD),
    "Keras' running variance": (own, "BatchNorm", keras.layers.BatchNormalization, NORM, SGD),
    "Keras' momentum": (own, "BatchNorm", OtherMomentum, NORM, SGD),
    "Keras' velocity": (optimizers, "Rule", OWN_SGD, END, SGD),
    "Keras' eps before the correction": (
        optimizers,
        "Rule",
        OWN_ADAM,
        END,
        {"type": "adam", **RATE},
    ),
    "Keras' eps inside the root": (
        optimizers,
        "Rule",
        OWN_ADAGRAD,
        END,
        {"type": "adagrad", **RATE},
    ),
    "another layout": (network.Network, "inside", other_layout, IMAGE, SGD),
    "labels of four bytes": (Session, "upload", half_labels, END, SGD),
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
    plan, cache = Plan("keras", "cpu", 4, 1, mode="torch"), Path(sys.argv[1])
    with mock.patch.object(place, name, wrong, create=True):
        found = verify(Reusing(Adapter()), plan, workload, cache, small_batch=4)
    return next((check.name for check in found.checks if not check.passed), "")


sys.stdout.write(json.dumps({fault: first_failure(*planted) for fault, planted in FAULTS.items()}))
