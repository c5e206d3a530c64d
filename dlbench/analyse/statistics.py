"""From timings to estimates: what a case takes, and how much faster one is than another.

The unit of replication is a process. Timings inside one process are correlated, so a process counts
once, with the median of its timings, and intervals say how far fresh processes scatter (Kalibera
and Jones 2013, "Rigorous benchmarking in reasonable time": replicate at the highest level that
varies). Of a ratio it is a round: a pair of fresh processes that took turns in blocks of steps, which
gives one figure, however many blocks. Step times are positive and scatter by factors, so the arithmetic
of intervals is done on logarithms.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

_Round = TypeVar("_Round", bound=Hashable)

CONFIDENCE = 0.95
"""Share of intervals that are to cover the true value."""
LEAST_FOR_ORDER = 6
"""The fewest values whose range covers the median with at least `CONFIDENCE`."""


class Timed(NamedTuple):
    """What a step takes in one process.

    Attributes
    ----------
    median_s : the median of all its steady steps (s).
    blocks_s : that of each block of them (s), in the order of its turns; NaN for a block without steps. Empty where
        it took no turns with others.
    attempt : at its round; only processes of one attempt took turns with each other.
    node : the machine that it ran on, of a record that several have written; else empty.
    """

    median_s: float
    blocks_s: tuple[float, ...] = ()
    attempt: int = 0
    node: str = ""


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
    p_value : for a ratio, two-sided against 1, of the test whose interval it has; None without an interval.
    """

    value: float
    interval: Interval | None
    processes: int
    p_value: float | None = None


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


def holm(p_values: Sequence[float], level: float = 1 - CONFIDENCE) -> list[bool]:
    """Which of several null hypotheses are rejected when the probability of rejecting any that holds is `level` at most
    (Holm 1979, "A simple sequentially rejective multiple test procedure")."""
    standing, stands = True, [False] * len(p_values)
    for done, case in enumerate(np.argsort(p_values, kind="stable")):
        standing = standing and p_values[case] <= level / (len(p_values) - done)
        stands[case] = standing
    return stands


def process_summary(timings_ns: Sequence[int]) -> float:
    """The one figure a process counts with: the median of its steady timings (ns), in seconds.

    Raises
    ------
    ValueError : no timings.
    """
    return median(timings_ns) * 1e-9


def units(timed: Iterable[Timed]) -> list[float]:
    """The times (s) that an interval of a case rests on: a process counts once, and where several machines have run
    some, a machine counts once, with the median of its processes. Machines differ by more than processes do, so that
    more processes on the same ones say nothing about the next machine."""
    found = list(timed)
    by_node = medians_by_node(found)
    if len(by_node) == 1:
        return [each.median_s for each in found]
    return list(by_node.values())


def medians_by_node(timed: Iterable[Timed]) -> dict[str, float]:
    """The median of the processes of each machine (s)."""
    own: dict[str, list[float]] = {}
    for each in timed:
        own.setdefault(each.node, []).append(each.median_s)
    return {node: median(medians_s) for node, medians_s in own.items()}


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
    interval = (
        _student(CONFIDENCE, logs)[0] if len(logs) < LEAST_FOR_ORDER else _order_interval(logs)
    )
    return Estimate(value, interval.including(value), len(logs))


def ratio(
    numerator: Mapping[_Round, Timed],
    denominator: Mapping[_Round, Timed],
    confidence: float = CONFIDENCE,
) -> Estimate:
    """How many times as long the numerator takes, from processes by round.

    Equal keys stand for processes that ran close together (`dlbench.analyse.outcomes.Round`). Where all are shared, the
    interval and the p-value are those of Student's t test on the logarithms of the rounds' ratios (Student 1908, "The
    probable error of a mean"), which drift of the machine does not widen; otherwise they are those of `unpaired_ratio`.

    A round's ratio is that of the two medians. Where the two processes took turns, it is the median of the ratios of
    their blocks, each of the one and the next of the other: what the machine does to a block it does to its neighbour
    too. Blocks make a round's ratio precise and are no replication, since all of them share what is the two processes'
    own. The point estimate is the geometric mean of the rounds' ratios, or the ratio of the two medians over rounds
    where no processes took turns.

    Where several machines have run rounds, a machine counts once, with the mean of the logarithms of its rounds: the
    interval then says how far machines differ, as that of the means of clusters does (Donner and Klar 2000, "Design and
    Analysis of Cluster Randomization Trials in Health Research").

    Raises
    ------
    ValueError : a side without a process, or a median that is not a positive number.
    """
    logs = _logs_by_round(numerator, denominator)
    if logs is None:
        return unpaired_ratio(units(numerator.values()), units(denominator.values()), confidence)
    nodes = [each.node for each in numerator.values()]
    turns = any(_blocks(numerator[key], denominator[key]) for key in numerator)
    if not turns and len(set(nodes)) == 1:
        upper_s, lower_s = (
            median([each.median_s for each in side.values()]) for side in (numerator, denominator)
        )
        return _estimate(upper_s / lower_s, confidence, logs)
    counted = _by_node(logs, nodes)
    return _estimate(_exp(math.fsum(counted) / len(counted)), confidence, counted)


