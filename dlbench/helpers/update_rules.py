"""The optimizers of `dlbench.spec.training` as pure functions: weights, gradients and state in; weights and state out.

They are written over an array namespace `xp`, of which they use `full`, `float32`, `zeros_like`, `sqrt`, `expm1`, `sum`
and `clip`: ``numpy``, ``cupy``, ``jax.numpy``, ``torch`` and ``tensorflow.experimental.numpy`` will do, and a compiler
may trace them. They make arrays as they need them; a backend that is to be fast without a compiler writes its own in
place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dlbench.spec.training import (
    CLIP_EPS,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    Optimizer,
    RMSprop,
    Sgd,
)

Array = Any
"""One of the framework's own, float32."""
State = dict[str, Any]
"""Arrays in dictionaries and tuples: the step count (a scalar), and each parameter's moments by its name."""


def moments_of(optimizer: Optimizer) -> int:
    """How many numbers an optimizer keeps for each weight: a velocity, a sum of squares, both, or two moments."""
    match optimizer:
        case Sgd():
            return int(optimizer.momentum > 0)
        case RMSprop():
            return 1 + int(optimizer.momentum > 0)
        case Adagrad():
            return 1
        case Adam() | AdamW() | Adadelta():
            return 2


def begin(optimizer: Optimizer, xp: Any, trained: Mapping[str, Array]) -> State:
    """The state before the first step of an optimizer over these parameters."""
    moments = {
        name: tuple(xp.zeros_like(weight) for _ in range(moments_of(optimizer)))
        for name, weight in trained.items()
    }
    return {"steps": xp.full((), 0.0, dtype=xp.float32), "moments": moments}


def update(
    optimizer: Optimizer,
    xp: Any,
    trained: Mapping[str, Array],
    gradients: Mapping[str, Array],
    state: State,
    learning_rate: Any,
) -> tuple[dict[str, Array], State]:
    """One step: the weights after it, and the state.

    Parameters
    ----------
    trained, gradients : by the parameter's name, as the specification has it, on which its decay depends.
    state : from `begin`, or the last step's.
    learning_rate : a number, or an array without axes (float32), which a compiled step takes as an argument; the
        optimizer's own is not used.
    """
    steps = state["steps"] + 1
    weights, moments = {}, {}
    gradients = clipped(optimizer, xp, gradients)
    for name, weight in trained.items():
        g, old, decay = gradients[name], state["moments"][name], optimizer.decay_of(name)
        if decay and not isinstance(optimizer, AdamW):
            g = g + decay * weight
        step, moments[name] = direction(optimizer, xp, g, old, steps)
        weights[name] = weight - learning_rate * step
        if decay and isinstance(optimizer, AdamW):
            weights[name] = weights[name] - learning_rate * decay * weight
    return weights, {"steps": steps, "moments": moments}


def clipped(optimizer: Optimizer, xp: Any, gradients: Mapping[str, Array]) -> Mapping[str, Array]:
    """All gradients, by the optimizer's `clip_norm`."""
    if optimizer.clip_norm is None:
        return gradients
    norm = xp.sqrt(sum(xp.sum(gradient * gradient) for gradient in gradients.values()))
    share = xp.clip(optimizer.clip_norm / (norm + CLIP_EPS), 0.0, 1.0)
    return {name: gradient * share for name, gradient in gradients.items()}


def direction(
    rule: Optimizer, xp: Any, g: Array, old: tuple[Array, ...], steps: Array
) -> tuple[Array, tuple[Array, ...]]:
    """What the learning rate is multiplied with for one parameter, and its new moments.

    Parameters
    ----------
    g : the gradient, with coupled weight decay.
    old : the moments before.
    steps : the number of this step, from 1 (float32, without axes).
    """
    match rule:
        case Sgd():
            if not old:
                return g, ()
            v = rule.momentum * old[0] + g
            return (g + rule.momentum * v if rule.nesterov else v), (v,)
        case Adam() | AdamW():
            m = rule.beta1 * old[0] + (1 - rule.beta1) * g
            s = rule.beta2 * old[1] + (1 - rule.beta2) * (g * g)
            root = xp.sqrt(s / _weight_of(rule.beta2, xp, steps)) + rule.eps
            return m / _weight_of(rule.beta1, xp, steps) / root, (m, s)
        case Adagrad():
            a = old[0] + g * g
            return g / (xp.sqrt(a) + rule.eps), (a,)
        case RMSprop():
            s = rule.rho * old[0] + (1 - rule.rho) * (g * g)
            d = g / (xp.sqrt(s) + rule.eps)
            if not rule.momentum:
                return d, (s,)
            v = rule.momentum * old[1] + d
            return v, (s, v)
        case Adadelta():
            s = rule.rho * old[0] + (1 - rule.rho) * (g * g)
            d = xp.sqrt(old[1] + rule.eps) / xp.sqrt(s + rule.eps) * g
            return d, (s, rule.rho * old[1] + (1 - rule.rho) * (d * d))


def _weight_of(beta: float, xp: Any, steps: Array) -> Array:
    """1 − βᵗ, the weight that a moment has gathered by step t. As it stands, it would lose most of its digits in
    float32 at the first steps."""
    return -xp.expm1(steps * math.log(beta)) if beta else 1.0
