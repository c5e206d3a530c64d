"""Convolution and its transpose, forward and backward; see `dlbench.oracle.layers` for how a layer lives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from dlbench.oracle.layers import Layer, Pass, norms, per_channel, repetition, root_mean_square
from dlbench.oracle.rounding import Array
from dlbench.spec import layers as spec
from dlbench.spec.network import Node


class Conv2d(Layer):
    """Cross-correlation as one matrix product a sample and group, with a column for each output position."""

    def __init__(self, node: Node, weights: Mapping[str, Array], run: Pass) -> None:
        super().__init__(node, weights, run)
        assert isinstance(node.layer, spec.Conv2d)
        self.layer = node.layer
        self.weight = run.rounding.known(self.weights["weight"])
        self.rows = self.weight.reshape(len(self.weight), -1)
        self.grouped = self.rows.reshape(self.layer.groups, -1, self.rows.shape[1])

    def _positions(self) -> Iterator[tuple[int, int, slice, slice]]:
        """Each position in the kernel, and the inputs under it: one row and column for each output."""
        layer, (height, width) = self.layer, self.node.output_shape[1:]
        for i, j in np.ndindex(*layer.kernel):
            top, left = i * layer.dilation[0], j * layer.dilation[1]
            down = slice(top, top + (height - 1) * layer.stride[0] + 1, layer.stride[0])
            right = slice(left, left + (width - 1) * layer.stride[1] + 1, layer.stride[1])
            yield i, j, down, right

    def _columns(self, sample: Array) -> Array:
        """What each output position of a padded sample sees of each group, as a column."""
        columns = np.empty((len(sample), *self.layer.kernel, *self.node.output_shape[1:]))
        for i, j, down, right in self._positions():
            columns[:, i, j] = sample[:, down, right]
        return columns.reshape(self.layer.groups, self.rows.shape[1], -1)

    def _sizes(self, x: Array, channels: int) -> Array:
        """The root mean square of what each of `channels` reads or is read by: of all of `x`, or of its group."""
        groups = self.layer.groups
        if groups == 1:
            return np.full(channels, root_mean_square(x))
        parts = x.reshape(len(x), groups, -1)
        return np.repeat(root_mean_square(parts, (0, 2)), channels // groups)

    def forward(self, x: Array) -> Array:
        x = self.run.rounding.factor(x)
        self.padded = np.pad(x, ((0, 0), (0, 0), *self.layer.edges))
        y = np.empty((len(x), *self.node.output_shape))
        parts = y.reshape(len(x), *self.grouped.shape[:2], -1)
        for sample, part in zip(self.padded, parts, strict=True):
            np.matmul(self.grouped, self._columns(sample), out=part)
        size = norms(self.rows, 0) * self._sizes(x, len(self.rows))
        bias = None
        if "bias" in self.weights:
            bias = per_channel(self.weights["bias"], 4)
            y += bias
            size = np.hypot(size, self.weights["bias"])
        return self.left(y, bias, self.rows.shape[1] + 1, per_channel(size, 4))

    def backward(self, dy: Array) -> Array:
        weight, rounding = self.weight, self.run.rounding
        dy, given = rounding.factor(dy), dy
        flat = dy.reshape(*dy.shape[:2], -1)
        total = self.run.weighted(flat)
        gradient = np.zeros_like(self.grouped)
        dx = np.zeros_like(self.padded)
        by_group = (*self.grouped.shape[:2], -1)
        turned = self.grouped.transpose(0, 2, 1)
        for sample, weighted, one, target in zip(self.padded, total, flat, dx, strict=True):
            gradient += weighted.reshape(by_group) @ self._columns(sample).transpose(0, 2, 1)
            if self.node.needs_input_gradient:
                back = (turned @ one.reshape(by_group)).reshape(
                    len(sample), *weight.shape[2:], *dy.shape[2:]
                )
                for i, j, down, right in self._positions():
                    target[:, down, right] += back[:, i, j]
        terms = self.run.terms(flat.shape[2])
        strength = np.sqrt((total * flat).sum((0, 2)))
        size = (strength * self._sizes(self.padded, len(weight))).reshape(-1, 1, 1, 1)
        gradient = rounding(gradient.reshape(weight.shape), terms, size)
        self.gradient("weight", rounding.handed_back(gradient))
        if "bias" in self.weights:
            length = terms * repetition(flat)
            bias = self.run.weighted(given.reshape(flat.shape)).sum((0, 2))
            self.gradient("bias", rounding.handed_back(rounding(bias, length, strength)))
        ((top, _), (left, _)), (height, width) = self.layer.edges, self.node.input_shape[1:]
        inner = dx[:, :, top : top + height, left : left + width]
        parts = weight.reshape(*self.grouped.shape[:2], *weight.shape[1:])
        sums = np.sqrt(np.square(parts).sum((1, 3, 4))).reshape(-1)
        sums *= self._sizes(dy, len(sums))
        terms = weight[:, 0].size // self.layer.groups
        return rounding.handed_back(rounding(inner, terms, per_channel(sums, 4)))


class ConvTranspose2d(Layer):
    """Each pixel times the kernel, added up where they meet."""

    def __init__(self, node: Node, weights: Mapping[str, Array], run: Pass) -> None:
        super().__init__(node, weights, run)
        assert isinstance(node.layer, spec.ConvTranspose2d)
        self.layer = node.layer
        self.weight = run.rounding.known(self.weights["weight"])

    def _places(self) -> Iterator[tuple[int, int, slice, slice]]:
        """Each position in the kernel, and where in the whole output the pixels times it come to lie."""
        layer, (height, width) = self.layer, self.node.input_shape[1:]
        for i, j in np.ndindex(*layer.kernel):
            down = slice(i, i + (height - 1) * layer.stride[0] + 1, layer.stride[0])
            right = slice(j, j + (width - 1) * layer.stride[1] + 1, layer.stride[1])
            yield i, j, down, right

    def _inner(self, whole: Array) -> Array:
        """What the padding leaves of the whole output."""
        (top, left), (height, width) = self.layer.padding, self.node.output_shape[1:]
        return whole[:, :, top : top + height, left : left + width]

    def _whole(self, samples: int) -> Array:
        sizes = (
            size + 2 * padding
            for size, padding in zip(self.node.output_shape[1:], self.layer.padding, strict=True)
        )
        return np.zeros((samples, self.layer.out_channels, *sizes))

    def forward(self, x: Array) -> Array:
        self.x = x = self.run.rounding.factor(x)
        whole = self._whole(len(x))
        for i, j, down, right in self._places():
            part = np.tensordot(self.weight[:, :, i, j], x, (0, 1))
            whole[:, :, down, right] += part.swapaxes(0, 1)
        y = self._inner(whole).copy()
        size = np.sqrt(np.square(self.weight).sum((0, 2, 3))) * root_mean_square(x)
        bias = None
        if "bias" in self.weights:
            bias = per_channel(self.weights["bias"], 4)
            y += bias
            size = np.hypot(size, self.weights["bias"])
        return self.left(y, bias, self.node.parameters[0].fan_in + 1, per_channel(size, 4))

    def backward(self, dy: Array) -> Array:
        weight, rounding, x = self.weight, self.run.rounding, self.x
        dy, given = rounding.factor(dy), dy
        whole = self._whole(len(dy))
        self._inner(whole)[...] = dy
        total = self.run.weighted(x)
        gradient, dx = np.zeros_like(weight), np.zeros_like(x)
        for i, j, down, right in self._places():
            met = whole[:, :, down, right]
            gradient[:, :, i, j] = np.tensordot(total, met, ((0, 2, 3), (0, 2, 3)))
            dx += np.tensordot(weight[:, :, i, j], met, (1, 1)).swapaxes(0, 1)
        terms = self.run.terms(x[0, 0].size)
        strength = np.sqrt((total * x).sum((0, 2, 3)))
        size = strength.reshape(-1, 1, 1, 1) * root_mean_square(dy)
        self.gradient("weight", rounding.handed_back(rounding(gradient, terms, size)))
        if "bias" in self.weights:
            flat = given.reshape(*given.shape[:2], -1)
            sums = self.run.weighted(flat)
            strength = np.sqrt((sums * flat).sum((0, 2)))
            length = self.run.terms(flat.shape[2]) * repetition(flat)
            bias = rounding(sums.sum((0, 2)), length, strength)
            self.gradient("bias", rounding.handed_back(bias))
        sums = np.sqrt(np.square(weight).sum((1, 2, 3))) * root_mean_square(dy)
        return rounding.handed_back(rounding(dx, weight[0].size, per_channel(sums, 4)))
