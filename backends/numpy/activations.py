"""Activations that gate their input or clip it, forward and backward side by side; the plainer ones stand in `layers`.

A gate keeps its slope for the way back: what that is made of is at hand while the output is computed. NumPy has no
error function. erf(x) is taken as tanh(x·P(x²)), with a polynomial P that was fitted to atanh(erf(x)) / x up to x = 4,
where both are 1 in float32: the hyperbolic tangent saturates where erf does, so that P need not be good there. The
largest error is 1.4e-7 in float32, about one unit in the last place of 1.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .layers import Array, Layer, Maybe, maximum, minimum
from .schedule import Calls
from .workers import Chunk

_ZERO, _HALF, _ONE, _THREE, _SIX = (np.float32(each) for each in (0, 0.5, 1, 3, 6))
_ERF = tuple(
    np.float32(each)
    for each in (
        *(1.1283797071016288, 0.1027654715104214, -1.8436510836004373e-4),
        *(-6.257340441495434e-4, 8.971774482062187e-5, -5.986511067281626e-6),
        1.590066138834728e-7,
    )
)
"""Coefficients of P, from that of the constant on."""
_ERF_SQUARES = np.float32(16)
"""The end of the fit, of x²."""


class Relu6(Layer):
    """min(max(x, 0), 6)."""

    keeps = "output"

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        yield maximum, x, _ZERO, y
        yield minimum, y, _SIX, y

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        yield from _between(chunk, saved, _ZERO, _SIX, dy, dx, _ONE)


class HardSigmoid(Layer):
    """min(max(x + 3, 0), 6) / 6."""

    keeps = "output"

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        yield from _ramp(x, y)

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        yield from _between(chunk, saved, _ZERO, _ONE, dy, dx, _ONE / _SIX)


class HardSwish(Layer):
    """x · min(max(x + 3, 0), 6) / 6."""

    keeps = "input"

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        gate = chunk.worker.buffer("temporary", x.shape)
        yield from _ramp(x, gate)
        yield np.multiply, x, gate, y

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        slope = chunk.worker.buffer("temporary", dy.shape)
        outside = chunk.worker.buffer("mask", dy.shape, np.bool_)
        yield np.divide, saved, _THREE, slope
        yield np.add, slope, _HALF, slope
        yield np.less_equal, saved, -_THREE, outside
        yield np.copyto, slope, _ZERO, "same_kind", outside
        yield np.greater_equal, saved, _THREE, outside
        yield np.copyto, slope, _ONE, "same_kind", outside
        yield np.multiply, dy, slope, dx


class Silu(Layer):
    """x / (1 + e⁻ˣ), the gate as (1 + tanh(x / 2)) / 2 so that nothing overflows."""

    keeps = "float32"

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        gate = chunk.worker.buffer("temporary", x.shape)
        yield np.multiply, x, _HALF, gate
        yield np.tanh, gate, gate
        yield np.add, gate, _ONE, gate
        yield np.multiply, gate, _HALF, gate
        if extra is not None:
            # g + x·g·(1 − g); x may lie where y is written
            yield np.subtract, _ONE, gate, extra
            yield np.multiply, extra, x, extra
            yield np.add, extra, _ONE, extra
            yield np.multiply, extra, gate, extra
        yield np.multiply, x, gate, y

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        yield np.multiply, dy, saved, dx


class Gelu(Layer):
    """x·Φ(x)."""

    keeps = "float32"

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        gate = chunk.worker.buffer("temporary", x.shape)
        squares = chunk.worker.buffer("squares", x.shape)
        # of x / √2, on which erf depends
        yield np.multiply, x, x, squares
        yield np.multiply, squares, _HALF, squares
        if extra is not None:
            # x times the density
            yield np.negative, squares, extra
            yield np.exp, extra, extra
            yield np.multiply, extra, np.float32(1 / math.sqrt(2 * math.pi)), extra
            yield np.multiply, extra, x, extra
        yield minimum, squares, _ERF_SQUARES, squares
        yield np.multiply, squares, _ERF[-1], gate
        for coefficient in _ERF[-2:0:-1]:
            yield np.add, gate, coefficient, gate
            yield np.multiply, gate, squares, gate
        yield np.add, gate, _ERF[0], gate
        yield np.multiply, gate, np.float32(1 / math.sqrt(2)), gate
        yield np.multiply, gate, x, gate
        yield from _gated(gate, x, y, extra)

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        yield np.multiply, dy, saved, dx


class GeluTanh(Layer):
    """x·(1 + tanh(√(2/π)·(x + 0.044715·x³))) / 2."""

    keeps = "float32"
    factor = np.float32(math.sqrt(2 / math.pi))
    cubic = np.float32(math.sqrt(2 / math.pi) * 0.044715)

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        gate = chunk.worker.buffer("temporary", x.shape)
        squares = chunk.worker.buffer("squares", x.shape)
        yield np.multiply, x, x, squares
        yield np.multiply, squares, self.cubic, gate
        yield np.add, gate, self.factor, gate
        yield np.multiply, gate, x, gate
        if extra is not None:
            # x times the derivative of the gate: (1 − tanh²)·(factor + 3·cubic·x²)·x / 2
            bent = chunk.worker.buffer("bent", x.shape)
            yield np.tanh, gate, bent
            yield np.multiply, bent, bent, bent
            yield np.subtract, _ONE, bent, bent
            yield np.multiply, squares, 3 * self.cubic, extra
            yield np.add, extra, self.factor, extra
            yield np.multiply, extra, bent, extra
            yield np.multiply, extra, x, extra
            yield np.multiply, extra, _HALF, extra
        yield from _gated(gate, x, y, extra)

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        yield np.multiply, dy, saved, dx


def _gated(gate: Array, x: Array, y: Array, extra: Maybe) -> Calls:
    """y = x·g with g = (1 + tanh(gate)) / 2, which is added to `extra` too."""
    yield np.tanh, gate, gate
    yield np.add, gate, _ONE, gate
    yield np.multiply, gate, _HALF, gate
    if extra is not None:
        yield np.add, extra, gate, extra
    yield np.multiply, x, gate, y


def _ramp(x: Array, y: Array) -> Calls:
    """min(max(x + 3, 0), 6) / 6."""
    yield np.add, x, _THREE, y
    yield maximum, y, _ZERO, y
    yield minimum, y, _SIX, y
    yield np.divide, y, _SIX, y


def _between(
    chunk: Chunk,
    saved: Array,
    low: np.float32,
    high: np.float32,
    dy: Array,
    dx: Array,
    slope: np.floating[Any],
) -> Calls:
    """`slope` times the gradient where an output lies between two ends, else 0."""
    inside = chunk.worker.buffer("mask", dy.shape, np.bool_)
    below = chunk.worker.buffer("other mask", dy.shape, np.bool_)
    factor = chunk.worker.buffer("temporary", dy.shape)
    yield np.greater, saved, low, inside
    yield np.less, saved, high, below
    yield np.logical_and, inside, below, inside
    # as floats first: a product of mixed types goes through NumPy's slow conversion
    yield np.copyto, factor, inside
    if slope != 1:
        yield np.multiply, factor, slope, factor
    yield np.multiply, dy, factor, dx
