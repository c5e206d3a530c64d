"""Convolution two output rows at a time, with four products where six would be needed: Winograd's F(2, 3) down the
rows (Winograd 1980, "Arithmetic complexity of computations"; Lavin and Gray 2016, "Fast algorithms for convolutional
neural networks", section 4.1).

With d₀ to d₃ the four input rows that two output rows meet, and g₀ to g₂ the kernel's rows,

    m₀ = (d₀ − d₂)·g₀                    y₀ = m₀ + m₁ + m₂
    m₁ = (d₁ + d₂)·(g₀ + g₁ + g₂) / 2    y₁ = m₁ − m₂ + m₃
    m₂ = (d₂ − d₁)·(g₀ − g₁ + g₂) / 2
    m₃ = (d₃ − d₁)·g₂

where each product is that of the rows' windows of kw columns, side by side as in `expansion`, and a matrix of the
kernel. Down the rows alone, and not along the columns too, since sums of rows are long runs, which NumPy adds at full
speed, and since products stay kw times as deep as the input has channels.

Backward, the gradient of the input is a convolution of the same kind, of the output's gradient with the kernel turned
around; and of each matrix of the kernel the gradient is a product, too.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from ..blas import product
from ..layers import Array, Maybe
from ..parameters import Parameters
from ..schedule import Calls
from ..workers import Chunk, Team
from .dense import Conv2d, contiguous, geometry_of
from .expansion import FEW_CHANNELS, Expansion, Geometry

_HALF = np.float32(0.5)
_ROWS = 3
"""Rows of the kernel."""
_LEAST_DEPTH = 96
"""Below this, what is summed over is so little that a product costs no more than what it takes to save it."""
_LEAST_PIXELS = 1024
"""Of all outputs of a batch: with fewer, the kernel's matrices cost more than they save."""
_PARTS = ((0, 2, np.subtract), (1, 2, np.add), (2, 1, np.subtract), (3, 1, np.subtract))
"""Of which rows d each product's sums are."""


