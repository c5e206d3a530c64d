"""Where the windows of convolutions and pools lie: which outputs meet which inputs, as slices.

Positions that would meet padding are left out of the slices, so nobody ever copies an image only
to pad it.
"""

from __future__ import annotations

import dataclasses
import itertools

Pair = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Axis:
    """The windows of one axis of an image: `out` of them, `stride` apart on an input of `size`. The first begins
    `padding` before it, and the last may reach beyond its end."""

    size: int
    out: int
    kernel: int
    stride: int
    padding: int
    dilation: int

    def met(self, position: int, first: int = 0, last: int | None = None) -> tuple[slice, slice]:
        """Of the windows from `first` to before `last`, those whose kernel position `position` lies inside the
        input, and what it lies on there. One to one; both may be empty."""
        offset = position * self.dilation - self.padding
        low = max(first, -(offset // self.stride))
        high = min(self.out if last is None else last, (self.size - 1 - offset) // self.stride + 1)
        if high <= low:
            return slice(low, low), slice(0, 0)
        begin = low * self.stride + offset
        return slice(low, high), slice(
            begin, begin + (high - low - 1) * self.stride + 1, self.stride
        )

    @property
    def tiles(self) -> bool:
        """Whether each element of the input lies in just one window."""
        same = self.stride == self.kernel and self.out * self.kernel == self.size
        return same and (self.dilation, self.padding) == (1, 0)

    @property
    def inside(self) -> tuple[int, int]:
        """The range of windows that lie inside the input as a whole."""
        reach = (self.kernel - 1) * self.dilation
        low = -(-self.padding // self.stride)
        high = (self.size - 1 - reach + self.padding) // self.stride + 1
        return min(low, self.out), max(min(low, self.out), min(high, self.out))


@dataclasses.dataclass(frozen=True)
class Tap:
    """One kernel position: the output elements `out` meet the input elements `into`, one to one.

    Both are (rows, columns) slices.
    """

    out: tuple[slice, slice]
    into: tuple[slice, slice]


def axes(
    size: Pair, out_size: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)
) -> tuple[Axis, Axis]:
    """Rows and columns, from the pairs that a layer is given by."""
    rows, columns = (
        Axis(size[a], out_size[a], kernel[a], stride[a], padding[a], dilation[a]) for a in range(2)
    )
    return rows, columns


def taps(rows: Axis, columns: Axis) -> list[Tap]:
    """The kernel positions in row-major order."""
    result = []
    for i, j in itertools.product(range(rows.kernel), range(columns.kernel)):
        (out_rows, into_rows), (out_columns, into_columns) = rows.met(i), columns.met(j)
        result.append(Tap((out_rows, out_columns), (into_rows, into_columns)))
    return result
