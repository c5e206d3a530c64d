"""Windows over images as matrix products: each window is a column.

The products are of a few samples at a time, or of a few rows of one, so that columns are enough for a product and not
more than a cache holds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from dlbench.oracle.rounding import Array

_COLUMNS = 256
"""Of fewer a product spends its time on reading the matrix."""
_VALUES = 2**20
"""What the columns that are made at a time may hold, or those of a single row of windows if these hold more."""

Pair = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Unrolled:
    """A matrix for each group (G×R×K), which multiplies the windows of its part of the channels.

    Attributes
    ----------
    matrix : a row for each of what becomes of a window; a column for each channel and place in the kernel.
    kernel, stride, dilation : of the windows.
    edges : zeros before and behind each image's rows, and its columns.
    positions : rows and columns of windows.
    """

    matrix: Array
    kernel: Pair
    edges: tuple[Pair, Pair]
    positions: Pair
    stride: Pair
    dilation: Pair

    def product(self, images: Array) -> Array:
        """The matrix times each window of `images` (N×C×H×W): N×(G·R)×H'×W'."""
        groups, rows, _ = self.matrix.shape
        result = np.empty((len(images), groups * rows, *self.positions))
        for samples, lines, columns in self._unrolled(images):
            found = (self.matrix @ columns).reshape(groups * rows, -1, *self._piece(lines))
            result[samples, :, lines] = found.swapaxes(0, 1)
        return result

    def outer(self, values: Array, images: Array) -> Array:
        """The sum over all windows of `values` (N×(G·R)×H'×W') times what each sees: the gradient of the matrix."""
        total = np.zeros_like(self.matrix)
        for samples, lines, columns in self._unrolled(images):
            total += self._rows(values[samples, :, lines]) @ columns.swapaxes(1, 2)
        return total

    def transposed(self, values: Array, shape: Sequence[int]) -> Array:
        """Of `values` (N×(G·R)×H'×W') each times its row of the matrix, added up where the windows lie in images
        N×C×H×W; `shape` is C×H×W."""
        channels, height, width = shape
        (top, bottom), (left, right) = self.edges
        whole = np.zeros((len(values), channels, top + height + bottom, left + width + right))
        turned = self.matrix.swapaxes(1, 2)
        for samples, lines in self._pieces(len(values)):
            back = turned @ self._rows(values[samples, :, lines])
            parts = back.reshape(channels, *self.kernel, -1, *self._piece(lines))
            target = whole[samples].swapaxes(0, 1)
            for i, j, down, across in self._places(lines):
                target[:, :, down, across] += parts[:, i, j]
        return whole[:, :, top : top + height, left : left + width]

    def _unrolled(self, images: Array) -> Iterator[tuple[slice, slice, Array]]:
        """Which samples, which rows of windows, and these windows as columns: G×K×(n·H'·W')."""
        groups, _, depth = self.matrix.shape
        is_as_it_lies = self.kernel == self.stride == (1, 1) and not any(map(any, self.edges))
        before = None
        for samples, lines in self._pieces(len(images)):
            if is_as_it_lies:
                yield samples, lines, self._rows(images[samples, :, lines])
                continue
            if samples != before:
                padded, before = framed(images[samples].swapaxes(0, 1), self.edges), samples
            shape = (len(padded), *self.kernel, padded.shape[1], *self._piece(lines))
            columns = np.empty(shape)
            for i, j, down, across in self._places(lines):
                columns[:, i, j] = padded[:, :, down, across]
            yield samples, lines, columns.reshape(groups, depth, -1)

    def _rows(self, values: Array) -> Array:
        """n×(G·R)×H'×W' as a row for each channel of each group."""
        return values.swapaxes(0, 1).reshape(
            len(self.matrix), values.shape[1] // len(self.matrix), -1
        )

    def _piece(self, lines: slice) -> Pair:
        return lines.stop - lines.start, self.positions[1]

    def _pieces(self, samples: int) -> Iterator[tuple[slice, slice]]:
        """Samples, and rows of their windows, of which columns are made at a time."""
        height, width = self.positions
        taken = math.ceil(_COLUMNS / (height * width))
        depth = len(self.matrix) * self.matrix.shape[2]
        most = max(1, _VALUES // (depth * width)) if taken == 1 else height
        for first in range(0, samples, taken):
            for start in range(0, height, most):
                yield (
                    slice(first, min(first + taken, samples)),
                    slice(start, min(start + most, height)),
                )

    def _places(self, lines: slice) -> Iterator[tuple[int, int, slice, slice]]:
        """Each place in the kernel, and the rows and columns of the padded image that windows see there."""
        width = self.positions[1]
        for i, j in np.ndindex(*self.kernel):
            top = i * self.dilation[0] + lines.start * self.stride[0]
            left = j * self.dilation[1]
            end = top + (lines.stop - lines.start - 1) * self.stride[0] + 1
            down = slice(top, end, self.stride[0])
            yield i, j, down, slice(left, left + (width - 1) * self.stride[1] + 1, self.stride[1])


def framed(images: Array, edges: Sequence[Pair], fill: float = 0.0) -> Array:
    """`images` (N×C×H×W) with so many values before and behind their rows, and their columns: NumPy's own `pad` takes
    longer than all else that is done with a small image."""
    if not any(map(any, edges)):
        return images
    (top, bottom), (left, right) = edges
    height, width = images.shape[2:]
    shape = (*images.shape[:2], top + height + bottom, left + width + right)
    found = np.full(shape, fill)
    found[:, :, top : top + height, left : left + width] = images
    return found
