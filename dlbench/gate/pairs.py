"""Pairs of fresh processes: in which order they run, and the one number that a pair comes to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from dlbench.analyse.statistics import median
from dlbench.record.schema import Process

Arm = Literal["base", "new"]
ARMS: tuple[Arm, Arm] = ("base", "new")

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


def difference(base: Process, new: Process) -> float:
    """ln(new / base) of two processes: above 0 where the new one is slower.

    It is the median over their blocks, each summarised and held against the one that lay beside it; of processes that
    took no turns, that of the two summaries. Steps that are slow for being the first of a turn count in neither or in
    both.

    Raises
    ------
    ValueError : as for `summary`.
    """
    sides = base.blocks_ns, new.blocks_ns
    if base.reentry_steps != new.reentry_steps:
        sides = _whole_blocks(base), _whole_blocks(new)
    blocks = [pair for pair in zip(*sides, strict=False) if all(pair)]
    if base.alone or new.alone or not (base.block_steps and new.block_steps and blocks):
        blocks = [(base.timings_ns, new.timings_ns)]
    return median([math.log(summary(its) / summary(own)) for own, its in blocks])


def _whole_blocks(process: Process) -> tuple[tuple[int, ...], ...]:
    """The timings of each block, with the first steps that were kept apart."""
    first = process.reentry_steps
    return tuple(
        (*process.reentry_ns[first * place : first * (place + 1)], *block)
        for place, block in enumerate(process.blocks_ns)
    )
