"""What a comparison with the oracle found, in the form in which it travels and is shown."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True)
class Check:
    """One array held against the oracle; the figures are those of its worst element.

    Attributes
    ----------
    name : what was compared, ``gradient of conv2.bias, step 3``.
    where : the index of the worst element, ``[3, 0]``; empty for a scalar.
    got, expected : its two values; None when not finite.
    error, tolerance : |got − expected| and what rounding may cause there.
    scale : the size of the terms that were summed, so that error / scale is the relative error; 0 for a
        figure that is not subject to rounding alone (a fraction, a movement).
    """

    name: str
    where: str
    got: float | None
    expected: float | None
    error: float | None
    tolerance: float
    scale: float
    passed: bool

    def sentence(self) -> str:
        """The failure in words: ``gradient of conv2.bias[3] is 0, should be 0.0132 (tolerance 2e-05)``."""
        got = "not a number" if self.got is None else f"{self.got:.6g}"
        expected = "?" if self.expected is None else f"{self.expected:.6g}"
        return f"{self.name}{self.where} is {got}, should be {expected} (tolerance {self.tolerance:.2g})"


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
        problem = f"{name} has shape {have.shape} instead of {want.shape};"
        return Check(problem, "", None, None, None, 0.0, scale, False)
    error = np.abs(have - want)
    allowed = np.broadcast_to(np.asarray(tolerance, np.float64), want.shape)
    excess = np.where(
        np.isfinite(error), error / np.maximum(allowed, np.finfo(np.float64).tiny), np.inf
    )
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


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
