"""That batch statistics, softmax and losses are computed in float32, whatever the factors of products are."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from dlbench.contract import Adapter, Plan
from dlbench.oracle.layers import Pass
from dlbench.oracle.network import forward, forward_backward
from dlbench.oracle.rounding import Array, Exact, rounded
from dlbench.record.facts import Check
from dlbench.rng import integers
from dlbench.spec.precision import BF16, Policy
from dlbench.spec.training import CrossEntropy, Sgd
from dlbench.spec.workload import Weights, Workload, read_workload
from dlbench.verify.checks.steps import GRADIENT_RATE
from dlbench.verify.comparison import compare

_SEED = 20_261_129
_FLOAT32 = 2e-5
"""Relative error of a statistic in float32; one in a short format errs by 2⁻¹¹ or 2⁻⁸."""
_CHANNELS, _BATCH = 8, 64
_MOST_CLASSES = 64
"""More would leave no probability near 1."""


def check_batch_statistics(
    adapter: Adapter, plan: Plan, policy: Policy, axes: int, trains: bool
) -> list[Check]:
    """Batch normalisation of features (`axes` 1) or channels (3) whose mean is large beside their spread."""
    shape = (_CHANNELS,) if axes == 1 else (_CHANNELS, 8, 8)
    # a product that changes nothing, so that what comes back to the normalisation is short
    last: list[dict[str, Any]] = (
        [{"type": "linear", "out_features": _CHANNELS, "bias": False, "name": "after"}]
        if axes == 1
        else [
            {
                "type": "conv2d",
                "out_channels": _CHANNELS,
                "kernel": 1,
                "bias": False,
                "name": "after",
            },
            {"type": "flatten"},
        ]
    )
    workload = _workload(shape, [{"type": "batch_norm"}, *last], "mean_squared_error")
    drawn = integers(_BATCH * math.prod(shape), 16, _SEED, "statistics", axes)
    # numbers that are short already, 6 to 13.5 in steps of 1/2: so far from zero that a short mean is far off, not so
    # far that float32 is, where a variance is the difference of two means
    inputs = (6 + drawn.reshape(_BATCH, *shape) / 2).astype(np.float32)
    steps = (1 + np.arange(_CHANNELS) / 7).astype(np.float32)
    same = np.eye(_CHANNELS, dtype=np.float32)
    weights: Weights = {
        "after.weight": same if axes == 1 else same[..., None, None],
        "norm1.scale": steps,
        "norm1.shift": (steps / 3).astype(np.float32),
        "norm1.running_mean": (steps + 7.77).astype(np.float32),
        "norm1.running_variance": (steps * 5.01).astype(np.float32),
    }
    name = "arithmetic of batch_norm"
    exact = {key: value.astype(np.float64) for key, value in weights.items()}
    x = inputs.astype(np.float64)
    ends = {
        training: forward(workload.nodes, exact, x, Pass(training, np.ones(_BATCH), Exact(policy)))
        for training in (False, True)
    }
    # so large that the gradient is the same whether or not the output was stored
    drawn = integers(ends[True].size, 64, _SEED, "errors of statistics")
    errors = np.where(drawn < 32, drawn - 63.0, drawn) * 4
    targets = (rounded(ends[True], policy.stored) - errors.reshape(ends[True].shape)).astype(
        np.float32
    )
    session = adapter.open(dataclasses.replace(plan, batch=_BATCH), workload, weights)
    batch = session.upload(inputs, targets)
    one = 1.05 * policy.stored.unit_roundoff + _FLOAT32
    got = session.download(session.infer(batch))
    size = 1 + np.abs(ends[False])
    checks = [compare(f"{name}: output in inference", got, ends[False], one * size, 0.0)]
    if not trains:
        return checks
    session.train_step(batch)
    after = session.weights()
    run = Pass(True, np.ones(_BATCH), _Rounded(policy))
    forward_backward(workload.nodes, workload.loss, exact, x, targets.astype(np.float64), run)
    for role in ("running_mean", "running_variance"):
        key = f"norm1.{role}"
        want = run.state[key]
        label = f"{name}: {role} after a step, statistics in float32"
        checks.append(compare(label, after[key], want, _FLOAT32 * np.abs(want), 0.0))
    for role in ("scale", "shift"):
        key = f"norm1.{role}"
        want = run.gradients[key]
        read = (weights[key].astype(np.float64) - after[key]) / GRADIENT_RATE
        label = f"{name}: gradient of {role}, in float32"
        room = 5 * _FLOAT32 * float(np.sqrt(np.mean(np.square(want))))
        checks.append(compare(label, read, want, room, 0.0))
    return checks


class _Rounded(Exact):
    """Rounds what is handed back, and nothing else."""

    def handed_back(self, gradient: Array) -> Array:
        """`gradient`, rounded while it is multiplied by the loss scale."""
        scale = self.policy.loss_scale
        return rounded(gradient * scale, self.policy.stored) / scale


def check_softmax(
    adapter: Adapter, plan: Plan, policy: Policy, rule: CrossEntropy, classes: int
) -> list[Check]:
    """Cross entropy of logits that are known exactly: the loss, and gradients of probabilities near 1, whose distance
    from 1 a short format does not hold."""
    classes, samples = min(classes, _MOST_CLASSES), 16
    layer = {"type": "linear", "out_features": classes, "bias": False}
    workload = _workload((samples,), [layer], "cross_entropy")
    workload = dataclasses.replace(workload, loss=rule)
    labels = np.arange(samples, dtype=np.int64) % classes
    drawn = integers(classes * samples, 64, _SEED, "logits").reshape(classes, samples) / 32.0
    logits = drawn.astype(np.float64)
    # from probabilities of 0.6 up to nearly 1
    logits[labels, np.arange(samples)] += 3 + np.arange(samples) / 2
    logits = rounded(logits, BF16)
    weights: Weights = {"linear1.weight": logits.astype(np.float32)}
    session = adapter.open(dataclasses.replace(plan, batch=samples), workload, weights)
    batch = session.upload(np.eye(samples, dtype=np.float32), labels)
    loss = session.download(session.train_step(batch))
    read = (logits - session.weights()["linear1.weight"]) / GRADIENT_RATE
    run = Pass(True, np.ones(samples), Exact(policy))
    _, want = forward_backward(
        workload.nodes, workload.loss, {"linear1.weight": logits}, np.eye(samples), labels, run
    )
    name = "arithmetic of cross_entropy"
    gradient = run.gradients["linear1.weight"]
    least = policy.stored.smallest_normal / policy.loss_scale
    room = (1.05 * policy.stored.unit_roundoff + _FLOAT32) * np.maximum(np.abs(gradient), least)
    # a distance from 1 in float32; one from what smoothing leaves of 1 may be nothing beside the probability, which a
    # float32 exponential has to some 2⁻²⁰
    room += (2.0**-19 if rule.label_smoothing else 2.0**-22) / samples
    return [
        compare(f"{name}: loss, in float32", loss, want, _FLOAT32 * want, want),
        compare(f"{name}: gradient of logits, softmax in float32", read, gradient, room, 0.0),
    ]


def _workload(shape: tuple[int, ...], layers: list[dict[str, Any]], loss: str) -> Workload:
    workload = read_workload(
        {
            "input_shape": list(shape),
            "layers": layers,
            "loss": loss,
            "optimizer": {"type": "sgd", "learning_rate": 1.0},
        }
    )
    return dataclasses.replace(workload, optimizer=Sgd(learning_rate=GRADIENT_RATE))
