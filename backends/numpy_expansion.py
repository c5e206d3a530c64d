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
import math

import numpy as np
import numpy.typing as npt

from .numpy_blas import Matrix
from .numpy_windows import Pair, Tap, taps

Array = npt.NDArray[np.float32]

_FEW_COLUMNS = 16
"""Below this, a row of the kernel is too short for matrix products of its own."""
_FEW_CHANNELS = 4
"""Below this, copying pixel by pixel is slow, and each kernel position's image is kept apart."""


@dataclasses.dataclass(frozen=True)
class Geometry:
    """The sizes of a convolution; pairs are (rows, columns)."""

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
        return self.channels < _FEW_CHANNELS and not self.by_rows

    @functools.cached_property
    def height(self) -> int:
        """Rows of the expansion."""
        return self.size[0] + 2 * self.padding[0] if self.by_rows else self.out_size[0]

    @functools.cached_property
    def taps(self) -> list[Tap]:
        """What is written side by side, in this order."""
        kernel = (1, self.kernel[1]) if self.by_rows else self.kernel
        out_size = (self.height, self.out_size[1])
        return taps(self.size, out_size, kernel, self.stride, self.padding, self.dilation)

    @functools.cached_property
    def row_offsets(self) -> list[int]:
        """The row of the expansion where each product begins."""
        return [i * self.dilation[0] for i in range(self.kernel[0])] if self.by_rows else [0]

    @property
    def depth(self) -> int:
        """Elements side by side in the expansion: what one product sums over."""
        return len(self.taps) * self.channels

    @property
    def bytes_per_image(self) -> int:
        """Memory of an image's expansion."""
        return 4 * self.height * self.out_size[1] * self.depth

    def kernel_rows(self, weight: Array) -> list[Matrix]:
        """The weight kH×kW×I×O as the matrix of each product."""
        parts = weight.reshape(len(self.row_offsets), self.depth, self.out_channels)
        return [Matrix(part) for part in parts]


class Expansion:
    """An expansion of so many images in `memory`, a vector of as many elements as it needs."""

    def __init__(self, geometry: Geometry, images: int, memory: Array) -> None:
        self.geometry = geometry
        shape = (geometry.height, images, geometry.out_size[1], geometry.depth)
        self.memory = memory[: math.prod(shape)]
        if geometry.tap_major:
            lines = self.memory.reshape(shape[3], -1)
            self.array = lines.reshape(shape[3], *shape[:3]).transpose(1, 2, 3, 0)
            self.windows = [Matrix(lines)]
        else:
            self.array = self.memory.reshape(shape)
            self.windows = [
                Matrix(self.array[start : start + geometry.out_size[0]].reshape(-1, shape[3]))
                for start in geometry.row_offsets
            ]

        # The position that meets most of the input begins: it writes, the others add.
        sizes = [math.prod(s.stop - s.start for s in tap.into) for tap in geometry.taps]
        self._fold_order = sorted(range(len(sizes)), key=lambda k: -sizes[k])

    @staticmethod
    def elements(geometry: Geometry, images: int) -> int:
        """The size of the vector it needs."""
        return images * geometry.bytes_per_image // 4

    def fill(self, x: Array) -> None:
        """Writes the expansion of `x` (H×n×W×C). What meets padding is left as it is: zero, once for all."""
        channels = self.geometry.channels
        for k, tap in enumerate(self.geometry.taps):
            (rows, columns), (from_rows, from_columns) = tap.out, tap.into
            self.array[rows, :, columns, k * channels : (k + 1) * channels] = x[
                from_rows, :, from_columns
            ]

    def clear_tail(self) -> None:
        """Zeroes the rows that the first product over the windows does not write."""
        self.array[self.geometry.out_size[0] :] = 0

    def fold(self, dx: Array) -> None:
        """The reverse of `fill` for gradients: adds up all places where an input element was written."""
        channels = self.geometry.channels
        first, *others = self._fold_order
        for k in (first, *others):
            tap = self.geometry.taps[k]
            (rows, columns), (into_rows, into_columns) = tap.out, tap.into
            part = self.array[rows, :, columns, k * channels : (k + 1) * channels]
            target = dx[into_rows, :, into_columns]
            if k != first:
                np.add(target, part, out=target)
                continue
            if into_rows.step > 1 or into_columns.step > 1:
                dx.fill(0)
            else:
                for border in (slice(0, into_rows.start), slice(into_rows.stop, None)):
                    dx[border] = 0
                for border in (slice(0, into_columns.start), slice(into_columns.stop, None)):
                    dx[:, :, border] = 0
            target[...] = part
