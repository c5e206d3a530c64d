"""The scenario ``offline``: of all batch sizes that were measured, the one that works samples off the quickest, and
those that cannot be told from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dlbench.analyse.columns import Row
from dlbench.analyse.outcomes import Outcome, Round
from dlbench.analyse.ranking import rank
from dlbench.analyse.statistics import Estimate, Timed, ratio
from dlbench.record.baseline import Baseline
from dlbench.record.case import Case, without


@dataclasses.dataclass(frozen=True)
class Largest:
    """The largest throughput of a row over its batch sizes.

    Attributes
    ----------
    points : the rows of all its batch sizes, ascending; also those without a figure.
    best : the one with the most samples a second.
    alike : those of other batch sizes that `best` is not significantly better than, ascending.
    speedup : how many times as many samples a second as the baseline at its own best; None without one, and for the
        baseline itself.
    """

    points: tuple[Row, ...]
    best: Row
    alike: tuple[Row, ...]
    speedup: Estimate | None = None

    @property
    def case(self) -> Case:
        """The case of the best."""
        return self.best.case


def largest(rows: Sequence[Row], baseline: Baseline) -> list[Largest]:
    """Of each row that was measured offline, its best batch size, in the order in which they stand; the best of the
    baseline is what the others are held against."""
    found = list(_series(rows))
    bests = {each.case: each for each in found}
    told = []
    for each in found:
        # at whichever of its batch sizes the baseline has its best
        same = baseline.of(each.case)
        base = next((b for case, b in bests.items() if same and _alike(case, same)), None)
        speedup = None if base is None or base is each else _ratio(base.best, each.best)
        told.append(dataclasses.replace(each, speedup=speedup))
    return told


def _alike(case: Case, other: Case) -> bool:
    return without(case, "batch") == without(other, "batch")


def _series(rows: Sequence[Row]) -> Iterator[Largest]:
    series: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if row.case.scenario == "offline":
            series.setdefault(without(row.case, "batch"), []).append(row)
    for own in series.values():
        points = sorted(own, key=lambda row: row.case.batch)
        timed = [row for row in points if row.outcome.timed]
        if not timed:
            continue
        ranking = rank([_a_sample(row.outcome) for row in timed])
        best = timed[ranking.order[0]]
        alike = (timed[index] for index in ranking.contenders if timed[index] is not best)
        ascending = sorted(alike, key=lambda row: row.case.batch)
        yield Largest(tuple(points), best, tuple(ascending))


def _a_sample(outcome: Outcome) -> Mapping[Round, Timed]:
    """What a sample takes in each process; batch sizes took no turns with each other."""
    batch = outcome.case.batch
    return {
        ran: each._replace(median_s=each.median_s / batch, blocks_s=())
        for ran, each in outcome.timed.items()
    }


def _ratio(base: Row, row: Row) -> Estimate:
    if base.case.batch == row.case.batch:
        return ratio(base.outcome.timed, row.outcome.timed)
    return ratio(_a_sample(base.outcome), _a_sample(row.outcome))
