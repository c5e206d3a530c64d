"""Normalisation within a sample: over groups of channels, over all of them at each pixel, over neighbouring ones.

Nothing of it needs the whole batch, so that each is a step of a segment like any other.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from .blas import product
from .layers import Array, Back, Canonical, Layer, scope_of
from .parameters import Parameters
from .schedule import Calls, Program, Value
from .workers import Chunk


class SampleNorm(Layer):
    """Statistics of each sample. What is kept for the way back: the normalised values, and 1 / deviation."""

    def __init__(self, node: Node, eps: float, parameters: Parameters) -> None:
        super().__init__(node)
        self.eps = np.float32(eps)
        self.of_images = len(node.input_shape) == 3
        names = (f"{node.name}.{role}" for role in ("scale", "shift"))
        self.scale, self.shift = (
            parameters.add(name, node.input_shape[:1], summed=self.of_images) for name in names
        )

    def deviations(self, x: Value) -> Value:
        """Room for a number for each set of values that are normalised together."""
        raise NotImplementedError

    def parted(self, x: Array) -> tuple[Array, tuple[int, ...]]:
        """A view of values, and the axes that are normalised over."""
        raise NotImplementedError

    def along(self, numbers: Array) -> Array:
        """A view of deviations that broadcasts against that of the values."""
        raise NotImplementedError

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """One step each way."""
        x, to_x = Canonical(self.node).emit(program, x)
        y, normal, inverse = Value(x.shape), Value(x.shape), self.deviations(x)
        scope = scope_of(x)
        program.add(self.normalise, [x], [y, normal, inverse], scope=scope)

        def back(dy: Value) -> Value | None:
            if not self.node.has_backward:
                return None
            dx = Value(x.shape) if self.node.needs_input_gradient else None
            program.add(self.spread, [dy, normal, inverse], [dx], scope=scope)
            return to_x(dx) if dx is not None else None

        return y, back

    def normalise(self, chunk: Chunk, x: Array, y: Array, normal: Array, inverse: Array) -> Calls:
        """(x − mean) / deviation · scale + shift."""
        parts, axes = self.parted(x)
        centred, _ = self.parted(normal)
        squares, _ = self.parted(chunk.worker.buffer("temporary", x.shape))
        share = np.float32(1 / math.prod(parts.shape[axis] for axis in axes))
        yield np.add.reduce, parts, axes, None, inverse
        yield np.multiply, inverse, share, inverse
        yield np.subtract, parts, self.along(inverse), centred
        yield np.multiply, centred, centred, squares
        yield np.add.reduce, squares, axes, None, inverse
        yield np.multiply, inverse, share, inverse
        yield np.add, inverse, self.eps, inverse
        yield np.sqrt, inverse, inverse
        yield np.reciprocal, inverse, inverse
        yield np.multiply, centred, self.along(inverse), centred
        yield np.multiply, normal, self.scale.value, y
        yield np.add, y, self.shift.value, y

    def spread(self, chunk: Chunk, dy: Array, normal: Array, inverse: Array, dx: Any) -> Calls:
        """The gradients of scale and shift, and 1 / deviation · (s − mean of s − normal · mean of s · normal), where s
        stands for the gradient times the scale."""
        buffer, channels = chunk.worker.buffer, dy.shape[-1]
        whole = buffer("temporary", dy.shape)
        ones = buffer(("ones", dy.size // channels), (1, dy.size // channels))
        ones.fill(1)
        number = chunk.worker.index if self.of_images else 0
        for parameter in () if self.node.frozen else (self.shift, self.scale):
            if parameter is self.shift:
                yield np.copyto, whole, dy
            else:
                yield np.multiply, dy, normal, whole
            gradient = parameter.gradients[number].reshape(1, -1)
            rows = whole.reshape(-1, channels)
            yield product(ones, rows, gradient, accumulate=not chunk.first)
        if dx is None:
            return
        values, axes = self.parted(dx)
        parts, _ = self.parted(normal)
        along, _ = self.parted(whole)
        mean, slope = buffer("means", inverse.shape), buffer("slopes", inverse.shape)
        share = np.float32(1 / math.prod(values.shape[axis] for axis in axes))
        yield np.multiply, dy, self.scale.value, dx
        yield np.add.reduce, values, axes, None, mean
        yield np.multiply, mean, share, mean
        yield np.multiply, values, parts, along
        yield np.add.reduce, along, axes, None, slope
        yield np.multiply, slope, share, slope
        yield np.multiply, parts, self.along(slope), along
        yield np.subtract, values, self.along(mean), values
        yield np.subtract, values, along, values
        yield np.multiply, values, self.along(inverse), values


class GroupNorm(SampleNorm):
    """Over the channels of a group and their pixels."""

    def __init__(self, node: Node, layer: spec.GroupNorm, parameters: Parameters) -> None:
        super().__init__(node, layer.eps, parameters)
        self.groups = layer.groups

    def deviations(self, x: Value) -> Value:
        """One for each group."""
        return Value((self.groups,))

    def parted(self, x: Array) -> tuple[Array, tuple[int, ...]]:
        """H×n×W×G×(C/G), or n×G×(C/G)."""
        parts = x.reshape(*x.shape[:-1], self.groups, x.shape[-1] // self.groups)
        return parts, (0, 2, 4) if x.ndim == 4 else (2,)

    def along(self, numbers: Array) -> Array:
        """n×G beside them."""
        return numbers[:, None, :, None] if self.of_images else numbers[:, :, None]


class LayerNorm(SampleNorm):
    """Over the features, or the channels at each pixel."""

    def __init__(self, node: Node, layer: spec.LayerNorm, parameters: Parameters) -> None:
        super().__init__(node, layer.eps, parameters)

    def deviations(self, x: Value) -> Value:
        """One for each pixel, or for all features."""
        return Value((*x.shape[:-1], 1))

    def parted(self, x: Array) -> tuple[Array, tuple[int, ...]]:
        """As they are, but for an axis of one pixel that sums are left with."""
        return x[..., None, :], (x.ndim,)

    def along(self, numbers: Array) -> Array:
        """The numbers beside them."""
        return numbers[..., None]


class LocalResponseNorm(Layer):
    """x / (k + alpha / size · Σ x²)^beta over neighbouring channels."""

    def __init__(self, node: Node, layer: spec.LocalResponseNorm) -> None:
        super().__init__(node)
        self.reach = layer.size // 2
        self.k, self.power = np.float32(layer.k), np.float32(-layer.beta)
        self.share = np.float32(layer.alpha / layer.size)
        self.slope = np.float32(-2 * layer.alpha * layer.beta / layer.size)

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """One step each way; what is kept is what the power is taken of."""
        y, base = Value(x.shape), Value(x.shape)
        program.add(self.divide, [x], [y, base])

        def back(dy: Value) -> Value | None:
            if not self.node.needs_input_gradient:
                return None
            dx = Value(x.shape)
            program.add(self.spread, [dy, x, base], [dx])
            return dx

        return y, back

    def divide(self, chunk: Chunk, x: Array, y: Array, base: Array) -> Calls:
        """The output."""
        squares = chunk.worker.buffer("temporary", x.shape)
        yield np.multiply, x, x, squares
        yield from self._neighbours(squares, base)
        yield np.multiply, base, self.share, base
        yield np.add, base, self.k, base
        yield np.power, base, self.power, y
        yield np.multiply, y, x, y

    def spread(self, chunk: Chunk, dy: Array, x: Array, base: Array, dx: Array) -> Calls:
        """dy·b^−β − 2αβ / size · x · Σ dy·x·b^(−β − 1)."""
        direct = chunk.worker.buffer("temporary", x.shape)
        inner = chunk.worker.buffer("squares", x.shape)
        yield np.power, base, self.power, direct
        yield np.multiply, direct, dy, direct
        yield np.multiply, direct, x, inner
        yield np.divide, inner, base, inner
        yield from self._neighbours(inner, dx)
        yield np.multiply, dx, x, dx
        yield np.multiply, dx, self.slope, dx
        yield np.add, dx, direct, dx

    def _neighbours(self, values: Array, sums: Array) -> Calls:
        """The sum over the channels around each one."""
        yield np.copyto, sums, values
        for step in range(1, min(self.reach, values.shape[-1] - 1) + 1):
            yield np.add, sums[..., step:], values[..., :-step], sums[..., step:]
            yield np.add, sums[..., :-step], values[..., step:], sums[..., :-step]
