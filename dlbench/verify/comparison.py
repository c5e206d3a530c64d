"""One array held against what the oracle says it should be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.record.facts import Check


def compare(
    name: str,
    got: npt.ArrayLike,
    expected: npt.ArrayLike,
    tolerance: npt.ArrayLike,
    scale: float,
) -> Check:
    """Holds an array against what it should be, within `tolerance` (broadcast), element by element."""
    want = np.asarray(expected, np.float64)
    have = np.asarray(got, np.float64)
    if have.shape != want.shape:
        return statement(f"{name} has shape {have.shape} instead of {want.shape}", False)
    error = np.abs(have - want)
    allowed = np.broadcast_to(np.asarray(tolerance, np.float64), want.shape)
    # an error where none is allowed is infinitely many times too large
    with np.errstate(over="ignore"):
        times = error / np.maximum(allowed, np.finfo(np.float64).tiny)
    excess = np.where(np.isfinite(error), times, np.inf)
    worst = np.unravel_index(int(np.argmax(excess)), want.shape) if want.size else ()
    where = f"[{', '.join(str(int(i)) for i in worst)}]" if want.ndim else ""
    return Check(
        name=name,
        where=where,
        got=_finite(have[worst]),
        expected=_finite(want[worst]),
        error=_finite(error[worst]),
        tolerance=float(allowed[worst]),
        scale=scale,
        passed=bool(excess.max(initial=0.0) <= 1.0),
    )


def statement(what: str, passed: bool) -> Check:
    """A check of something that no number tells; `what` was found."""
    return Check(what, "", None, None, None, 0.0, 0.0, passed)


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
