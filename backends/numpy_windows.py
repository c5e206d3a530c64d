"""Where the windows of convolutions and pools lie: one pair of slices for each kernel position.

Positions that would meet padding are left out of the slices, so nobody ever copies an image only
to pad it.
"""

from __future__ import annotations

import dataclasses
import itertools

Pair = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Tap:
    """One kernel position: the output elements `out` meet the input elements `into`, one to one.

    Both are (rows, columns) slices; `everywhere` says whether all outputs are met.
    """

    out: tuple[slice, slice]
    into: tuple[slice, slice]
    everywhere: bool


def taps(
    size: Pair, out_size: Pair, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair = (1, 1)
) -> list[Tap]:
    """The kernel positions in row-major order, for input and output sizes (rows, columns)."""
    axes = []
    for a in range(2):
        ranges = []
        for k in range(kernel[a]):
            offset = k * dilation[a] - padding[a]
            low = max(0, -(offset // stride[a]))
            high = min(out_size[a], (size[a] - 1 - offset) // stride[a] + 1)
            high = max(high, low)
            begin = low * stride[a] + offset
            into = slice(
                begin,
                begin + max(0, (high - low - 1) * stride[a] + 1) if high > low else begin,
                stride[a],
            )
            ranges.append((slice(low, high), into, (low, high) == (0, out_size[a])))
        axes.append(ranges)
    return [
        Tap((rows[0], columns[0]), (rows[1], columns[1]), rows[2] and columns[2])
        for rows, columns in itertools.product(*axes)
    ]
