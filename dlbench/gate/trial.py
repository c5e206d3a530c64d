"""Tries a gate's design on a stream of pairs of processes that all ran the same code.

Whatever a gate says about such a stream is known to be right or wrong: every "slower" is false, and
with the new arm's times made longer by a known share, every "passed" is. The trials call the very
function that judges live.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from dlbench.gate.decision import Verdict, judge
from dlbench.gate.design import Design
from dlbench.gate.pairs import order

Array = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Share:
    """`count` of `of`, with the exact 95 % interval of Clopper and Pearson (1934) for the
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

    @property
    def percent(self) -> str:
        """``98.2 %``; a dash of nothing."""
        return f"{100 * self.value:.1f} %" if self.of else "–"

    @property
    def told(self) -> str:
        """``98.2 % [96.0, 99.4]``."""
        low, high = (100 * bound for bound in self.interval)
        return f"{self.percent} [{low:.1f}, {high:.1f}]" if self.of else "–"


@dataclasses.dataclass(frozen=True)
class Tally:
    """The results of trials with one planted slowdown.

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


def consecutive(stream: Array, design: Design, slowdown: float = 0.0, cases: int = 1) -> Tally:
    """Trials one after the other, as a gate would have met them: each begins at the pair after
    the last one's end, so no pair is in two trials.

    Parameters
    ----------
    stream : ln(second / first) of pairs in time order. With several cases, they take turns pair by pair.
    slowdown : what the new arm's times are made longer by in one of the cases. One among several is
        the hardest to find, since the others' noise is guarded against.
    """
    return tally(slowdown, _one_after_the_other(stream, design, slowdown, cases))


def _one_after_the_other(
    stream: Array, design: Design, slowdown: float, cases: int
) -> Iterator[list[Verdict]]:
    begin, needed = 0, design.most_pairs * cases
    while begin + needed <= len(stream):
        verdicts = trial(stream[begin : begin + needed], design, slowdown, cases, False)
        yield verdicts
        begin += cases * max(verdict.pairs for verdict in verdicts)


def trial(
    stream: Array, design: Design, slowdown: float, cases: int, swapped: bool
) -> list[Verdict]:
    """The verdicts on one stretch of a stream, by case; `swapped` makes the other arm the first."""
    found: dict[str, list[float]] = {str(case): [] for case in range(cases)}
    for number, second_over_first in enumerate(stream):
        rank, case = divmod(number, cases)
        is_base_first = (order(rank)[0] == "base") != swapped
        planted = math.log1p(slowdown) if case == 0 else 0.0
        found[str(case)].append((1 if is_base_first else -1) * float(second_over_first) + planted)
    return list(judge(found, design, ended=True).values())


def tally(slowdown: float, trials: Iterable[list[Verdict]]) -> Tally:
    """The shares of trials' verdicts; the first case of each is the one with the slowdown."""
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
