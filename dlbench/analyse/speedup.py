"""What a speed-up refers to: one row, the baseline, under the same circumstances; and of several ranks the row of the
same backend on one.

A speed-up takes in the scatter of both sides (`dlbench.analyse.statistics.ratio`), and a baseline that is not there
is a mistake to be told, not an empty column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from dlbench.analyse.outcomes import Outcome, Round
from dlbench.analyse.statistics import Estimate, Timed, median, ratio
from dlbench.errors import UsageError
from dlbench.record.baseline import Baseline, across, find_baseline, plain_of
from dlbench.record.case import RESIDENT, Case
from dlbench.record.schema import Process

BASELINE = "numpy:cpu"
"""What speed-ups refer to unless something else is asked for: ``backend:device``."""


def baseline_of(word: str | None, cases: Iterable[Case]) -> Baseline:
    """The row that speed-ups refer to; without a word `BASELINE`, which then need not be there.

    Raises
    ------
    UsageError : the word names no row, or several.
    """
    cases = list(cases)
    if word is not None:
        return find_baseline(word, cases)
    try:
        return find_baseline(BASELINE, cases)
    except UsageError:
        return Baseline(BASELINE, ())


def baseline_or_none(word: str | None, cases: Iterable[Case]) -> Baseline:
    """The same; one without cases where the word names no row, or several."""
    try:
        return baseline_of(word, cases)
    except UsageError:
        return Baseline(word or BASELINE, ())


class Bases:
    """The outcomes that speed-ups refer to; only those with figures."""

    def __init__(self, found: Sequence[Outcome], baseline: Baseline) -> None:
        self._baseline = baseline
        self._timed = {outcome.case: outcome for outcome in found if outcome.medians_s}

    def cells(self, outcome: Outcome) -> dict[str, str | float | None]:
        """The row's cells about its speed-up; none where there is nothing to refer to. A speed-up over another
        precision has a badge; a row of another precision than the default has one over its own backend's row of that.

        The baseline against itself is 1 by definition, so it has no interval.
        """
        return (
            self._over_baseline(outcome)
            | self._over_plain(outcome)
            | self._over_one_rank(outcome)
            | self._over_resident(outcome)
        )

    def _over_resident(self, outcome: Outcome) -> dict[str, str | float | None]:
        """How many times as long a streamed step takes as the same on a batch that is resident."""
        case = outcome.case
        resident = self._timed.get(msgspec.structs.replace(case, input=RESIDENT))
        if case.input == RESIDENT or resident is None or not outcome.medians_s:
            return {}
        return {**_cells("input_cost", outcome.timed, resident.timed)}

    def _over_plain(self, outcome: Outcome) -> dict[str, str | float | None]:
        case = plain_of(outcome.case, self._timed)
        if case is None or not outcome.medians_s:
            return {}
        return {"fp32_row": case.row_name} | _cells(
            "speedup_over_fp32", self._timed[case].timed, outcome.timed
        )

    def _over_one_rank(self, outcome: Outcome) -> dict[str, str | float | None]:
        """How much of what ranks have to compute with comes to what they get done: samples/s for each core, or each
        GPU, over those of the row of one rank. Where each rank has as much as that had, it is samples/s of N ranks over
        N times those of one."""
        case = outcome.case
        if case.world == 1 or not outcome.medians_s:
            return {}
        one = self._timed.get(msgspec.structs.replace(case, world=1))
        if one is None:
            return {}
        cells = _cells("scaling", one.timed, outcome.timed)
        has = case.world * (case.plan(0).rank_threads / case.threads if case.on_host else 1)
        return {name: cell / has for name, cell in cells.items() if cell is not None}

    def _over_baseline(self, outcome: Outcome) -> dict[str, str | float | None]:
        case = self._baseline.of(outcome.case)
        base = None if case is None else self._timed.get(case)
        if case is None or base is None or not outcome.medians_s:
            return {}
        name = {"baseline": case.row_name, "baseline_disturbed": base.disturbed}
        if outcome.case == case:
            return {**name, "speedup": 1.0, "speedup_with_copies": 1.0}
        return (
            name
            | {"speedup_badge": across(outcome.case, case) or None}
            | _cells("speedup", base.timed, outcome.timed)
            | _cells("speedup_with_copies", base.with_copies, outcome.with_copies)
        )


def ranks_apart(processes: Iterable[Process]) -> tuple[float | None, float | None]:
    """How much longer the slowest rank computes than the fastest (a share), and the share of a step that is left when
    the slowest has computed: medians over processes; None where no process told."""
    spreads, shares = [], []
    for line in processes:
        if line.rank_steps is not None:
            own = [median(steps) for steps in line.rank_steps.alone_ns]
            spreads.append(max(own) / min(own) - 1)
            shares.append(1 - max(own) / median(line.rank_steps.together_ns))
    return (median(spreads), median(shares)) if spreads else (None, None)


def bounds(estimate: Estimate, low: str, high: str) -> dict[str, float | None]:
    """An estimate's interval as two cells; none where it has no interval."""
    interval = estimate.interval
    return {low: interval.low, high: interval.high} if interval else {}


def _cells(
    name: str, numerator: Mapping[Round, Timed], denominator: Mapping[Round, Timed]
) -> dict[str, float | None]:
    if not numerator or not denominator:
        return {}
    estimate = ratio(numerator, denominator)
    return {name: estimate.value} | bounds(estimate, f"{name}_low", f"{name}_high")
