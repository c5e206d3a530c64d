"""Activations, forward and backward; see `dlbench.oracle.layers` for how a layer lives."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from dlbench.oracle.error_function import erf
from dlbench.oracle.layers import Branch, Layer, Pass
from dlbench.oracle.rounding import Array
from dlbench.spec import layers as spec
from dlbench.spec.network import Node


class Relu(Layer):
    """max(x, 0), and with a slope the leaky one."""

    slope = 0.0

    def forward(self, x: Array) -> Array:
        forced = self.run.forced.get(self.node.name)
        self.positive = x > 0 if forced is None else forced.taken
        self.run.branches[self.node.name] = Branch(self.positive, x)
        # 0 times x, since what is no number stays none
        return self.run.rounding.stored(self._bent(x)) if self.slope else x * self.positive

    def backward(self, dy: Array) -> Array:
        return self.run.rounding.handed_back(self._bent(dy)) if self.slope else dy * self.positive

    def _bent(self, values: Array) -> Array:
        return np.where(self.positive, values, self.slope * values)


class LeakyRelu(Relu):
    """x where x > 0, else slope·x."""

    def __init__(self, node: Node, weights: Mapping[str, Array], run: Pass) -> None:
        super().__init__(node, weights, run)
        assert isinstance(node.layer, spec.LeakyRelu)
        self.slope = node.layer.slope


class Sigmoid(Layer):
    """1 / (1 + e⁻ˣ)."""

    def forward(self, x: Array) -> Array:
        y = 0.5 * (1 + np.tanh(0.5 * x))
        self.y: Array = self.run.rounding.stored(self.run.rounding(y, 16, y))
        return self.y

    def backward(self, dy: Array) -> Array:
        dx = dy * self.y * (1 - self.y)
        return self.run.rounding.handed_back(self.run.rounding(dx, 4, dx))


class Tanh(Layer):
    """The hyperbolic tangent."""

    def forward(self, x: Array) -> Array:
        y = np.tanh(x)
        self.y: Array = self.run.rounding.stored(self.run.rounding(y, 16, y))
        return self.y

    def backward(self, dy: Array) -> Array:
        dx = dy * (1 - np.square(self.y))
        return self.run.rounding.handed_back(self.run.rounding(dx, 4, dx))


class _Bent(Layer):
    """An activation of three pieces that meet at two kinks; the pieces to the left and the right take the kinks.

    A branch's `taken` is the number of the piece, `other` that of the one behind the nearer kink, and `margin` how far
    that kink is away.
    """

    kinks: ClassVar[tuple[float, float]]
    rounds: ClassVar[bool] = True
    """Whether anything is rounded where it is computed."""

    def pieces(self, x: Array) -> tuple[Array | float, Array | float, Array | float]:
        """The value of each piece."""
        raise NotImplementedError

    def slopes(self, x: Array) -> tuple[Array | float, Array | float, Array | float]:
        """The derivative of each piece."""
        raise NotImplementedError

    def forward(self, x: Array) -> Array:
        low, high = self.kinks
        self.x = x
        forced = self.run.forced.get(self.node.name)
        if forced is None:
            # what is no number is taken for the middle, which hands it on
            taken = np.add(~(x <= low), x >= high, dtype=np.int8)
            inside, upper = taken == 1, x > (low + high) / 2
            other = np.add(~inside | upper, inside & upper, dtype=np.int8)
        else:
            assert forced.other is not None
            taken, other = forced.taken, forced.other
        kink = low + (high - low) * (np.minimum(taken, other) != 0)
        self.run.branches[self.node.name] = Branch(taken, x - kink, other)
        self.taken = taken
        y = self._chosen(self.pieces(x))
        return self.run.rounding.stored(self.run.rounding(y, 4, x)) if self.rounds else y

    def backward(self, dy: Array) -> Array:
        dx = dy * self._chosen(self.slopes(self.x))
        return self.run.rounding.handed_back(self.run.rounding(dx, 4, dy)) if self.rounds else dx

    def _chosen(self, each: tuple[Array | float, Array | float, Array | float]) -> Array:
        """Of what each piece has that of the piece that is taken."""
        # products with masks take a tenth of the time of choosing
        chosen = [
            piece * (self.taken == number)
            for number, piece in enumerate(each)
            if not isinstance(piece, float) or piece
        ]
        return np.asarray(functools.reduce(np.add, chosen), np.float64)


class Relu6(_Bent):
    """min(max(x, 0), 6)."""

    kinks = (0.0, 6.0)
    rounds = False

    def pieces(self, x: Array) -> tuple[Array | float, Array | float, Array | float]:
        return 0.0, x, 6.0

    def slopes(self, x: Array) -> tuple[Array | float, Array | float, Array | float]:
        return 0.0, 1.0, 0.0


class HardSigmoid(_Bent):
    """min(max(x + 3, 0), 6) / 6."""

    kinks = (-3.0, 3.0)

    def pieces(self, x: Array) -> tuple[Array | float, Array | float, Array | float]:
        return 0.0, (x + 3) / 6, 1.0

    def slopes(self, x: Array) -> tuple[Array | float, Array | float, Array | float]:
        return 0.0, 1 / 6, 0.0


class HardSwish(_Bent):
    """x · min(max(x + 3, 0), 6) / 6."""

    kinks = (-3.0, 3.0)

    def pieces(self, x: Array) -> tuple[Array | float, Array | float, Array | float]:
        return 0.0, x * (x + 3) / 6, x

    def slopes(self, x: Array) -> tuple[Array | float, Array | float, Array | float]:
        return 0.0, (2 * x + 3) / 6, 1.0


class _Gate(Layer):
    """x times a number between 0 and 1 that depends on x."""

    def gate(self, x: Array) -> tuple[Array, Array]:
        """The number and its derivative."""
        raise NotImplementedError

    def forward(self, x: Array) -> Array:
        gate, slope = self.gate(x)
        self.slope = gate + x * slope
        y = x * gate
        # backends have the number with an error as of 1, however small it is
        return self.run.rounding.stored(self.run.rounding(y, 16, np.abs(x) / 2))

    def backward(self, dy: Array) -> Array:
        dx = dy * self.slope
        return self.run.rounding.handed_back(self.run.rounding(dx, 16, dy))


class Silu(_Gate):
    """x / (1 + e⁻ˣ)."""

    def gate(self, x: Array) -> tuple[Array, Array]:
        gate = 0.5 * (1 + np.tanh(0.5 * x))
        return gate, gate * (1 - gate)


class Gelu(_Gate):
    """x·Φ(x), or its approximation by a hyperbolic tangent."""

    def gate(self, x: Array) -> tuple[Array, Array]:
        assert isinstance(self.node.layer, spec.Gelu)
        if self.node.layer.approximate == "none":
            density = np.exp(-np.square(x) / 2) / math.sqrt(2 * math.pi)
            return (1 + erf(x / math.sqrt(2))) / 2, density
        factor, cubic = math.sqrt(2 / math.pi), 0.044715
        bent = np.tanh(factor * (x + cubic * x**3))
        inner = factor * (1 + 3 * cubic * np.square(x))
        return (1 + bent) / 2, (1 - np.square(bent)) * inner / 2
