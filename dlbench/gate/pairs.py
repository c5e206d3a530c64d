"""Pairs of fresh processes: in which order they run, and the one number that a pair comes to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

Arm = Literal["base", "new"]

QUANTILE = 0.25
"""Share of a process' timings below its summary. A mean or median takes on what else runs on the
machine, and the minimum hides a slowdown that some steps escape."""


def order(number: int) -> tuple[Arm, Arm]:
    """Which arm of the pair with this number (from 0) runs first: ABBA, so that a machine that
    slows down or speeds up steadily counts once for and once against."""
    return ("base", "new") if number % 2 == 0 else ("new", "base")


def summary(timings: Sequence[float] | npt.NDArray[np.float64]) -> float:
    """What a process counts with: the 25 % quantile of its timings, in their unit.

    Raises
    ------
    ValueError : no timings, or a quantile that is not a positive number.
    """
    value = float(np.quantile(np.asarray(timings, np.float64), QUANTILE)) if len(timings) else 0.0
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"a process needs timings above 0, not {list(timings)[:5]}")
    return value


def difference(base: float, new: float) -> float:
    """ln(new / base) of two process summaries: above 0 where the new one is slower."""
    return math.log(new / base)
