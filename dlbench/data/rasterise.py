"""Shapes drawn in integer arithmetic: the pen of the stand-in data sets.

Floating-point drawing would round differently from one processor to the next, and the stand-ins
must hold the same bits everywhere. A shape is kept as a table of distances to its strokes, so
that drawing it rotated, sheared and shifted is one table look-up per pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Polyline = Sequence[tuple[int, int]]

CELLS_PER_UNIT = 4
TABLE_SIZE = 256
DISTANCE_PER_UNIT = 8

_ONE = 1024
_POSITION_BITS = 6


@dataclass(frozen=True, eq=False)
class Placement:
    """Where and how each of n shapes is seen; every field is an integer array of shape (n,).

    A pixel at (x, y) from the image's centre, less the shift, sees the shape's point
    ``u = across_x * x + across_y * y + bend * y**2 / 16`` and ``v = down_x * x + down_y * y``,
    where 1024 stands for one unit of the shape per pixel.

    Attributes
    ----------
    across_x, across_y, down_x, down_y : the inverse map, in 1/1024 units per pixel, each within
        -2047 to 2047.
    bend : curvature, in 1/1024 units per 16 square pixels, within -512 to 512.
    shift_x, shift_y : position of the shape's origin, in half pixels right of and below the
        centre, within -16 to 16.
    """

    across_x: NDArray[np.int64]
    across_y: NDArray[np.int64]
    down_x: NDArray[np.int64]
    down_y: NDArray[np.int64]
    bend: NDArray[np.int64]
    shift_x: NDArray[np.int64]
    shift_y: NDArray[np.int64]


def distance_table(
    polylines: Sequence[Polyline],
    origin: tuple[int, int],
    *,
    size: int = TABLE_SIZE,
    cells_per_unit: int = CELLS_PER_UNIT,
) -> NDArray[np.uint8]:
    """Tabulate the distance to the nearest stroke around an origin.

    Parameters
    ----------
    polylines : each a list of (x, y) points in units, x to the right and y down; a list of one
        point is a dot.
    origin : the point, in units, at the table's centre.
    size : the table's height and width, in cells.
    cells_per_unit : 1, 2, 4 or 8.

    Returns
    -------
    uint8, size x size (row, column); the distance in eighths of a unit, rounded down, at most
    255.
    """
    ticks = np.arange(size, dtype=np.int64) - size // 2
    ticks *= DISTANCE_PER_UNIT // cells_per_unit
    x = ticks[None, :] + origin[0] * DISTANCE_PER_UNIT
    y = ticks[:, None] + origin[1] * DISTANCE_PER_UNIT
    nearest = np.full((size, size), np.iinfo(np.int64).max)
    for line in polylines:
        for start, end in zip(line, [*line[1:], line[-1]], strict=True):
            np.minimum(nearest, _squared_distance(x, y, start, end), out=nearest)
    squares = np.arange(1, 256, dtype=np.int64) ** 2
    # Counting the squares not above a value is its integer square root, capped at 255.
    return np.searchsorted(squares, nearest, side="right").astype(np.uint8)


def look_up(
    tables: NDArray[np.uint8], which: NDArray[np.int64], placement: Placement, side: int
) -> NDArray[np.uint8]:
    """Read each image's distances to its shape.

    Parameters
    ----------
    tables : uint8, K x 256 x 256, from `distance_table`.
    which : which table each image uses, shape (n,).
    placement : how each shape is seen.
    side : height and width of an image in pixels, at most 32.

    Returns
    -------
    uint8, n x side x side: distances in eighths of the shape's units.
    """
    half_pixels = 2 * np.arange(side, dtype=np.int64) - (side - 1)
    x = half_pixels[None, :] - placement.shift_x[:, None]
    y = half_pixels[None, :] - placement.shift_y[:, None]
    bent = placement.bend[:, None] * y * y // 32
    column = _positions(placement.across_x[:, None] * x, placement.across_y[:, None] * y + bent)
    row = _positions(placement.down_x[:, None] * x, placement.down_y[:, None] * y)
    index = row * np.int32(TABLE_SIZE) + column
    index += (which * TABLE_SIZE**2).astype(np.int32)[:, None, None]
    found: NDArray[np.uint8] = tables.reshape(-1)[index]
    return found


def ink(
    distances: NDArray[np.uint8], radius: NDArray[np.int64], level: NDArray[np.int64]
) -> NDArray[np.int16]:
    """Turn distances to brightness: full inside the stroke, fading over one unit at its edge.

    Parameters
    ----------
    distances : uint8, n x H x W, in eighths of a unit.
    radius : distance at which the ink has faded out, in eighths of a unit, shape (n,).
    level : brightness of full ink, 0 to 255, shape (n,).

    Returns
    -------
    int16, n x H x W, 0 to 255.
    """
    # int16 holds every intermediate: at most 255 * 32 in size, then at most 127 * 255.
    depth = radius.astype(np.int16)[:, None, None] - distances.astype(np.int16)
    depth *= np.int16(16)
    np.clip(depth, 0, 127, out=depth)
    depth *= level.astype(np.int16)[:, None, None]
    return depth // np.int16(127)


def _squared_distance(
    x: NDArray[np.int64], y: NDArray[np.int64], start: tuple[int, int], end: tuple[int, int]
) -> NDArray[np.int64]:
    """Square the distance of points (in eighths) to a segment (in units)."""
    from_x, from_y = (value * DISTANCE_PER_UNIT for value in start)
    to_x, to_y = (value * DISTANCE_PER_UNIT for value in end)
    step_x, step_y = to_x - from_x, to_y - from_y
    to_start = (x - from_x) ** 2 + (y - from_y) ** 2
    length_squared = step_x**2 + step_y**2
    if length_squared == 0:
        return to_start
    along = (x - from_x) * step_x + (y - from_y) * step_y
    aside = (x - from_x) * step_y - (y - from_y) * step_x
    to_end = (x - to_x) ** 2 + (y - to_y) ** 2
    beside = aside * aside // length_squared
    return np.where(along <= 0, to_start, np.where(along >= length_squared, to_end, beside))


def _positions(of_x: NDArray[np.int64], of_y: NDArray[np.int64]) -> NDArray[np.int32]:
    """Add a map's two parts over the pixel grid and turn them into table positions."""
    # From (1/1024 unit) x (half pixel) to 1/64 of a cell. The bounds of Placement keep each part
    # below 2**14, so that the sum fits the int16 that makes the per-pixel work fast.
    scale = 2 * _ONE // (CELLS_PER_UNIT << _POSITION_BITS)
    columns = np.clip(of_x // scale, -(2**14), 2**14 - 1).astype(np.int16)
    rows = np.clip(of_y // scale, -(2**14), 2**14 - 1).astype(np.int16)
    position = rows[:, :, None] + columns[:, None, :]
    position >>= np.int16(_POSITION_BITS)
    position += np.int16(TABLE_SIZE // 2)
    np.clip(position, 0, TABLE_SIZE - 1, out=position)
    return position.astype(np.int32)
