"""Optimizers as the spec pins them: each update rule in place on any slice of the parameter vector.

The rules stand in `dlbench.spec.training`. Slices let several threads update at once, each a block
that fits in its cache, with no temporary arrays but one scratch block.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dlbench.spec.training import Adagrad, Adam, AdamW, Optimizer, Sgd

Array = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Moment:
    """The step that is being taken: its learning rate, and its number since the optimizer began, from 1."""

    learning_rate: float
    step: int


Allocate = Callable[[tuple[int, ...]], Array]
"""Makes zeros of a shape."""


class Rule(Protocol):
    """The update rule of one optimizer over a vector of parameters, with state for each element."""

    def update(self, w: Array, g: Array, where: slice, moment: Moment, scratch: Array) -> None:
        """Updates the weights `w`, which stand at `where` in the vector; `g` and `scratch` are overwritten."""

    def reset(self) -> None:
        """Back to the state before the first step."""


def make_rule(optimizer: Optimizer, size: int, allocate: Allocate) -> Rule:
    """The rule of `optimizer` for `size` parameters, with its state at zero."""
    match optimizer:
        case Sgd():
            return _SgdRule(optimizer, size, allocate)
        case Adam() | AdamW():
            return _AdamRule(optimizer, size, allocate)
        case Adagrad():
            return _AdagradRule(optimizer, size, allocate)


def _add_decay(g: Array, w: Array, decay: float, scratch: Array) -> None:
    """Coupled weight decay: g ← g + decay·w."""
    if decay:
        np.multiply(w, np.float32(decay), out=scratch)
        g += scratch


class _SgdRule:
    def __init__(self, optimizer: Sgd, size: int, allocate: Allocate) -> None:
        self.optimizer = optimizer
        self.velocity = allocate((size if optimizer.momentum else 0,))

    def reset(self) -> None:
        self.velocity.fill(0)

    def update(self, w: Array, g: Array, where: slice, moment: Moment, scratch: Array) -> None:
        momentum = np.float32(self.optimizer.momentum)
        _add_decay(g, w, self.optimizer.weight_decay, scratch)
        step = g
        if momentum:
            v = self.velocity[where]
            v *= momentum
            v += g
            step = v
            if self.optimizer.nesterov:
                np.multiply(v, momentum, out=scratch)
                g += scratch
                step = g
        np.multiply(step, np.float32(moment.learning_rate), out=scratch)
        w -= scratch


class _AdamRule:
    def __init__(self, optimizer: Adam | AdamW, size: int, allocate: Allocate) -> None:
        self.optimizer = optimizer
        self.coupled = not isinstance(optimizer, AdamW)
        self.first = allocate((size,))
        self.second = allocate((size,))

    def reset(self) -> None:
        self.first.fill(0)
        self.second.fill(0)

    def update(self, w: Array, g: Array, where: slice, moment: Moment, scratch: Array) -> None:
        rule, m, s = self.optimizer, self.first[where], self.second[where]
        # The corrections in float64: 1 − β₂ᵗ loses most of its digits in float32 at the first steps.
        rate = np.float32(moment.learning_rate / (1 - rule.beta1**moment.step))
        root = np.float32((1 - rule.beta2**moment.step) ** -0.5)
        if self.coupled:
            _add_decay(g, w, rule.weight_decay, scratch)
        else:
            w *= np.float32(1 - moment.learning_rate * rule.weight_decay)
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


class _AdagradRule:
    def __init__(self, optimizer: Adagrad, size: int, allocate: Allocate) -> None:
        self.optimizer = optimizer
        self.total = allocate((size,))

    def reset(self) -> None:
        self.total.fill(0)

    def update(self, w: Array, g: Array, where: slice, moment: Moment, scratch: Array) -> None:
        total = self.total[where]
        _add_decay(g, w, self.optimizer.weight_decay, scratch)
        np.multiply(g, g, out=scratch)
        total += scratch
        np.sqrt(total, out=scratch)
        scratch += np.float32(self.optimizer.eps)
        np.divide(g, scratch, out=scratch)
        scratch *= np.float32(moment.learning_rate)
        w -= scratch
