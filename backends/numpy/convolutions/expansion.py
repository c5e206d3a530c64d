"""Row expansion: how the windows of a convolution become matrices that products can read.

For a stride of 1 down the rows, every input row is written out once, each output column with the kw input
columns that its window covers side by side. Output row r then is the sum, over the kernel's rows i, of
row r + i of the expansion times row i of the kernel: kh products over one buffer that holds kw times the
data, where unrolling whole windows (im2col) would hold kh·kw times. The rows of all images of a chunk
lie beside each other, so each product covers the whole chunk. Other strides, and inputs of few
channels, unroll whole windows and need one product.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from ..schedule import Calls
from ..windows import Pair, axes

Array = npt.NDArray[np.float32]

_FEW_COLUMNS = 16
"""Below this, a row of the kernel is too short for matrix products of its own."""
FEW_CHANNELS = 4
"""Below this, copying pixel by pixel is slow, and each kernel position's image is kept apart."""
_LARGE_KERNEL, _MANY_WINDOWS = 1 << 15, 512
"""Elements of a kernel's matrix, and rows of what it is multiplied with."""


@dataclasses.dataclass(frozen=True)
class Run:
    """Windows `out` (rows, columns) of an expansion hold, at `depth`, `width` adjacent pixels of the input each,
    the first of which are `into` (rows, columns)."""

    out: tuple[slice, slice]
    depth: slice
    into: tuple[slice, slice]
    width: int


