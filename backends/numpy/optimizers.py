"""Optimizers as the spec pins them: each update rule in place on any slice of the parameter vector.

The rules stand in `dlbench.spec.training`. Slices let several threads update at once, each a block
that fits in its cache, with no temporary arrays but one scratch block.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from dlbench.helpers.update_rules import moments_of
from dlbench.spec.training import Adadelta, Adagrad, Adam, AdamW, Optimizer, RMSprop, Sgd

Array = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Moment:
    """The step that is being taken: its learning rate, its number since the optimizer began, from 1, and the decay of
    the weights that take it."""

    learning_rate: float
    step: int
    decay: float


class Rule:
    """The update rule of one optimizer over a vector of `size` parameters; `allocate` makes zeros of a shape."""

    def __init__(
        self, optimizer: Optimizer, size: int, allocate: Callable[[tuple[int, ...]], Array]
    ) -> None:
        self._optimizer = optimizer
        self._state = [allocate((size,)) for _ in range(moments_of(optimizer))]

    def reset(self) -> None:
        """Back to the state before the first step."""
        for vector in self._state:
            vector.fill(0)

    def update(self, w: Array, g: Array, where: slice, moment: Moment, scratch: Array) -> None:
        """Updates the weights `w`, which stand at `where` in the vector; `g` and `scratch` are overwritten."""
        state = [vector[where] for vector in self._state]
        match self._optimizer:
            case Sgd() as rule:
                _sgd(rule, w, g, moment, scratch, *state)
            case Adam() | AdamW() as rule:
                _adam(rule, w, g, moment, scratch, *state)
            case Adagrad() as rule:
                _adagrad(rule, w, g, moment, scratch, *state)
            case RMSprop() as rule:
                _rmsprop(rule, w, g, moment, scratch, *state)
            case Adadelta() as rule:
                _adadelta(rule, w, g, moment, scratch, *state)


def _add_decay(g: Array, w: Array, decay: float, scratch: Array) -> None:
    """Coupled weight decay: g ← g + decay·w."""
    if decay:
        np.multiply(w, np.float32(decay), out=scratch)
        g += scratch


def _sgd(rule: Sgd, w: Array, g: Array, moment: Moment, scratch: Array, *state: Array) -> None:
    _add_decay(g, w, moment.decay, scratch)
    step = g
    for v in state:
        v *= np.float32(rule.momentum)
        v += g
        step = v
        if rule.nesterov:
            np.multiply(v, np.float32(rule.momentum), out=scratch)
            g += scratch
            step = g
    np.multiply(step, np.float32(moment.learning_rate), out=scratch)
    w -= scratch


def _adam(
    rule: Adam | AdamW, w: Array, g: Array, moment: Moment, scratch: Array, m: Array, s: Array
) -> None:
    # The corrections in float64: 1 − β₂ᵗ loses most of its digits in float32 at the first steps.
    rate = np.float32(moment.learning_rate / (1 - rule.beta1**moment.step))
    root = np.float32((1 - rule.beta2**moment.step) ** -0.5)
    if isinstance(rule, Adam):
        _add_decay(g, w, moment.decay, scratch)
    else:
        w *= np.float32(1 - moment.learning_rate * moment.decay)
    m *= np.float32(rule.beta1)
    np.multiply(g, np.float32(1 - rule.beta1), out=scratch)
    m += scratch
    s *= np.float32(rule.beta2)
    np.multiply(g, g, out=scratch)
    scratch *= np.float32(1 - rule.beta2)
    s += scratch
    np.sqrt(s, out=scratch)
    scratch *= root
    scratch += np.float32(rule.eps)
    np.divide(m, scratch, out=scratch)
    scratch *= rate
    w -= scratch


def _adagrad(
    rule: Adagrad, w: Array, g: Array, moment: Moment, scratch: Array, total: Array
) -> None:
    _add_decay(g, w, moment.decay, scratch)
    np.multiply(g, g, out=scratch)
    total += scratch
    np.sqrt(total, out=scratch)
    scratch += np.float32(rule.eps)
    np.divide(g, scratch, out=scratch)
    scratch *= np.float32(moment.learning_rate)
    w -= scratch


def _average_squares(s: Array, g: Array, rho: float, scratch: Array) -> None:
    """s ← rho·s + (1 − rho)·g²."""
    s *= np.float32(rho)
    np.multiply(g, g, out=scratch)
    scratch *= np.float32(1 - rho)
    s += scratch


def _rmsprop(
    rule: RMSprop, w: Array, g: Array, moment: Moment, scratch: Array, s: Array, *velocity: Array
) -> None:
    _add_decay(g, w, moment.decay, scratch)
    _average_squares(s, g, rule.rho, scratch)
    np.sqrt(s, out=scratch)
    scratch += np.float32(rule.eps)
    np.divide(g, scratch, out=scratch)
    for v in velocity:
        v *= np.float32(rule.momentum)
        v += scratch
        scratch[...] = v
    scratch *= np.float32(moment.learning_rate)
    w -= scratch


def _adadelta(
    rule: Adadelta, w: Array, g: Array, moment: Moment, scratch: Array, s: Array, u: Array
) -> None:
    _add_decay(g, w, moment.decay, scratch)
    _average_squares(s, g, rule.rho, scratch)
    eps = np.float32(rule.eps)
    # Two roots: a root of the quotient would leave float32's range earlier.
    np.add(s, eps, out=scratch)
    np.sqrt(scratch, out=scratch)
    g /= scratch
    np.add(u, eps, out=scratch)
    np.sqrt(scratch, out=scratch)
    g *= scratch
    _average_squares(u, g, rule.rho, scratch)
    g *= np.float32(moment.learning_rate)
    w -= g
