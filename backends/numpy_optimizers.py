"""Optimizers as the spec pins them: each update rule in place on one parameter, without temporary arrays.

The rules stand in `dlbench.spec.training`. State starts at zero and belongs to the optimizer; weights and
gradients belong to the layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dlbench.spec.training import Adagrad, Adam, AdamW, Optimizer, Sgd

Array = npt.NDArray[np.float32]


class Rule(Protocol):
    """The update rule of one optimizer over a fixed list of parameters."""

    def step(
        self, weights: Sequence[Array], gradients: Sequence[Array], learning_rate: float
    ) -> None:
        """Updates all weights in place; the gradients may be overwritten."""

    def reset(self) -> None:
        """Back to the state before the first step."""


def make_rule(optimizer: Optimizer, weights: Sequence[Array]) -> Rule:
    """The rule of `optimizer` for parameters shaped as `weights`, with its state at zero."""
    match optimizer:
        case Sgd():
            return _SgdRule(optimizer, weights)
        case Adam() | AdamW():
            return _AdamRule(optimizer, weights)
        case Adagrad():
            return _AdagradRule(optimizer, weights)


def _zeros(weights: Sequence[Array]) -> list[Array]:
    return [np.zeros_like(w) for w in weights]


def _add_decay(gradient: Array, weight: Array, decay: float, scratch: Array) -> None:
    """Coupled weight decay: g ← g + decay·w."""
    if decay:
        np.multiply(weight, np.float32(decay), out=scratch)
        gradient += scratch


class _SgdRule:
    def __init__(self, optimizer: Sgd, weights: Sequence[Array]) -> None:
        self.optimizer = optimizer
        self.velocities = _zeros(weights) if optimizer.momentum else []
        self.scratches = [np.empty_like(w) for w in weights]

    def reset(self) -> None:
        for velocity in self.velocities:
            velocity.fill(0)

    def step(
        self, weights: Sequence[Array], gradients: Sequence[Array], learning_rate: float
    ) -> None:
        momentum = np.float32(self.optimizer.momentum)
        for i, (w, g, scratch) in enumerate(zip(weights, gradients, self.scratches, strict=True)):
            _add_decay(g, w, self.optimizer.weight_decay, scratch)
            update = g
            if self.velocities:
                v = self.velocities[i]
                v *= momentum
                v += g
                update = v
                if self.optimizer.nesterov:
                    np.multiply(v, momentum, out=scratch)
                    g += scratch
                    update = g
            np.multiply(update, np.float32(learning_rate), out=scratch)
            w -= scratch


class _AdamRule:
    def __init__(self, optimizer: Adam | AdamW, weights: Sequence[Array]) -> None:
        self.optimizer = optimizer
        self.coupled = not isinstance(optimizer, AdamW)
        self.first = _zeros(weights)
        self.second = _zeros(weights)
        self.scratches = [np.empty_like(w) for w in weights]
        self.count = 0

    def reset(self) -> None:
        self.count = 0
        for moment in (*self.first, *self.second):
            moment.fill(0)

    def step(
        self, weights: Sequence[Array], gradients: Sequence[Array], learning_rate: float
    ) -> None:
        self.count += 1
        rule = self.optimizer
        beta1, beta2, eps = np.float32(rule.beta1), np.float32(rule.beta2), np.float32(rule.eps)
        # The corrections in float64: 1 − β₂ᵗ loses all its digits in float32 at the first steps.
        rate = np.float32(learning_rate / (1 - rule.beta1**self.count))
        root = np.float32((1 - rule.beta2**self.count) ** -0.5)
        for w, g, m, s, scratch in zip(
            weights, gradients, self.first, self.second, self.scratches, strict=True
        ):
            if self.coupled:
                _add_decay(g, w, rule.weight_decay, scratch)
            m *= beta1
            np.multiply(g, np.float32(1 - rule.beta1), out=scratch)
            m += scratch
            s *= beta2
            np.multiply(g, g, out=scratch)
            scratch *= np.float32(1 - rule.beta2)
            s += scratch
            if not self.coupled:
                w *= np.float32(1 - learning_rate * rule.weight_decay)
            np.sqrt(s, out=scratch)
            scratch *= root
            scratch += eps
            np.divide(m, scratch, out=scratch)
            scratch *= rate
            w -= scratch


class _AdagradRule:
    def __init__(self, optimizer: Adagrad, weights: Sequence[Array]) -> None:
        self.optimizer = optimizer
        self.sums = _zeros(weights)
        self.scratches = [np.empty_like(w) for w in weights]

    def reset(self) -> None:
        for total in self.sums:
            total.fill(0)

    def step(
        self, weights: Sequence[Array], gradients: Sequence[Array], learning_rate: float
    ) -> None:
        for w, g, total, scratch in zip(weights, gradients, self.sums, self.scratches, strict=True):
            _add_decay(g, w, self.optimizer.weight_decay, scratch)
            np.multiply(g, g, out=scratch)
            total += scratch
            np.sqrt(total, out=scratch)
            scratch += np.float32(self.optimizer.eps)
            np.divide(g, scratch, out=scratch)
            scratch *= np.float32(learning_rate)
            w -= scratch
