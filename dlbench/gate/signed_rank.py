"""Wilcoxon's signed-rank test, exact with ties as well, and the estimate and bounds that go with it.

The differences of a few pairs of processes have heavy tails and no known shape. The test assumes
only that without an effect each difference is as likely positive as negative at its size, and its
p-value is computed over all 2ⁿ signs (Wilcoxon 1945, "Individual comparisons by ranking methods").
SciPy's exact distribution leaves ties out; with ties, which whole microseconds cause, it would
permute for seconds. The Hodges–Lehmann estimate and its bounds are the test turned around (Hodges
and Lehmann 1963, "Estimates of location based on rank tests"; Bauer 1972, "Constructing confidence
sets using rank statistics").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def p_greater(differences: Sequence[float] | Array) -> float:
    """The chance of a rank sum this large or larger when signs are drawn by coin.

    Parameters
    ----------
    differences : one per pair, not NaN; those of exactly 0 say nothing and are left out.

    Returns
    -------
    The exact one-sided p-value for "greater than 0"; 1 without differences.
    """
    values = np.asarray(differences, np.float64)
    values = values[values != 0]
    # twice the midranks, which are whole: of a group of ties, the sum of its first rank and its last
    _, group, sizes = np.unique(np.abs(values), return_inverse=True, return_counts=True)
    doubled = (2 * np.cumsum(sizes) - sizes + 1)[group]
    reached = int(doubled[values > 0].sum())
    return float(_tail(tuple(sorted(doubled.tolist())))[reached])


def walsh_averages(differences: Sequence[float] | Array) -> Array:
    """The averages of all n(n + 1)/2 pairs of differences, each with itself too, in ascending
    order."""
    values = np.asarray(differences, np.float64)
    upper, lower = _triangle(len(values))
    averages: Array = np.sort((values[upper] + values[lower]) / 2)
    return averages


def hodges_lehmann(averages: Array) -> float:
    """The median of the Walsh averages: an estimate of the shift that outliers hardly move."""
    # they are in order
    return float(averages[(len(averages) - 1) // 2] + averages[len(averages) // 2]) / 2


def upper_bound(averages: Array, level: float) -> float:
    """What the shift is below but for an error of at most `level`; infinite where the pairs are too
    few for that."""
    left_out = _left_out(_pairs(averages), level)
    return math.inf if left_out < 0 else float(averages[len(averages) - 1 - left_out])


def lower_bound(averages: Array, level: float) -> float:
    """What the shift is above but for an error of at most `level`."""
    left_out = _left_out(_pairs(averages), level)
    return -math.inf if left_out < 0 else float(averages[left_out])


@lru_cache(maxsize=256)
def _tail(doubled_ranks: tuple[int, ...]) -> Array:
    """P(rank sum ≥ s) for every doubled sum s, each rank counting with probability one half."""
    chances = np.zeros(sum(doubled_ranks) + 1)
    chances[0] = 1.0
    for rank in doubled_ranks:
        with_rank = np.zeros_like(chances)
        with_rank[rank:] = chances[: len(chances) - rank]
        chances = (chances + with_rank) / 2
    return np.minimum(np.cumsum(chances[::-1])[::-1], 1.0)


@lru_cache(maxsize=256)
def _left_out(pairs: int, level: float) -> int:
    """The largest rank sum k with P(rank sum ≤ k) ≤ level; −1 where there is none."""
    tail = _tail(tuple(range(2, 2 * pairs + 1, 2)))[::2]
    # the distribution is symmetric, so its lower tail is the upper one reversed
    return int(np.searchsorted(tail[::-1], level, side="right")) - 1


@lru_cache(maxsize=256)
def _triangle(pairs: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    rows, columns = np.triu_indices(pairs)
    return rows, columns


def _pairs(averages: Array) -> int:
    return (math.isqrt(8 * len(averages) + 1) - 1) // 2
