"""Which of several equal maxima of a pooling window a backend sends the gradient to.

Our own kernels take the first in row-major order. Frameworks differ, and each may: their choice is observed and
reported, since on quantised inputs it changes what is learned.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import Adapter, Plan
from dlbench.oracle.convolution import Conv2d
from dlbench.oracle.layers import Branch, Pass
from dlbench.oracle.network import forward_backward
from dlbench.oracle.pooling import MaxPool
from dlbench.oracle.rounding import Array
from dlbench.record.facts import Check
from dlbench.rng import integers
from dlbench.spec.precision import policy_of
from dlbench.spec.training import Sgd
from dlbench.spec.workload import Weights, Workload, read_workload
from dlbench.verify.checks.steps import GRADIENT_RATE
from dlbench.verify.comparison import compare

_NAME = "conv1.weight"


def observe_ties(adapter: Adapter, plan: Plan) -> tuple[str, Check]:
    """The rule a backend follows (``first``, ``last`` or ``another``), and the check that it is the first."""
    workload = _network({"type": "max_pool", "kernel": 3, "stride": 2})
    weights = _weights(workload)
    first = _expected(workload, weights, last=False)
    last = _expected(workload, weights, last=True)
    got = _observed(adapter, plan, workload, weights)
    size = float(np.abs(first).max())
    allowed = _allowed(plan) * size
    name = "gradient through pooling windows with several equal maxima"
    check = compare(name, got, first, allowed, size)
    if check.passed:
        return "first", check
    return ("last" if np.abs(got - last).max() < allowed else "another"), check


def check_relu_of_zero(adapter: Adapter, plan: Plan) -> Check:
    """A relu of exactly zero passes no gradient."""
    workload = _network({"type": "relu"})
    weights = _weights(workload)
    expected = _expected(workload, weights, last=False)
    got = _observed(adapter, plan, workload, weights)
    size = float(np.abs(expected).max())
    allowed = _allowed(plan) * size
    return compare("gradient through relus of exactly zero", got, expected, allowed, size)


def _allowed(plan: Plan) -> float:
    """The error that is none, as a share of the largest gradient; what another choice gives is far from it."""
    return max(1e-4, 4 * policy_of(plan.precision).stored.unit_roundoff)


def _observed(adapter: Adapter, plan: Plan, workload: Workload, weights: Weights) -> Array:
    plain = dataclasses.replace(workload, optimizer=Sgd(learning_rate=GRADIENT_RATE))
    session = adapter.open(dataclasses.replace(plan, batch=2), plain, weights)
    session.train_step(session.upload(*_batch(workload)))
    return (weights[_NAME].astype(np.float64) - session.weights()[_NAME]) / GRADIENT_RATE


def _batch(workload: Workload) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    drawn = (integers(2 * 100, 3, 0, "ties") - 1).reshape(2, 1, 10, 10)
    # so small that gradients are within float16, times its loss scale too
    inputs = (drawn / 8).astype(np.float32)
    return inputs, np.zeros((2, *workload.output_shape), np.float32)


def _network(kink: dict[str, Any]) -> Workload:
    return read_workload(
        {
            "input_shape": [1, 10, 10],
            "layers": [
                {"type": "conv2d", "out_channels": 2, "kernel": 2, "bias": False},
                kink,
                {"type": "flatten"},
                {"type": "linear", "out_features": 4, "bias": False},
            ],
            "loss": "mean_squared_error",
            "optimizer": {"type": "sgd", "learning_rate": 1.0},
        }
    )


def _weights(workload: Workload) -> Weights:
    weights = {}
    for parameter in workload.parameters:
        drawn = 2 * integers(parameter.size, 2, 0, "ties", parameter.name) - 1
        weights[parameter.name] = drawn.reshape(parameter.shape).astype(np.float32)
    return weights


def _expected(workload: Workload, weights: Weights, *, last: bool) -> Array:
    """What the oracle sends back when each window's first, or last, maximum wins."""
    inputs, targets = _batch(workload)
    exact = {name: value.astype(np.float64) for name, value in weights.items()}
    x, y = inputs.astype(np.float64), targets.astype(np.float64)
    run = Pass(True, np.ones(len(x)))
    forward_backward(workload.nodes, workload.loss, exact, x, y, run)
    if last:
        forced = {"pool1": _last_maxima(workload, exact, x, run.branches["pool1"])}
        run = Pass(True, np.ones(len(x)), forced=forced)
        forward_backward(workload.nodes, workload.loss, exact, x, y, run)
    return run.gradients[_NAME]


def _last_maxima(workload: Workload, weights: dict[str, Array], x: Array, branch: Branch) -> Branch:
    conv, pool = workload.nodes[:2]
    run = Pass(True, np.ones(len(x)))
    windows = MaxPool(pool, {}, run).windows(Conv2d(conv, weights, run).forward(x))
    last = windows.shape[-1] - 1 - windows[..., ::-1].argmax(-1)
    return Branch(last[..., None], branch.margin, branch.taken)
