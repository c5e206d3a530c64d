"""Normalisation within a sample, forward and backward; see `dlbench.oracle.layers` for how a layer lives."""

from __future__ import annotations

import math

import numpy as np

from dlbench.oracle.layers import Layer, per_channel, repetition
from dlbench.oracle.rounding import Array
from dlbench.spec import layers as spec


class _SampleNorm(Layer):
    """Statistics of each sample over some of its values, and a scale and a shift for each channel."""

    axes: tuple[int, ...]
    """Of a view, those that are normalised over."""
    eps: float

    def view(self, x: Array) -> Array:
        """The values in another shape."""
        raise NotImplementedError

    def forward(self, x: Array) -> Array:
        rounding, parts = self.run.rounding, self.view(x)
        values = math.prod(parts.shape[axis] for axis in self.axes)
        size = self._root(parts) / np.sqrt(values)
        mean = rounding(parts.mean(self.axes, keepdims=True), values, size)
        squares = np.square(parts - mean)
        size = self._root(squares) / np.sqrt(values)
        variance = rounding(squares.mean(self.axes, keepdims=True), values, size)
        self.inverse = 1 / np.sqrt(variance + self.eps)
        self.normal = (parts - mean) * self.inverse
        scale, shift = (per_channel(self.weights[role], x.ndim) for role in ("scale", "shift"))
        normal = self.normal.reshape(x.shape)
        y = normal * scale + shift
        offset = np.broadcast_to(np.abs(mean) * self.inverse, parts.shape).reshape(x.shape)
        reach = np.abs(scale) * (np.abs(normal) + offset)
        return rounding.stored(rounding(y, 4, np.hypot(reach, shift)))

    def backward(self, dy: Array) -> Array:
        run, rounding = self.run, self.run.rounding
        normal = self.normal.reshape(dy.shape)
        total, axes = run.weighted(dy), (0, *range(2, dy.ndim))
        terms = run.terms(math.prod(dy.shape[2:]))
        length = terms * repetition(dy.reshape(*dy.shape[:2], -1))
        size = np.sqrt((total * dy).sum(axes))
        self.gradient("shift", rounding(total.sum(axes), length, size))
        size = np.sqrt((total * dy * np.square(normal)).sum(axes))
        self.gradient("scale", rounding((total * normal).sum(axes), terms, size))
        slope = self.view(dy * per_channel(self.weights["scale"], dy.ndim))
        # what these two err by is the same for all that they are taken from
        values = math.prod(slope.shape[axis] for axis in self.axes)
        length = values * repetition(dy.reshape(*dy.shape[:2], -1))
        size = self._root(slope) / np.sqrt(values)
        mean = rounding(slope.mean(self.axes, keepdims=True), length, size)
        product = slope * self.normal
        size = self._root(product) / np.sqrt(values)
        along = rounding(product.mean(self.axes, keepdims=True), values, size)
        dx = self.inverse * (slope - mean - self.normal * along)
        size = self.inverse * (self._root(slope) + np.abs(self.normal * along))
        dx = rounding(dx, 16, np.broadcast_to(size, dx.shape))
        return rounding.handed_back(dx.reshape(dy.shape))

    def _root(self, parts: Array) -> Array:
        return np.asarray(np.sqrt(np.mean(np.square(parts), self.axes, keepdims=True)))


class GroupNorm(_SampleNorm):
    """Over the channels of a group and their pixels."""

    axes = (2,)

    def view(self, x: Array) -> Array:
        assert isinstance(self.node.layer, spec.GroupNorm)
        self.eps = self.node.layer.eps
        return x.reshape(len(x), self.node.layer.groups, -1)


class LayerNorm(_SampleNorm):
    """Over the features, or the channels at each pixel."""

    axes = (1,)

    def view(self, x: Array) -> Array:
        assert isinstance(self.node.layer, spec.LayerNorm)
        self.eps = self.node.layer.eps
        return x


class LocalResponseNorm(Layer):
    """x / (k + alpha / size · Σ x²)^beta over neighbouring channels."""

    def forward(self, x: Array) -> Array:
        layer = self.node.layer
        assert isinstance(layer, spec.LocalResponseNorm)
        self.x, self.layer = x, layer
        self.base = layer.k + layer.alpha / layer.size * self._neighbours(np.square(x))
        y = x * self.base**-layer.beta
        return self.run.rounding.stored(self.run.rounding(y, 16, y))

    def backward(self, dy: Array) -> Array:
        layer = self.layer
        direct = dy * self.base**-layer.beta
        inner = self._neighbours(dy * self.x * self.base ** (-layer.beta - 1))
        around = 2 * layer.alpha * layer.beta / layer.size * self.x * inner
        dx = self.run.rounding(direct - around, 16, np.hypot(direct, around))
        return self.run.rounding.handed_back(dx)

    def _neighbours(self, values: Array) -> Array:
        """The sum over the channels around each one."""
        reach = self.layer.size // 2
        padded = np.pad(values, ((0, 0), (reach, reach), (0, 0), (0, 0)))
        return sum(
            (padded[:, start : start + values.shape[1]] for start in range(self.layer.size)),
            np.zeros_like(values),
        )
