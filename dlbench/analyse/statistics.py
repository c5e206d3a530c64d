"""From timings to estimates: what a case takes, and how much faster one is than another.

The unit of replication is a process. Timings inside one process are correlated, so a process counts
once, with the median of its timings, and intervals say how far fresh processes scatter (Kalibera
and Jones 2013, "Rigorous benchmarking in reasonable time": replicate at the highest level that
varies). Step times are positive and scatter by factors, so the arithmetic of intervals is done on
logarithms.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import bdtr, stdtrit

CONFIDENCE = 0.95
"""Share of intervals that are to cover the true value."""
LEAST_FOR_ORDER = 6
"""The fewest values whose range covers the median with at least `CONFIDENCE`."""


@dataclasses.dataclass(frozen=True)
class Interval:
    """Bounds of a two-sided interval at `CONFIDENCE`, in the unit of what it is about; `low` ≤
    `high`."""

    low: float
    high: float

    def including(self, point: float) -> Interval:
        """The interval, stretched to `point` where that lies outside."""
        return Interval(min(self.low, point), max(self.high, point))

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside."""
        return value < self.low or value > self.high


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A time in seconds or a ratio, with an interval over processes.

    Attributes
    ----------
    value : the point estimate.
    interval : None where there are too few processes to tell.
    processes : how many processes it rests on (of the smaller side, for a ratio).
    """

    value: float
    interval: Interval | None
    processes: int


def median(values: Sequence[float]) -> float:
    """The median. `numpy.median` gives the same, but takes longer over a few values than over a
    thousand, and a report needs very many medians of few.

    Raises
    ------
    ValueError : no values.
    """
    if not len(values):
        raise ValueError("no values have no median")
    ordered = np.sort(np.asarray(values, np.float64))
    half, odd = divmod(len(ordered), 2)
    return float(ordered[half]) if odd else float(ordered[half - 1] + ordered[half]) / 2


def process_summary(timings_ns: Sequence[int]) -> float:
    """The one figure a process counts with: the median of its steady timings (ns), in seconds.

    Raises
    ------
    ValueError : no timings.
    """
    return median(timings_ns) * 1e-9


def case_estimate(process_medians_s: Sequence[float]) -> Estimate:
    """The median of the process medians (s), with a 95 % interval over processes.

    Times of processes are skewed: a few are slowed down by something. From six processes on, the interval is
    therefore the one that rests on order alone: between two of the sorted medians, by the binomial distribution of
    how many lie below the median of all processes there could be, interpolated to 95 % as Hettmansperger and
    Sheather do (1986, "Confidence intervals based on interpolated order statistics"). Of six it is the whole
    range (96.9 %). Two to five are too few for that: there it is Student's t interval for the mean of the
    logarithms, taken back by exp, which holds when logarithms scatter normally (Student 1908, "The probable error
    of a mean"; Limpert, Stahel and Abbt 2001, "Log-normal distributions across the sciences"). It is stretched
    to the point estimate in the rare case that this lies outside. One process gives no interval.

    Raises
    ------
    ValueError : no process, or a median that is not a positive number.
    """
    logs = _logarithms(process_medians_s)
    value = median(process_medians_s)
    if len(logs) < 2:
        return Estimate(value, None, len(logs))
    interval = _t_interval(logs) if len(logs) < LEAST_FOR_ORDER else _order_interval(logs)
    return Estimate(value, interval.including(value), len(logs))


def ratio(numerator_s: Mapping[int, float], denominator_s: Mapping[int, float]) -> Estimate:
    """How many times as long the numerator takes, from process medians (s) by round.

    The point estimate is the ratio of the two medians. With the same rounds on both sides,
    processes of one round ran close together, so the interval is Student's t interval for the mean
    of the differences of logarithms by round, which drift of the machine does not widen; otherwise
    it is Welch's for the difference of two means of logarithms (Welch 1947, "The generalization of
    Student's problem when several different population variances are involved"). Either side with
    one process gives no interval.

    Raises
    ------
    ValueError : a side without a process, or a median that is not a positive number.
    """
    upper = dict(zip(numerator_s, _logarithms(list(numerator_s.values())), strict=True))
    lower = dict(zip(denominator_s, _logarithms(list(denominator_s.values())), strict=True))
    value = median(list(numerator_s.values())) / median(list(denominator_s.values()))
    processes = min(len(upper), len(lower))
    if processes < 2:
        return Estimate(value, None, processes)
    if upper.keys() == lower.keys():
        interval = _t_interval([upper[r] - lower[r] for r in upper])
    else:
        interval = _welch_interval(list(upper.values()), list(lower.values()))
    return Estimate(value, interval.including(value), processes)


def unpaired_ratio(numerator_s: Sequence[float], denominator_s: Sequence[float]) -> Estimate:
    """How many times as long the numerator takes, from process medians (s) of two different runs.

    Rounds of different runs have nothing to do with each other, so the interval is Welch's; see
    `ratio`.

    Raises
    ------
    ValueError : a side without a process, or a median that is not a positive number.
    """
    upper, lower = _logarithms(numerator_s), _logarithms(denominator_s)
    value = median(numerator_s) / median(denominator_s)
    processes = min(len(upper), len(lower))
    if processes < 2:
        return Estimate(value, None, processes)
    return Estimate(value, _welch_interval(upper, lower).including(value), processes)


def _logarithms(values: Sequence[float]) -> list[float]:
    if not len(values):
        raise ValueError("no process to summarise")
    if not all(math.isfinite(value) and value > 0 for value in values):
        raise ValueError(f"process medians must be positive numbers, not {list(values)}")
    return [math.log(value) for value in values]


def _mean_and_variance(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and the variance with n − 1 in its denominator."""
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _order_interval(logs: Sequence[float]) -> Interval:
    """For the median, by order alone; see `case_estimate`."""
    ordered, count = sorted(logs), len(logs)
    if count == LEAST_FOR_ORDER:
        # a process in another mode, one of so few, is to stay in the interval
        return Interval(_exp(ordered[0]), _exp(ordered[-1]))
    rank, wider, narrower = _ranks(count)
    share = (wider - CONFIDENCE) / (wider - narrower)
    inwards = (count - rank) * share / (rank + (count - 2 * rank) * share)
    low = (1 - inwards) * ordered[rank - 1] + inwards * ordered[rank]
    high = (1 - inwards) * ordered[-rank] + inwards * ordered[-rank - 1]
    return Interval(_exp(low), _exp(high))


@functools.cache
def _ranks(count: int) -> tuple[int, float, float]:
    """The greatest rank from either end between which the median lies with at least `CONFIDENCE`, how likely that
    is, and how likely between the next ones inwards."""
    covered = 1 - 2 * bdtr(np.arange(count // 2), count, 0.5)
    rank = int(np.flatnonzero(covered >= CONFIDENCE)[-1]) + 1
    return rank, float(covered[rank - 1]), float(covered[rank])


def _t_interval(logs: Sequence[float]) -> Interval:
    mean, variance = _mean_and_variance(logs)
    return _back(mean, math.sqrt(variance / len(logs)), len(logs) - 1)


def _welch_interval(upper: Sequence[float], lower: Sequence[float]) -> Interval:
    (upper_mean, upper_variance), (lower_mean, lower_variance) = map(
        _mean_and_variance, (upper, lower)
    )
    variances = [upper_variance / len(upper), lower_variance / len(lower)]
    total = sum(variances)
    centre = upper_mean - lower_mean
    if total == 0:
        return _back(centre, 0.0, 1)
    shares = [
        (v / total) ** 2 / (len(side) - 1)
        for v, side in zip(variances, (upper, lower), strict=True)
    ]
    return _back(centre, math.sqrt(total), 1 / sum(shares))


def _back(centre: float, standard_error: float, degrees: float) -> Interval:
    half = float(stdtrit(degrees, 0.5 + CONFIDENCE / 2)) * standard_error
    return Interval(_exp(centre - half), _exp(centre + half))


def _exp(value: float) -> float:
    """exp that goes to infinity instead of raising: two wild processes have an absurdly wide
    interval."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