class RowPairs:
    """A convolution of `geometry`, which is one that `suits`.

    Parameters
    ----------
    geometry : the sizes.
    kernel : memory for the kernel's four matrices, each kw·I×O.
    """

    def __init__(self, geometry: Geometry, kernel: Array) -> None:
        g = geometry
        self.geometry, self.kernel = g, kernel
        self.pairs = -(-g.out_size[0] // 2)
        self.columns = dataclasses.replace(
            g,
            size=(self.pairs, g.size[1]),
            out_size=(self.pairs, g.out_size[1]),
            kernel=(1, g.kernel[1]),
            padding=(0, g.padding[1]),
        )

    @staticmethod
    def suits(geometry: Geometry, batch: int) -> bool:
        """Whether it can be done so, and costs less."""
        g = geometry
        return (
            g.kernel[0] == _ROWS
            and (g.stride, g.dilation) == ((1, 1), (1, 1))
            and g.kernel[1] * min(g.channels, g.out_channels) >= _LEAST_DEPTH
            and min(g.padding) >= 0
            # below, the positions of the kernel would lie apart
            and g.channels >= FEW_CHANNELS
            and batch * g.out_size[0] * g.out_size[1] >= _LEAST_PIXELS
        )

    @staticmethod
    def kernel_shape(geometry: Geometry) -> tuple[int, int, int]:
        """Of the memory for the kernel's matrices."""
        return 4, geometry.kernel[1] * geometry.channels, geometry.out_channels

    @property
    def bytes_per_image(self) -> int:
        """What it touches besides its input and output."""
        g = self.geometry
        sums = self.pairs * (g.size[1] * g.channels + 3 * g.out_size[1] * g.out_channels)
        return self.columns.bytes_per_image + 4 * sums

    def prepare(self, weight: Array) -> None:
        """Makes the kernel's matrices of a weight kH×kW×I×O."""
        first, middle, last = weight.reshape(_ROWS, *self.kernel.shape[1:])
        ends, sums, differences, end = self.kernel
        np.copyto(ends, first)
        np.copyto(end, last)
        np.add(first, last, sums)
        np.subtract(sums, middle, differences)
        np.add(sums, middle, sums)
        np.multiply(sums, _HALF, sums)
        np.multiply(differences, _HALF, differences)

    def windows(self, chunk: Chunk, x: Array, part: int) -> Calls:
        """The calls that write the windows of one of the four sums of rows, where `matrix` finds them."""
        first, second, combine = _PARTS[part]
        sums = chunk.worker.buffer("sums of rows", (self.pairs, *x.shape[1:]))
        ranges = self._within(first, x.shape[0]), self._within(second, x.shape[0])
        for start, stop in itertools.pairwise(sorted({0, self.pairs, *ranges[0], *ranges[1]})):
            target = sums[start:stop]
            one, other = (
                self._rows(x, row, start, stop) if low <= start < high else None
                for row, (low, high) in zip((first, second), ranges, strict=True)
            )
            if one is not None and other is not None:
                yield combine, one, other, target
            elif one is not None:
                yield np.copyto, target, one
            elif other is not None:
                yield (np.positive if combine is np.add else np.negative), other, target
            else:
                yield target.fill, 0
        yield from self._expansion(chunk).fill(sums)

    def _within(self, row: int, rows: int) -> tuple[int, int]:
        """The pairs whose row of that number, 0 to 3, lies in the image and not in the padding around it."""
        above = self.geometry.padding[0]
        low, high = (-(-(edge + above - row) // 2) for edge in (0, rows))
        return min(max(low, 0), self.pairs), min(max(high, 0), self.pairs)

    def _rows(self, x: Array, row: int, start: int, stop: int) -> Array:
        """The rows of that number of the pairs from `start` to `stop`."""
        begin = 2 * start + row - self.geometry.padding[0]
        return x[begin : begin + 2 * (stop - start) - 1 : 2]

    def matrix(self, chunk: Chunk) -> Array:
        """The windows that were written last, (pairs·n·W')×(kw·I)."""
        [found] = self._expansion(chunk).windows
        return found

    def _expansion(self, chunk: Chunk) -> Expansion:
        elements = Expansion.elements(self.columns, chunk.size)
        memory = chunk.worker.zeros((self.columns, chunk.size), elements)
        return Expansion(self.columns, chunk.size, memory)

    def run(self, chunk: Chunk, x: Array, y: Array, bias: Array | None) -> Calls:
        """The calls that fill `y` (H'×n×W'×O) from `x` (H×n×W×I); `bias` is a row of it, W'×O."""
        g = self.geometry
        shape = (self.pairs, chunk.size, g.out_size[1], g.out_channels)
        one, other, even = (chunk.worker.buffer(("pairs", n), shape) for n in range(3))
        matrix = self.matrix(chunk)
        for part, into, accumulate in (
            (1, one, False),
            (2, other, False),
            (0, even, True),
            (3, other, True),
        ):
            if part == 0:
                yield np.add, one, other, even
                yield np.subtract, one, other, other
            yield from self.windows(chunk, x, part)
            rows = into.reshape(-1, g.out_channels)
            yield product(matrix, self.kernel[part], rows, accumulate=accumulate)
        odd = other[: g.out_size[0] // 2]
        for made, place in ((even, y[::2]), (odd, y[1::2])):
            if bias is None:
                yield np.copyto, place, made
            else:
                yield np.add, made, bias, place

    def gradients(
        self,
        chunk: Chunk,
        x: Array,
        dy: Array,
        gradients: Array,
        into: Array,
        into_bias: Array | None,
    ) -> Calls:
        """The calls that add up the gradients of the kernel's matrices over the chunks of a worker, and make of them,
        with the last chunk, that of the weight.

        Parameters
        ----------
        gradients : the worker's own memory for those of the matrices.
        into : for that of the weight, kH×kW×I×O. into_bias : for that of the bias, O; None where there is none.
        """
        g = self.geometry
        shape = (self.pairs, chunk.size, g.out_size[1], g.out_channels)
        even, odd, both = (chunk.worker.buffer(("pairs", n), shape) for n in range(3))
        yield np.copyto, even, dy[::2]
        yield np.copyto, odd[: g.out_size[0] // 2], dy[1::2]
        if g.out_size[0] % 2:
            yield odd[-1:].fill, 0
        matrix = self.matrix(chunk)
        for part in range(4):
            if part in (1, 2):
                yield (np.add, np.subtract)[part - 1], even, odd, both
            made = (even, both, both, odd)[part].reshape(-1, g.out_channels)
            yield from self.windows(chunk, x, part)
            yield product(
                matrix, made, gradients[part], transpose_a=True, accumulate=not chunk.first
            )
        if into_bias is not None:
            rows = even.reshape(-1, g.out_channels), odd.reshape(-1, g.out_channels)
            ones = chunk.worker.buffer(("ones", len(rows[0])), (1, len(rows[0])))
            ones.fill(1)
            total = into_bias.reshape(1, -1)
            yield product(ones, rows[0], total, accumulate=not chunk.first)
            yield product(ones, rows[1], total, accumulate=True)
        if chunk.stop == chunk.shard[1]:
            first, middle, last = into.reshape(_ROWS, *gradients.shape[1:])
            ends, sums, differences, end = gradients
            yield np.subtract, sums, differences, middle
            yield np.add, sums, differences, sums
            yield np.multiply, middle, _HALF, middle
            yield np.multiply, sums, _HALF, sums
            yield np.add, ends, sums, first
            yield np.add, end, sums, last


class PairedConv2d(Conv2d):
    """The layer, two output rows at a time. Where its input's gradient does not suit, that is made as in `Conv2d`."""

    def __init__(self, node: Node, layer: spec.Conv2d, parameters: Parameters, team: Team) -> None:
        super().__init__(node, layer, parameters, team)
        self.pairs = _pairs(self.geometry, team)
        self.sums = RowPairs.kernel_shape(self.geometry)
        around = turned_around(self.geometry)
        self.back = None
        if node.needs_input_gradient and RowPairs.suits(around, team.batch):
            self.back = _pairs(around, team)
            # what the other way would have to be kept up to date for
            self.turned = None
        self.least_images = self.geometry.least_images(self.pairs.pairs)
        self.workspace_bytes = max(
            each.bytes_per_image for each in (self.pairs, self.back or self.geometry)
        )

    def prepare(self) -> None:
        """As every convolution, and the kernel's matrices."""
        super().prepare()
        self.pairs.prepare(self.weight.value)
        if self.back is not None:
            turned = self.weight.value[::-1, ::-1].transpose(0, 1, 3, 2)
            self.back.prepare(np.ascontiguousarray(turned))

    def provide_folded(self) -> None:
        """None: the kernel's matrices are those of training or of inference, whichever runs."""

    def fold(self, factor: Array) -> None:
        """The kernel's matrices with output channels `factor` times as large."""
        self.pairs.prepare(self.weight.value * factor)

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        yield from self.pairs.run(chunk, x, y, None if self.bias is None else self.bias_row)

    def forward_folded(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        yield from self.pairs.run(chunk, x, y, self.folded_row)

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        if not self.node.frozen:
            number = chunk.worker.index
            gradients = chunk.worker.zeros(("pairs", self.node.name), int(np.prod(self.sums)))
            yield from self.pairs.gradients(
                chunk,
                saved,
                dy,
                gradients.reshape(self.sums),
                self.weight.gradients[number],
                None if self.bias is None else self.bias.gradients[number],
            )
        if dx is None:
            return
        if self.back is not None:
            yield from self.back.run(chunk, dy, dx, None)
            return
        whole = contiguous(dy, chunk)
        if whole is not dy:
            yield np.copyto, whole, dy
        yield from self.input_gradient(chunk, whole, dx)


def convolution(node: Node, layer: spec.Conv2d, parameters: Parameters, team: Team) -> Conv2d:
    """The layer in the way that costs least."""
    suits = RowPairs.suits(geometry_of(node, layer), team.batch)
    return (PairedConv2d if suits else Conv2d)(node, layer, parameters, team)


def turned_around(geometry: Geometry) -> Geometry:
    """Of the convolution that makes the input's gradient of the output's, where no window is passed over."""
    g = geometry
    rows, columns = (k - 1 - before for k, before in zip(g.kernel, g.padding, strict=True))
    return dataclasses.replace(
        g,
        channels=g.out_channels,
        out_channels=g.channels,
        size=g.out_size,
        out_size=g.size,
        padding=(rows, columns),
    )


def _pairs(geometry: Geometry, team: Team) -> RowPairs:
    return RowPairs(geometry, team.shared(RowPairs.kernel_shape(geometry)))
