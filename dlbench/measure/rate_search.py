"""The largest rate of queries at which a percentile of their latencies stays within a bound: a bisection, whatever it
is that tries a rate."""

from __future__ import annotations

from collections.abc import Callable

from dlbench.measure.queueing import Served
from dlbench.record.facts import RateTrial
from dlbench.spec.scenarios import percentile

TRIALS = 7
"""Rates that are tried in a process: the last two lie closer together than 1 % of what it answers back to back."""


def allowed_late(count: int, percent: int) -> int:
    """How many of so many queries may take longer than the bound, the percentile being within it all the same."""
    return count - 1 - count * percent // 100


def judged(rate_per_s: float, served: Served, percent: int, bound_ns: int) -> RateTrial:
    """What a trial came to. One that was given up has no percentile: it was beyond the bound already."""
    count = len(served.latencies_ns)
    value_ns = None if served.unserved else percentile(sorted(served.latencies_ns), percent)
    within = value_ns is not None and value_ns <= bound_ns
    return RateTrial(rate_per_s, count, value_ns, within)


def largest_rate(
    trial: Callable[[float], RateTrial], least_per_s: float, most_per_s: float
) -> tuple[RateTrial, ...]:
    """Tries rates: each time the middle between the largest that was within the bound and the least that was not.

    Parameters
    ----------
    trial : tries a rate (queries a second).
    least_per_s : the least that can be judged; it is tried last where no other was within the bound.
    most_per_s : the most that there is to find; not tried itself.

    Returns
    -------
    All that were tried, in order.
    """
    low, high = least_per_s, most_per_s
    tried: list[RateTrial] = []
    while len(tried) < TRIALS - 1:
        found = trial((low + high) / 2)
        tried.append(found)
        if found.within:
            low = found.rate_per_s
        else:
            high = found.rate_per_s
    last = (low + high) / 2 if any(each.within for each in tried) else least_per_s
    tried.append(trial(last))
    return tuple(tried)
