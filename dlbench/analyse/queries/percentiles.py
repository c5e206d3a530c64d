"""Percentiles of queries: what so many per cent of them were quicker than, and how well that is known.

The percentile is that of all queries of all processes together, by the rule of MLPerf's load generator
(`dlbench.spec.scenarios.percentile`). Queries of one process are no independent ones: what a process is given at its
start (where its memory lies, how its threads are placed) all of them share. So its interval has two parts and is as
wide as the wider on either side:

- by the order of the queries (`ranks`), of which as many count as would be independent ones (`effective`);
- over processes, of the percentile of each by itself (`dlbench.analyse.statistics.case_estimate`).

Where the queries that count are too few, a percentile is not told: then it is a matter of which process, and there are
not enough of them. The middle is told all the same, with what processes say.
"""

from __future__ import annotations

import dataclasses
import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import chain

from scipy.special import bdtr, bdtrik

from dlbench.analyse.statistics import CONFIDENCE, Interval, case_estimate, median
from dlbench.spec.scenarios import PERCENTS, least_queries, percentile

_TAIL = (1 - CONFIDENCE) / 2
_MIDDLE = 50
UNANSWERED_NS = 2**62
"""In the place of the latency of a query that was given up: longer than all others."""


@dataclasses.dataclass(frozen=True)
class Percentile:
    """One of them.

    Attributes
    ----------
    percent : which.
    value_s : what it is (s); None where the queries are too few, or too few of them were answered.
    interval : where it lies (s); None without a value.
    reason : why there is no value; empty where there is one.
    """

    percent: int
    value_s: float | None = None
    interval: Interval | None = None
    reason: str = ""


def percentiles(
    latencies_ns: Mapping[str, Sequence[Sequence[int]]], percents: Sequence[int] = PERCENTS
) -> tuple[Percentile, ...]:
    """The percentiles of a row.

    Parameters
    ----------
    latencies_ns : of each machine, by a word that tells it, and there of each process, how long its queries took (ns).
    """
    by_node = [[sorted(each) for each in own if len(each)] for own in latencies_ns.values()]
    # machines differ by more than processes do: where there are several, each is one
    units = by_node[0] if len(by_node) == 1 else [sorted(chain(*own)) for own in by_node]
    pooled = sorted(chain(*units))

    def own_s(percent: int) -> list[float]:
        own = [[percentile(each, percent) * 1e-9 for each in some] for some in by_node if some]
        return own[0] if len(own) == 1 else [median(some) for some in own]

    return tuple(
        _percentile(pooled, units, own_s(percent) if pooled else (), percent)
        for percent in percents
    )


def ranks(count: int, percent: int, tail: float = _TAIL) -> tuple[int, int] | None:
    """Between which of `count` sorted queries (counted from 1) a percentile lies, by their order alone, with at most
    `tail` left on either side.

    The number of queries below the true percentile is binomial, whatever the distribution of their times, if they are
    independent. So the true percentile lies between the l-th and the u-th with probability P(l ≤ B < u), which is at
    least 1 − 2 · `tail` (Hahn and Meeker 1991, "Statistical Intervals", section 5.2; David and Nagaraja 2003, "Order
    Statistics", section 7.1).

    Returns
    -------
    None where not even the least and the greatest are far enough apart: with fewer queries than `least_queries`.
    """
    if count < least_queries(percent, tail):
        return None
    share = percent / 100
    low = max(1, math.floor(float(bdtrik(tail, count, share))))
    while float(bdtr(low, count, share)) <= tail:
        low += 1
    while low > 1 and float(bdtr(low - 1, count, share)) > tail:
        low -= 1
    high = min(count, math.ceil(float(bdtrik(1 - tail, count, share))) + 1)
    while high > 1 and float(bdtr(high - 2, count, share)) >= 1 - tail:
        high -= 1
    while high < count and float(bdtr(high - 1, count, share)) < 1 - tail:
        high += 1
    return low, high


def effective(processes: Sequence[Sequence[int]], value: int, percent: int) -> int:
    """How many independent queries tell as much about a percentile as these do.

    The share of queries up to `value` differs from process to process. The number of queries is divided by how many
    times the variance of that share is what it would be of independent ones, where it is more: the design effect of
    sampling in clusters (Woodruff 1952, "Confidence intervals for medians and other position measures"; Korn and
    Graubard 1998, "Confidence intervals for proportions with small expected number of positive counts estimated from
    survey data").

    Parameters
    ----------
    processes : how long the queries of each took.
    value : the percentile of all together.
    """
    count, clusters = sum(map(len, processes)), len(processes)
    if clusters < 2:
        return count
    share = percent / 100
    # of those that took just as long, half
    below = [(bisect_left(each, value) + bisect_right(each, value)) / 2 for each in processes]
    whole = sum(below) / count
    apart = (own - whole * len(each) for own, each in zip(below, processes, strict=True))
    between = clusters / (clusters - 1) * sum(each**2 for each in apart) / count
    effect = between / (share * (1 - share))
    return int(count / max(effect, 1.0))


def _percentile(
    pooled: Sequence[int],
    processes: Sequence[Sequence[int]],
    own_s: Sequence[float],
    percent: int,
) -> Percentile:
    count, least = len(pooled), least_queries(percent)
    if count < least:
        reason = f"p{percent} takes {least:,} queries, there are {count:,}"
        return Percentile(percent, reason=reason)
    value = percentile(pooled, percent)
    counted = effective(processes, value, percent)
    if counted < least and percent != _MIDDLE:
        reason = (
            f"p{percent} takes {least:,} queries: {count:,} of processes that differ count as {counted:,},"
            " more rounds help"
        )
        return Percentile(percent, reason=reason)
    if own_s and max(own_s) >= UNANSWERED_NS * 1e-9:
        value = UNANSWERED_NS
    low, high = ranks(max(counted, least), percent) or (1, least)
    widened = count / max(counted, least)
    lowest = pooled[max(0, math.floor((low - 1) * widened))]
    highest = pooled[min(count, math.ceil(high * widened)) - 1]
    if max(value, highest) >= UNANSWERED_NS:
        lost = count - bisect_left(pooled, UNANSWERED_NS)
        reason = (
            f"p{percent} lies among {lost:,} of {count:,} queries that were not answered in time"
        )
        return Percentile(percent, reason=reason)
    interval = Interval(lowest * 1e-9, highest * 1e-9).including(value * 1e-9)
    of_processes = case_estimate(own_s).interval if min(own_s) > 0 else None
    if of_processes is not None:
        interval = interval.including(of_processes.low).including(of_processes.high)
    return Percentile(percent, value * 1e-9, interval)
