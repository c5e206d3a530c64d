"""Which of several rows is the fastest, with regard to how many there are.

The smallest of many medians is small by luck as well, and its ordinary interval does not know of the others. So
every row is held against every other with intervals that hold together (multiple comparisons with the best: Hsu
1984, "Constrained simultaneous confidence intervals for multiple comparisons with the best"). Of k rows the truly
fastest one is part of k - 1 comparisons, so at 1 - 0.05 / (k - 1) each (Bonferroni) it is lost from the contenders
with a probability of at most 5 %.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from dlbench.analyse.statistics import CONFIDENCE, Estimate, Timed, median, ratio


@dataclasses.dataclass(frozen=True)
class Ranking:
    """Rows by speed.

    Attributes
    ----------
    order : their indices, that with the smallest median first.
    contenders : those that no other is significantly faster than, in that order. One: it is the fastest.
    """

    order: tuple[int, ...]
    contenders: tuple[int, ...]


def simultaneous(comparisons: int) -> float:
    """The confidence of each of so many intervals that are to hold together at `CONFIDENCE` (Bonferroni)."""
    return 1 - (1 - CONFIDENCE) / max(comparisons, 1)


def rank(rows: Sequence[Mapping[Any, Timed]]) -> Ranking:
    """Ranks rows by their processes by round.

    Raises
    ------
    ValueError : a row without a process.
    """
    order = sorted(range(len(rows)), key=lambda i: median([p.median_s for p in rows[i].values()]))
    confidence = simultaneous(len(order) - 1)

    def beaten(row: int) -> bool:
        others = (other for other in order if other != row)
        return any(_exceeds_1(ratio(rows[row], rows[other], confidence)) for other in others)

    return Ranking(tuple(order), tuple(row for row in order if not beaten(row)))


def _exceeds_1(estimate: Estimate) -> bool:
    return estimate.interval is not None and estimate.interval.low > 1
