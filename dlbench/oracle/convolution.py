"""Convolution and its transpose, forward and backward; see `dlbench.oracle.layers` for how a layer lives."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from dlbench.oracle.layers import Layer, Pass, norms, per_channel, repetition, root_mean_square
from dlbench.oracle.rounding import Array, absorbed
from dlbench.oracle.unrolled import Unrolled
from dlbench.spec import layers as spec
from dlbench.spec.network import Node


class Conv2d(Layer):
    """Cross-correlation as matrix products with what the windows see (`dlbench.oracle.unrolled`).

    Where it moves by single pixels, each input also sees a window of outputs: products with those have the kernel
    turned around, and are the cheaper ones where there are fewer outputs.
    """

    def __init__(self, node: Node, weights: Mapping[str, Array], run: Pass) -> None:
        super().__init__(node, weights, run)
        assert isinstance(node.layer, spec.Conv2d)
        self.layer = node.layer
        self.weight = run.rounding.known(self.weights["weight"])
        self.rows = self.weight.reshape(len(self.weight), -1)

    def _sizes(self, x: Array, channels: int, values: int) -> Array:
        """The root mean square of what each of `channels` reads or is read by, of all of `x` or of its group, as one of
        `values` a sample, the others being zeros."""
        parts = x.reshape(len(x), self.layer.groups, -1)
        of_group: Array = root_mean_square(parts, (0, 2)) * np.sqrt(x[0].size / values)
        return np.repeat(of_group, channels // self.layer.groups)

    def _forward_windows(self) -> Unrolled:
        """Each output's window of inputs."""
        layer, groups = self.layer, self.layer.groups
        matrix = self.weight.reshape(groups, len(self.weight) // groups, -1)
        outputs = (self.node.output_shape[1], self.node.output_shape[2])
        steps = layer.stride, layer.dilation
        return Unrolled(matrix, layer.kernel, layer.edges, outputs, *steps)

    def _backward_windows(self) -> Unrolled | None:
        """Each input's window of outputs, None where these are no rectangle of neighbours."""
        layer, groups = self.layer, self.layer.groups
        reach = [
            (kernel - 1) * step for kernel, step in zip(layer.kernel, layer.dilation, strict=True)
        ]
        edges = [
            (far - before, far - after)
            for far, (before, after) in zip(reach, layer.edges, strict=True)
        ]
        if layer.stride != (1, 1) or min(map(min, edges)) < 0:
            return None
        turned = self.weight[:, :, ::-1, ::-1]
        parts = turned.reshape(groups, -1, *turned.shape[1:]).swapaxes(1, 2)
        matrix = np.ascontiguousarray(parts).reshape(*parts.shape[:2], -1)
        inputs = (self.node.input_shape[1], self.node.input_shape[2])
        padding = (edges[0], edges[1])
        return Unrolled(matrix, layer.kernel, padding, inputs, (1, 1), layer.dilation)

    def forward(self, x: Array) -> Array:
        self.x = x = self.run.rounding.factor(x)
        inputs, outputs = x.shape[1], len(self.weight)
        other = self._backward_windows() if outputs < inputs else None
        if other is not None and math.prod(self.layer.kernel) > 1:
            y = other.transposed(x, self.node.output_shape)
        else:
            y = self._forward_windows().product(x)
        bias = self.weights.get("bias")
        if bias is not None:
            y += per_channel(bias, 4)

        def size() -> Array:
            found = norms(self.rows, 0) * self._sizes(x, outputs, x[0].size)
            return per_channel(found if bias is None else np.hypot(found, bias), 4)

        shift = None if bias is None else per_channel(bias, 4)
        return self.left(y, shift, self.rows.shape[1] + 1, size)

    def backward(self, dy: Array) -> Array:
        weight, rounding, x = self.weight, self.run.rounding, self.x
        inputs, outputs = x.shape[1], len(weight)
        dy, given = rounding.factor(dy), dy
        flat = dy.reshape(*dy.shape[:2], -1)
        grouped = x.reshape(len(x), self.layer.groups, -1, *x.shape[2:])
        summed = absorbed(dy, grouped, self.run.counts, rounding)
        needed = self.node.needs_input_gradient
        other = self._backward_windows() if needed and outputs <= 2 * inputs else None
        if other is not None:
            turned = other.outer(self.run.weighted(x), summed)
            parts = turned.reshape(*turned.shape[:2], -1, *weight.shape[2:]).swapaxes(1, 2)
            gradient = parts[..., ::-1, ::-1].reshape(weight.shape)
            dx = other.product(dy)
        else:
            windows = self._forward_windows()
            gradient = windows.outer(self.run.weighted(summed), x).reshape(weight.shape)
            dx = windows.transposed(dy, x.shape[1:]) if needed else np.zeros_like(x)
        terms = self.run.terms(flat.shape[2])

        def strength() -> Array:
            return np.asarray(np.sqrt(self.run.counts @ np.einsum("ncp,ncp->nc", flat, flat)))

        def size() -> Array:
            edges = zip(x.shape[2:], self.layer.edges, strict=True)
            padded = inputs * math.prod(length + sum(edge) for length, edge in edges)
            return (strength() * self._sizes(x, outputs, padded)).reshape(-1, 1, 1, 1)

        gradient = rounding(gradient, terms, size)
        self.gradient("weight", rounding.handed_back(gradient))
        if "bias" in self.weights:
            given = given.reshape(flat.shape)
            bias = self.run.counts @ given.sum(2)
            bias = rounding(
                bias, lambda: terms * repetition(flat), lambda: self.run.partial_sums(given)
            )
            self.gradient("bias", rounding.handed_back(bias))

        def sums() -> Array:
            parts = weight.reshape(self.layer.groups, -1, *weight.shape[1:])
            found = np.sqrt(np.square(parts).sum((1, 3, 4))).reshape(-1)
            return per_channel(found * self._sizes(dy, len(found), dy[0].size), 4)

        return rounding.handed_back(rounding(dx, weight[:, 0].size // self.layer.groups, sums))


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
        whole, summed = self._whole(len(dy)), self._whole(len(dy))
        self._inner(whole)[...] = dy
        self._inner(summed)[...] = absorbed(dy, x[:, None], self.run.counts, rounding)
        total = self.run.weighted(x)
        gradient, dx = np.zeros_like(weight), np.zeros_like(x)
        for i, j, down, right in self._places():
            met = whole[:, :, down, right]
            gradient[:, :, i, j] = np.tensordot(
                total, summed[:, :, down, right], ((0, 2, 3), (0, 2, 3))
            )
            dx += np.tensordot(weight[:, :, i, j], met, (1, 1)).swapaxes(0, 1)
        terms = self.run.terms(x[0, 0].size)
        strength = np.sqrt((total * x).sum((0, 2, 3)))
        size = strength.reshape(-1, 1, 1, 1) * root_mean_square(dy)
        self.gradient("weight", rounding.handed_back(rounding(gradient, terms, size)))
        if "bias" in self.weights:
            flat = given.reshape(*given.shape[:2], -1)
            sums = self.run.weighted(flat)
            length = self.run.terms(flat.shape[2]) * repetition(flat)
            bias = rounding(sums.sum((0, 2)), length, lambda: self.run.partial_sums(flat))
            self.gradient("bias", rounding.handed_back(bias))
        sums = np.sqrt(np.square(weight).sum((1, 2, 3))) * root_mean_square(dy)
        return rounding.handed_back(rounding(dx, weight[0].size, per_channel(sums, 4)))
