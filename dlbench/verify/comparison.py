"""One array held against what the oracle says it should be."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.record.facts import Check

_PIECE = 2**14
"""Values that are compared at a time."""

Piece = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.float64]]
"""What some rows of an array are, what they should be, and how far from it they may be."""


def compare(
    name: str,
    got: npt.ArrayLike,
    expected: npt.ArrayLike,
    tolerance: npt.ArrayLike,
    scale: float,
) -> Check:
    """Holds an array against what it should be, within `tolerance` (broadcast), element by element."""
    want, have = np.asarray(expected), np.asarray(got)
    if have.shape != want.shape:
        return statement(f"{name} has shape {have.shape} instead of {want.shape}", False)
    allowed = np.broadcast_to(np.asarray(tolerance, np.float64), want.shape)
    return compare_pieces(
        name, want.shape, lambda rows: (have[rows], want[rows], allowed[rows]), scale
    )


def compare_pieces(
    name: str, shape: tuple[int, ...], piece: Callable[[Any], Piece], scale: float
) -> Check:
    """The same of an array of this shape that is made on the way: `piece` gives what some rows of it are."""
    largest, at, of = -1.0, 0, (math.nan, math.nan, 0.0)
    for rows, before in _pieces(shape):
        have, want, allowed = piece(rows)
        excess = _excess(have, want, allowed)
        first = int(np.argmax(excess))
        if excess.flat[first] > largest:
            largest, at = float(excess.flat[first]), before + first
            of = float(have.flat[first]), float(want.flat[first]), float(allowed.flat[first])
    is_, should_be, tolerance = of
    worst = np.unravel_index(at, shape) if math.prod(shape) else ()
    return Check(
        name=name,
        where=f"[{', '.join(str(int(i)) for i in worst)}]" if shape else "",
        got=_finite(is_),
        expected=_finite(should_be),
        error=_finite(abs(is_ - should_be)),
        tolerance=tolerance,
        scale=scale,
        passed=largest <= 1.0,
    )


def _excess(
    have: npt.NDArray[Any], want: npt.NDArray[Any], allowed: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """How many times too large each error is; infinitely many where it is no number."""
    error = np.asarray(np.subtract(have, want, dtype=np.float64))
    np.abs(error, out=error)
    # an error where none is allowed is infinitely many times too large
    with np.errstate(over="ignore"):
        times = np.asarray(error / np.maximum(allowed, np.finfo(np.float64).tiny))
    times[~np.isfinite(error)] = np.inf
    return times


def _pieces(shape: tuple[int, ...]) -> Iterator[tuple[Any, int]]:
    """Rows of an array that are few enough for a core's own cache, and how many values there are before them."""
    if math.prod(shape) <= _PIECE:
        if math.prod(shape):
            yield ..., 0
        return
    row = math.prod(shape[1:])
    step = max(1, _PIECE // row)
    for first in range(0, shape[0], step):
        yield slice(first, first + step), first * row


def statement(what: str, passed: bool) -> Check:
    """A check of something that no number tells; `what` was found."""
    return Check(what, "", None, None, None, 0.0, 0.0, passed)


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
