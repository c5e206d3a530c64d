"""The update rules of `dlbench.spec.training`, element by element, in float64."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from dlbench.oracle.rounding import Array, Exact, Rounding, exact
from dlbench.spec.training import Adadelta, Adagrad, Adam, AdamW, Optimizer, RMSprop, Sgd

_PIECE = 2**14
"""Elements that are updated at a time: what they need on the way fits into a core's own cache."""

Piece = tuple[str, int]
"""A parameter's name, and the number of the first of its elements that are meant."""


class Update:
    """An optimizer with its state (momentum, moments, step count) for all parameters."""

    def __init__(self, rule: Optimizer, rounding: Rounding = exact) -> None:
        self.rule = rule
        self.rounding = rounding
        self.steps = 0
        self.state: dict[tuple[str, Piece], Array] = {}

    def step(
        self, weights: Mapping[str, Array], gradients: Mapping[str, Array], learning_rate: float
    ) -> dict[str, Array]:
        """The weights after a step; arrays without a gradient stay as they are."""
        self.steps += 1
        result = dict(weights)
        clipping = self._clipping(gradients)
        for name, gradient in gradients.items():
            before, g = weights[name].reshape(-1), gradient.reshape(-1)
            if clipping != 1:
                g = self._round(g * clipping, g * clipping)
            after = np.empty(before.shape)
            for begin in range(0, before.size, _PIECE):
                piece = slice(begin, begin + _PIECE)
                after[piece] = self._moved((name, begin), before[piece], g[piece], learning_rate)
            result[name] = after.reshape(weights[name].shape)
        return result

    def _clipping(self, gradients: Mapping[str, Array]) -> float:
        """What all gradients are multiplied by."""
        if self.rule.clip_norm is None:
            return 1.0
        squares = sum(float(np.square(gradient).sum()) for gradient in gradients.values())
        # a sum of blocks, each of as many terms as there are blocks
        terms = max(1, math.isqrt(sum(gradient.size for gradient in gradients.values())))
        norm = np.asarray(np.sqrt(squares))
        return self.rule.clipping(float(self.rounding(norm, terms, 0.0)))

    def _moved(self, name: Piece, w: Array, g: Array, learning_rate: float) -> Array:
        """Where a piece of a parameter goes from `w`."""
        decay = self.rule.decay_of(name[0])
        if decay and not isinstance(self.rule, AdamW):
            g = self._round(g + decay * w, g, decay * w)
        change = learning_rate * self._direction(name, g)
        if decay and isinstance(self.rule, AdamW):
            change = change + learning_rate * decay * w
        return self._round(w - change, w, change)

    def _direction(self, name: Piece, g: Array) -> Array:
        """What the learning rate is multiplied with."""
        rule = self.rule
        match rule:
            case Sgd():
                if not rule.momentum:
                    return g
                v = self._moment("velocity", name, rule.momentum, g)
                return self._round(g + rule.momentum * v, g, v) if rule.nesterov else v
            case Adam() | AdamW():
                m = self._moment("first", name, rule.beta1, (1 - rule.beta1) * g)
                s = self._moment("second", name, rule.beta2, (1 - rule.beta2) * np.square(g))
                m = m / (1 - rule.beta1**self.steps)
                s = np.abs(s / (1 - rule.beta2**self.steps))
                change = m / self._root(s, rule.eps)
                return self._round(change, change)
            case Adagrad():
                a = np.abs(self._moment("sum", name, 1.0, np.square(g)))
                change = g / self._root(a, rule.eps)
                return self._round(change, change)
            case RMSprop():
                s = np.abs(self._moment("squares", name, rule.rho, (1 - rule.rho) * np.square(g)))
                change = g / self._root(s, rule.eps)
                change = self._round(change, change)
                if not rule.momentum:
                    return change
                return self._moment("velocity", name, rule.momentum, change)
            case Adadelta():
                s = np.abs(self._moment("squares", name, rule.rho, (1 - rule.rho) * np.square(g)))
                u = np.abs(self.state.get(("changes", name), np.zeros_like(g)))
                above, below = (self._root(mean, rule.eps, inside=True) for mean in (u, s))
                change = above / below * g
                change = self._round(change, change)
                self._moment("changes", name, rule.rho, (1 - rule.rho) * np.square(change))
                return change

    def _root(self, squares: Array, eps: float, *, inside: bool = False) -> Array:
        """The root of squares, kept from 0 by eps."""
        return np.sqrt(squares + eps) if inside else np.sqrt(squares) + eps

    def _moment(self, kind: str, name: Piece, keep: float, add: Array) -> Array:
        old = self.state.get((kind, name))
        old = np.zeros_like(add) if old is None else keep * old
        value = self._round(old + add, old, add)
        self.state[kind, name] = value
        return value

    def _round(self, value: Array, *terms: Array) -> Array:
        if isinstance(self.rounding, Exact):
            return value
        squares = np.square(terms[0])
        for term in terms[1:]:
            squares += np.square(term)
        return self.rounding.of_squares(value, 4, squares)
