"""Convolutions in groups: of one channel each by positions of the kernel, of several by a product for each group.

A depthwise convolution has as many multiply-adds as its input has values, for each position of the kernel: too few for
a matrix product to pay for the expansion that it reads. So its output is a sum of whole images, each times a row of
weights that repeats along the width, since a loop over the channels of one pixel alone would be too short.

Where groups are wider, the windows of a group are unrolled side by side, the groups one behind the other, and one
batched product goes over them.
"""

from __future__ import annotations

import math

import numpy as np

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from ..blas import product
from ..layers import Array, Back, Layer, Maybe
from ..parameters import Parameters
from ..schedule import Calls, Program, Value
from ..windows import Tap, axes, taps
from ..workers import Chunk, Team
from .dense import contiguous


class _InGroups(Layer):
    """What both have: the parameters, a row of biases, and where the positions of the kernel lie."""

    keeps = "input"
    in_place = False

    def __init__(self, node: Node, layer: spec.Conv2d, parameters: Parameters, team: Team) -> None:
        super().__init__(node)
        (self.channels, *size), (self.outputs, *out_size) = node.input_shape, node.output_shape
        sizes = (size[0], size[1]), (out_size[0], out_size[1])
        rows, columns = axes(*sizes, layer.kernel, layer.stride, layer.before, layer.dilation)
        self.taps = taps(rows, columns)
        self.groups = layer.groups
        self.weight = parameters.add(
            f"{node.name}.weight",
            (*layer.kernel, self.channels // self.groups, self.outputs),
            (3, 2, 0, 1),
            summed=True,
        )
        self.bias = None
        if layer.bias:
            self.bias = parameters.add(f"{node.name}.bias", (self.outputs,), summed=True)
        self.bias_row = team.shared((out_size[1], self.outputs))

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """As every layer; before each run, what depends on the parameters only is brought up to date."""
        program.at_start(self.prepare)
        return super().emit(program, x)

    def prepare(self) -> None:
        """Rows of parameters, made from the parameters."""
        if self.bias is not None:
            self.bias_row[...] = self.bias.value

    def add_bias(self, y: Array) -> Calls:
        """Adds the bias, where there is one."""
        if self.bias is not None:
            yield np.add, y, self.bias_row, y

    def bias_gradient(self, chunk: Chunk, dy: Array) -> Calls:
        """Sums `dy`, contiguous, over its pixels."""
        if self.bias is not None:
            gradient = self.bias.gradients[chunk.worker.index]
            yield _summed(chunk, dy.reshape(-1, self.outputs), gradient.reshape(1, -1))


class Depthwise(_InGroups):
    """A group for each channel, with one channel of output."""

    def __init__(self, node: Node, layer: spec.Conv2d, parameters: Parameters, team: Team) -> None:
        super().__init__(node, layer, parameters, team)
        self.strided = layer.stride[1] > 1
        self.rows = team.shared((len(self.taps), max(node.output_shape[2], 1), self.channels))
        self.workspace_bytes = 8 * max(math.prod(node.input_shape), math.prod(node.output_shape))

    def prepare(self) -> None:
        super().prepare()
        self.rows[...] = self.weight.value.reshape(len(self.taps), 1, self.channels)

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        yield from self._spread(
            chunk, y, [(row, tap.out, tap.into) for row, tap in self._weighted()], x
        )
        yield from self.add_bias(y)

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        whole = contiguous(dy, chunk)
        if whole is not dy:
            yield np.copyto, whole, dy
        if not self.node.frozen:
            yield from self.bias_gradient(chunk, whole)
            yield from self._weight_gradient(chunk, whole, saved)
        if dx is not None:
            yield from self._spread(
                chunk, dx, [(row, tap.into, tap.out) for row, tap in self._weighted()], whole
            )

    def _weight_gradient(self, chunk: Chunk, whole: Array, saved: Array) -> Calls:
        gradients = self.weight.gradients[chunk.worker.index].reshape(-1, 1, self.channels)
        for tap, gradient in zip(self.taps, gradients, strict=True):
            if not _meets(tap):
                if chunk.first:
                    yield gradient.fill, 0
                continue
            slope = _at(whole, tap.out)
            seen = chunk.worker.buffer("temporary", slope.shape)
            met = _at(saved, tap.into)
            if self.strided:
                yield np.copyto, seen, met
                met = seen
            yield np.multiply, met, slope, seen
            yield _summed(chunk, seen.reshape(-1, self.channels), gradient)

    def _weighted(self) -> list[tuple[Array, Tap]]:
        """Each position of the kernel that meets the image, with its row of weights for as many columns."""
        met = ((row, tap) for row, tap in zip(self.rows, self.taps, strict=True) if _meets(tap))
        return [(row[: tap.out[1].stop - tap.out[1].start], tap) for row, tap in met]

    def _spread(
        self,
        chunk: Chunk,
        into: Array,
        parts: list[tuple[Array, tuple[slice, slice], tuple[slice, slice]]],
        source: Array,
    ) -> Calls:
        """The sum, in `into`, of the places of `source` that are met at each position, times its row."""
        # one that reaches everywhere comes first: it writes where the others add
        parts = sorted(parts, key=lambda part: _at(into, part[1]).shape != into.shape)
        if not parts or _at(into, parts[0][1]).shape != into.shape:
            yield into.fill, 0
        for number, (row, where, met) in enumerate(parts):
            target, values = _at(into, where), _at(source, met)
            term = chunk.worker.buffer("temporary", values.shape)
            if self.strided:
                # NumPy copies arrays with short runs as fast as any, but computes with them slowly
                yield np.copyto, term, values
                values = term
            if number == 0 and target.shape == into.shape:
                yield np.multiply, values, row, target
                continue
            yield np.multiply, values, row, term
            yield np.add, target, term, target


class Grouped(_InGroups):
    """Groups of several channels, or with several channels of output."""

    def __init__(self, node: Node, layer: spec.Conv2d, parameters: Parameters, team: Team) -> None:
        super().__init__(node, layer, parameters, team)
        self.each = self.channels // self.groups
        self.depth = self.each * len(self.taps)
        self.places = node.output_shape[1:]
        self.key = (node.input_shape, node.output_shape, _windows_of(layer))
        self.workspace_bytes = 8 * self.groups * self.depth * math.prod(self.places)

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        windows = chunk.worker.zeros((self.key, chunk.size), self._elements(chunk))
        yield from self._fill(chunk, windows, x)
        whole = contiguous(y, chunk)
        yield np.matmul, self._flat(windows), self._by_group(self.weight.value), self._pixels(whole)
        yield from self.add_bias(whole)
        if whole is not y:
            yield np.copyto, y, whole

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        whole = contiguous(dy, chunk)
        if whole is not dy:
            yield np.copyto, whole, dy
        slope = self._pixels(whole)
        if not self.node.frozen:
            yield from self.bias_gradient(chunk, whole)
            yield from self._weight_gradient(chunk, slope, saved)
        if dx is None:
            return
        back = chunk.worker.buffer("expansion", (self._elements(chunk),))
        turned = self._by_group(self.weight.value).transpose(0, 2, 1)
        yield np.matmul, slope, turned, self._flat(back)
        yield dx.fill, 0
        for target, part in self._met(chunk, back, dx):
            yield np.add, target, part, target

    def _weight_gradient(self, chunk: Chunk, slope: Array, saved: Array) -> Calls:
        windows = chunk.worker.zeros((self.key, chunk.size), self._elements(chunk))
        yield from self._fill(chunk, windows, saved)
        gradient = self._by_group(self.weight.gradients[chunk.worker.index])
        found = chunk.worker.buffer("gradient of groups", gradient.shape)
        yield np.matmul, self._flat(windows).transpose(0, 2, 1), slope, found
        if chunk.first:
            yield np.copyto, gradient, found
        else:
            yield np.add, gradient, found, gradient

    def _elements(self, chunk: Chunk) -> int:
        return self.groups * self.depth * math.prod(self.places) * chunk.size

    def _fill(self, chunk: Chunk, windows: Array, x: Array) -> Calls:
        """Writes the windows of `x`. What meets padding is left as it is: zero, once for all."""
        for source, part in self._met(chunk, windows, x):
            yield np.copyto, part, source

    def _met(self, chunk: Chunk, windows: Array, image: Array) -> list[tuple[Array, Array]]:
        """For each position of the kernel the places of an image that are met there, and those of the windows."""
        height, width = self.places
        unrolled = windows.reshape(self.groups, height, chunk.size, width, self.depth)
        found = []
        for number, tap in enumerate(self.taps):
            if not _meets(tap):
                continue
            places = _at(image, tap.into)
            places = places.reshape(*places.shape[:3], self.groups, self.each)
            depth = slice(number * self.each, (number + 1) * self.each)
            part = unrolled[:, tap.out[0], :, tap.out[1], depth]
            found.append((places, part.transpose(1, 2, 3, 0, 4)))
        return found

    def _flat(self, windows: Array) -> Array:
        """A row for each pixel, group by group."""
        return windows.reshape(self.groups, -1, self.depth)

    def _by_group(self, weight: Array) -> Array:
        """kH×kW×(I/groups)×O as a matrix for each group."""
        return weight.reshape(self.depth, self.groups, -1).transpose(1, 0, 2)

    def _pixels(self, whole: Array) -> Array:
        """The channels of each group, a row for each pixel."""
        return whole.reshape(-1, self.groups, self.outputs // self.groups).transpose(1, 0, 2)


def _windows_of(layer: spec.Conv2d) -> tuple[object, ...]:
    """What the places of a layer's windows depend on."""
    return layer.kernel, layer.stride, layer.padding, layer.dilation, layer.groups


def _at(array: Array, where: tuple[slice, slice]) -> Array:
    """The pixels of an H×n×W×C array at (rows, columns)."""
    return array[where[0], :, where[1]]


def _meets(tap: Tap) -> bool:
    """Whether a position of the kernel meets anything but padding."""
    return all(part.start < part.stop for part in tap.out)


def _summed(chunk: Chunk, rows: Array, gradient: Array) -> tuple[object, ...]:
    """The call that adds the rows up into a gradient, to what earlier chunks have left there."""
    ones = chunk.worker.buffer(("ones", len(rows)), (1, len(rows)))
    ones.fill(1)
    return product(ones, rows, gradient, accumulate=not chunk.first)
