"""Tries a gate's design on a stream of processes that all ran the same code.

Whatever a gate says about such a stream is known to be right or wrong: every "slower" is false, and
with the new arm's times made longer by a known share, every "passed" is. The trials call the very
function that judges live.
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from dlbench.errors import DlbenchError
from dlbench.gate.decision import Verdict, judge
from dlbench.gate.design import Design
from dlbench.gate.pairs import difference, order, summary

Array = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Share:
    """So many of so many, with the exact 95 % interval of Clopper and Pearson (1934) for the
    chance behind it, which holds when the trials are independent."""

    count: int
    of: int

    @property
    def value(self) -> float:
        """The share, NaN of nothing."""
        return self.count / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Bounds of the chance."""
        if not self.of:
            return 0.0, 1.0
        found = binomtest(self.count, self.of).proportion_ci(0.95, method="exact")
        return float(found.low), float(found.high)


@dataclasses.dataclass(frozen=True)
class Tally:
    """What became of trials with one planted slowdown.

    Attributes
    ----------
    slowdown : the planted share; 0 for the same code.
    slower, passed, inconclusive : of the cases with the slowdown, which is one a trial; of all
        cases for the same code.
    wrongly_failed : trials in which a case without a slowdown was called slower.
    mean_pairs, most_pairs : pairs that these cases took.
    """

    slowdown: float
    slower: Share
    passed: Share
    inconclusive: Share
    wrongly_failed: Share
    mean_pairs: float
    most_pairs: int


def read_timings(path: Path) -> list[Array]:
    """The step times of a recording's processes, in the order in which they ran.

    Parameters
    ----------
    path : a CSV file, gzipped where it is called ``.gz``: a header line, then one row a process, its
        number and its step times in any one unit.

    Raises
    ------
    DlbenchError : the file is not of this form.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt") as file:
            rows = [row[1:] for row in csv.reader(file)][1:]
        timings = [np.array([float(time) for time in row]) for row in rows]
        for each in timings:
            summary(each)
    except (ValueError, OSError, EOFError, csv.Error) as error:
        raise DlbenchError(
            f"{path}: not a recording of processes (number, then step times): {error}"
        ) from None
    return timings


def read_stream(path: Path) -> Array:
    """The summaries of a recording's processes; see `read_timings`."""
    return np.array([summary(timings) for timings in read_timings(path)])


def consecutive(stream: Array, design: Design, slowdown: float = 0.0, cases: int = 1) -> Tally:
    """Trials one after the other, as a gate would have met them: each begins at the process after
    the last one's end, so no process is in two trials.

    Parameters
    ----------
    stream : process summaries in time order. With several cases, they take turns pair by pair.
    slowdown : what the new arm's times are made longer by in one of the cases. One among several is
        the hardest to find, since the others' noise is guarded against.
    """
    return _tally(slowdown, _one_after_the_other(stream, design, slowdown, cases))


def overlapping(
    stream: Array, design: Design, slowdown: float = 0.0, cases: int = 1, step: int = 4
) -> Tally:
    """Trials that begin at every `step`-th process, with either arm first.

    They share processes, so they are many but not independent: the shares are good estimates, their
    intervals are too narrow.
    """
    needed = 2 * design.most_pairs * cases
    return _tally(
        slowdown,
        (
            _trial(stream[begin : begin + needed], design, slowdown, cases, swapped)
            for begin in range(0, len(stream) - needed + 1, step)
            for swapped in (False, True)
        ),
    )


def _one_after_the_other(
    stream: Array, design: Design, slowdown: float, cases: int
) -> Iterator[list[Verdict]]:
    begin, needed = 0, 2 * design.most_pairs * cases
    while begin + needed <= len(stream):
        verdicts = _trial(stream[begin : begin + needed], design, slowdown, cases, False)
        yield verdicts
        begin += 2 * cases * max(verdict.pairs for verdict in verdicts)


def _trial(
    stream: Array, design: Design, slowdown: float, cases: int, swapped: bool
) -> list[Verdict]:
    found: dict[str, list[float]] = {str(case): [] for case in range(cases)}
    for number in range(len(stream) // 2):
        pair = stream[2 * number : 2 * number + 2]
        rank, case = divmod(number, cases)
        first, _ = order(rank)
        base, new = pair if (first == "base") != swapped else pair[::-1]
        planted = math.log1p(slowdown) if case == 0 else 0.0
        found[str(case)].append(difference(base, new) + planted)
    return list(judge(found, design, ended=True).values())


def _tally(slowdown: float, trials: Iterator[list[Verdict]]) -> Tally:
    runs = list(trials)
    verdicts = [verdict for run in runs for verdict in (run[:1] if slowdown else run)]
    unplanted = [run[1:] if slowdown else run for run in runs]

    def share(status: str) -> Share:
        return Share(sum(verdict.status == status for verdict in verdicts), len(verdicts))

    pairs = [verdict.pairs for verdict in verdicts]
    return Tally(
        slowdown=slowdown,
        slower=share("slower"),
        passed=share("passed"),
        inconclusive=share("inconclusive"),
        wrongly_failed=Share(
            sum(any(verdict.status == "slower" for verdict in run) for run in unplanted), len(runs)
        ),
        mean_pairs=float(np.mean(pairs)) if pairs else math.nan,
        most_pairs=max(pairs, default=0),
    )