@dataclasses.dataclass(frozen=True)
class Geometry:
    """The sizes of a convolution; pairs are (rows, columns). `padding` is that before the image: how much there is
    behind follows from the sizes."""

    channels: int
    out_channels: int
    size: Pair
    out_size: Pair
    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair

    @functools.cached_property
    def by_rows(self) -> bool:
        """Whether rows are expanded, or whole windows."""
        return (
            self.stride[0] == 1
            and self.kernel[0] > 1
            and self.kernel[1] * self.channels >= _FEW_COLUMNS
        )

    @functools.cached_property
    def tap_major(self) -> bool:
        """Whether the kernel positions are the first axis in memory, not the last."""
        return self.channels < FEW_CHANNELS and not self.by_rows

    @functools.cached_property
    def height(self) -> int:
        """Rows of the expansion."""
        reach = (self.kernel[0] - 1) * self.dilation[0] if self.by_rows else 0
        return self.out_size[0] + reach

    @functools.cached_property
    def runs(self) -> list[Run]:
        """What is copied: for windows inside the image a row of the kernel at once, for the others each column."""
        kernel = (1, self.kernel[1]) if self.by_rows else self.kernel
        rows, columns = axes(
            self.size,
            (self.height, self.out_size[1]),
            kernel,
            self.stride,
            self.padding,
            self.dilation,
        )
        adjacent = columns.dilation == 1 and not self.tap_major
        low, high = columns.inside if adjacent else (0, 0)
        result = []
        for i in range(rows.kernel):
            out_rows, into_rows = rows.met(i)
            places = [(0, columns.kernel, *columns.met(0, low, high))]
            for j, (first, last) in itertools.product(
                range(columns.kernel), ((0, low), (high, columns.out))
            ):
                places.append((j, 1, *columns.met(j, first, last)))
            for j, width, out_columns, into_columns in places:
                start = (i * columns.kernel + j) * self.channels
                result.append(
                    Run(
                        (out_rows, out_columns),
                        slice(start, start + width * self.channels),
                        (into_rows, into_columns),
                        width,
                    )
                )
        return [run for run in result if all(part.start < part.stop for part in run.out)]

    @property
    def turns(self) -> Pair:
        """How many windows apart two have to lie, along the rows and columns, for sharing no input."""
        kernel = (1, self.kernel[1]) if self.by_rows else self.kernel
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, self.dilation, strict=True)]
        rows, columns = (-(-r // s) for r, s in zip(reach, self.stride, strict=True))
        return rows, columns

    @functools.cached_property
    def row_offsets(self) -> list[int]:
        """The row of the expansion where each product begins."""
        return [i * self.dilation[0] for i in range(self.kernel[0])] if self.by_rows else [0]

    @property
    def depth(self) -> int:
        """Elements side by side in the expansion: what one product sums over."""
        return self.kernel[1] * self.channels * (1 if self.by_rows else self.kernel[0])

    def least_images(self, rows: int) -> int:
        """How many images, of so many rows each, a product needs: before it begins, BLAS lays out the kernel's matrix
        anew, which large ones are worth for many windows alone."""
        if self.depth * self.out_channels < _LARGE_KERNEL:
            return 1
        return -(-_MANY_WINDOWS // (rows * self.out_size[1]))

    @property
    def bytes_per_image(self) -> int:
        """Memory of an image's expansion."""
        return 4 * self.height * self.out_size[1] * self.depth

    def kernel_rows(self, weight: Array) -> list[Array]:
        """The weight kH×kW×I×O as the matrix of each product."""
        return list(weight.reshape(len(self.row_offsets), self.depth, self.out_channels))


class Expansion:
    """An expansion of so many images in `memory`, a vector of as many elements as it needs."""

    def __init__(self, geometry: Geometry, images: int, memory: Array) -> None:
        self.geometry = geometry
        shape = (geometry.height, images, geometry.out_size[1], geometry.depth)
        self.memory = memory[: math.prod(shape)]
        if geometry.tap_major:
            lines = self.memory.reshape(shape[3], -1)
            self.array = lines.reshape(shape[3], *shape[:3]).transpose(1, 2, 3, 0)
            self.windows = [lines]
        else:
            self.array = self.memory.reshape(shape)
            self.windows = [
                self.array[start : start + geometry.out_size[0]].reshape(-1, shape[3])
                for start in geometry.row_offsets
            ]

    @staticmethod
    def elements(geometry: Geometry, images: int) -> int:
        """The size of the vector it needs."""
        return images * geometry.bytes_per_image // 4

    def fill(self, x: Array) -> Calls:
        """Writes the expansion of `x` (H×n×W×C). What meets padding is left as it is: zero, once for all."""
        for run in self.geometry.runs:
            (rows, columns), (from_rows, from_columns) = run.out, run.into
            source = _windows(x[from_rows, :, from_columns], run.width)
            yield np.copyto, self.array[rows, :, columns, run.depth], source

    def clear_tail(self) -> Calls:
        """Zeroes the rows that the first product over the windows does not write."""
        tail = self.array[self.geometry.out_size[0] :]
        if tail.size:
            yield tail.fill, 0

    def fold(self, dx: Array, scratch: Array) -> Calls:
        """The reverse of `fill` for gradients: adds up all places where an input element was written.

        Windows that do not overlap are copied to their places, and whole images added: NumPy copies arrays with
        gaps as fast as any, but adds them at half the speed. `scratch` is of the shape of `dx`.
        """
        turns_r, turns_c = self.geometry.turns
        for i, j in itertools.product(range(turns_r), range(turns_c)):
            image = dx if (i, j) == (0, 0) else scratch
            met = np.zeros((image.shape[0], 1, image.shape[2], 1), np.float32)
            copies = []
            for run in self.geometry.runs:
                (rows, columns), (into_rows, into_columns) = run.out, run.into
                r = slice((i - rows.start) % turns_r, None, turns_r)
                c = slice((j - columns.start) % turns_c, None, turns_c)
                part = self.array[rows, :, columns, run.depth][r, :, c]
                target, marked = (
                    _windows(array[into_rows, :, into_columns][r, :, c], run.width)
                    for array in (image, met)
                )
                marked.fill(1)
                copies.append((np.copyto, target, part))
            yield from _clear(image, met[:, 0, :, 0] == 0)
            yield from copies
            if image is scratch:
                yield np.add, dx, scratch, dx


def _clear(image: Array, where: npt.NDArray[np.bool_]) -> Calls:
    """Zeroes at least the pixels (rows × columns) that are marked: columns if they are whole, or all."""
    columns = where.all(axis=0)
    if (where != columns).any():
        yield image.fill, 0
        return
    bounds = np.flatnonzero(np.diff(columns, prepend=False, append=False))
    for start, stop in bounds.reshape(-1, 2).tolist():
        yield np.copyto, image[:, :, start:stop], np.float32(0)


def _windows(x: Array, width: int) -> Array:
    """For each element of H×n×W×C the `width` elements from there to the right, side by side."""
    if width == 1:
        return x
    *shape, channels = x.shape
    return as_strided(x, (*shape, width * channels), x.strides)