def _by_node(logs: Sequence[float], nodes: Sequence[str]) -> Sequence[float]:
    """One mean a machine, where there are several."""
    if len(set(nodes)) == 1:
        return logs
    own = {node: [log for log, of in zip(logs, nodes, strict=True) if of == node] for node in nodes}
    return [math.fsum(each) / len(each) for each in own.values()]


def ratios_by_round(
    numerator: Mapping[_Round, Timed], denominator: Mapping[_Round, Timed]
) -> tuple[float, ...]:
    """The ratio of each round, of which `ratio` tells the middle and the interval; none where rounds are not shared."""
    return tuple(_exp(log) for log in _logs_by_round(numerator, denominator) or ())


def _logs_by_round(
    numerator: Mapping[_Round, Timed], denominator: Mapping[_Round, Timed]
) -> list[float] | None:
    """The logarithm of each round's ratio; None where not all rounds are shared."""
    if numerator.keys() != denominator.keys():
        return None
    upper, lower = (
        _logarithms([side[key].median_s for key in numerator]) for side in (numerator, denominator)
    )
    blocks = [_blocks(numerator[key], denominator[key]) for key in numerator]
    return [
        median(own) if own else one - other
        for own, one, other in zip(blocks, upper, lower, strict=True)
    ]


def unpaired_ratio(
    numerator_s: Sequence[float], denominator_s: Sequence[float], confidence: float = CONFIDENCE
) -> Estimate:
    """How many times as long the numerator takes, from process medians (s) that did not run together.

    The interval and the p-value are those of Welch's test for the difference of two means of logarithms (Welch
    1947, "The generalization of Student's problem when several different population variances are involved"). A
    side with one process gives neither.

    Raises
    ------
    ValueError : a side without a process, or a median that is not a positive number.
    """
    upper, lower = _logarithms(numerator_s), _logarithms(denominator_s)
    return _estimate(median(numerator_s) / median(denominator_s), confidence, upper, lower)


def _blocks(one: Timed, other: Timed) -> list[float]:
    """The logarithms of the ratios of blocks that lay side by side."""
    if one.attempt != other.attempt:
        return []
    pairs = zip(one.blocks_s, other.blocks_s, strict=False)
    return [math.log(upper / lower) for upper, lower in pairs if upper > 0 and lower > 0]


def _logarithms(values: Sequence[float]) -> list[float]:
    if not len(values):
        raise ValueError("no process to summarise")
    if not all(math.isfinite(value) and value > 0 for value in values):
        raise ValueError(f"process medians must be positive numbers, not {list(values)}")
    return [math.log(value) for value in values]


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
    # slow to import, and not needed by all who show figures
    from scipy.special import bdtr

    covered = 1 - 2 * bdtr(np.arange(count // 2), count, 0.5)
    rank = int(np.flatnonzero(covered >= CONFIDENCE)[-1]) + 1
    return rank, float(covered[rank - 1]), float(covered[rank])


def _estimate(value: float, confidence: float, *logs: Sequence[float]) -> Estimate:
    """A ratio with the interval and the p-value of one test, of the mean of logarithms or the difference of two."""
    processes = min(map(len, logs))
    if processes < 2:
        return Estimate(value, None, processes)
    interval, p_value = _student(confidence, *logs)
    return Estimate(value, interval.including(value), processes, p_value)


def _student(
    confidence: float, logs: Sequence[float], others: Sequence[float] = ()
) -> tuple[Interval, float]:
    """Student's t test of the mean of logarithms, or Welch's of the difference of two means: the interval, taken
    back by exp, and the two-sided p-value.

    They are those of `scipy.stats.ttest_1samp` and `ttest_ind`, which take some hundred times as long: a report of
    10,000 rows would spend its time there.
    """
    from scipy.special import stdtr, stdtrit

    sides = [side for side in (logs, others) if len(side)]
    means = [math.fsum(side) / len(side) for side in sides]
    squared_errors = [
        math.fsum((each - mean) ** 2 for each in side) / (len(side) - 1) / len(side)
        for side, mean in zip(sides, means, strict=True)
    ]
    centre, total = means[0] - sum(means[1:]), sum(squared_errors)
    if total == 0:
        return Interval(_exp(centre), _exp(centre)), float(centre == 0)
    error = math.sqrt(total)
    degrees = 1 / sum(
        (each / total) ** 2 / (len(side) - 1)
        for side, each in zip(sides, squared_errors, strict=True)
    )
    half = error * float(stdtrit(degrees, 0.5 + confidence / 2))
    interval = Interval(_exp(centre - half), _exp(centre + half))
    return interval, 2 * float(stdtr(degrees, -abs(centre) / error))


def _exp(value: float) -> float:
    """exp that goes to infinity instead of raising: two wild processes have an absurdly wide
    interval."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
