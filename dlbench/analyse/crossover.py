"""From which batch size on one row is faster than another: read from the speed-ups of a sweep, no more.

A batch size counts as won when the whole interval of the speed-up lies above 1. What lies between two measured
batch sizes is not known, so a crossover is a range and never a number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from dlbench.analyse.columns import Row
from dlbench.record.case import Case, without

Verdict = Literal["faster", "slower", "open", "none"]


@dataclasses.dataclass(frozen=True)
class Point:
    """One batch size: a speed-up over the baseline with its interval; None where it has none. Nothing is told by one
    of which a side was `disturbed`."""

    batch: int
    speedup: float | None
    low: float | None
    high: float | None
    disturbed: bool = False

    @property
    def verdict(self) -> Verdict:
        """``open`` where the interval holds 1, or there is none, or a side was disturbed, ``none`` where there is no
        figure."""
        if self.speedup is None:
            return "none"
        if self.disturbed or self.low is None or self.high is None or self.low <= 1 <= self.high:
            return "open"
        return "faster" if self.low > 1 else "slower"


@dataclasses.dataclass(frozen=True)
class Crossover:
    """A row's speed-ups over the baseline by batch size, ascending.

    `case` is the row's at the smallest batch size, `baseline` the name of the row it is held against. `with_copies`
    says whether the copies of a batch in and of the result out are part of either time.
    """

    case: Case
    baseline: str
    with_copies: bool
    points: tuple[Point, ...]

    @property
    def measured(self) -> tuple[Point, ...]:
        """The points with a figure."""
        return tuple(point for point in self.points if point.verdict != "none")

    @property
    def faster_from(self) -> int | None:
        """The smallest batch size from which on every one is won, up to the largest that has a figure, none in
        between lacking one; None where the largest is not won."""
        found = None
        for point in reversed(self._up_to_last_figure):
            if point.verdict != "faster":
                break
            found = point.batch
        return found

    @property
    def after(self) -> int | None:
        """The largest batch size below `faster_from` that is lost: the crossover lies between the two. None
        where there is no such."""
        start = self.faster_from
        if start is None:
            return None
        lost = [p.batch for p in self.points if p.batch < start and p.verdict == "slower"]
        return max(lost, default=None)

    @property
    def _up_to_last_figure(self) -> tuple[Point, ...]:
        last = max((point.batch for point in self.measured), default=0)
        return tuple(point for point in self.points if point.batch <= last)


def crossovers(table: Sequence[Row]) -> tuple[Crossover, ...]:
    """The crossovers of one record's table, in its order: of every row but the
    baseline's that was to be measured at several batch sizes. On the CPU, with a baseline there, copies make no
    second one."""
    series: dict[tuple[Any, ...], list[Row]] = {}
    for row in table:
        series.setdefault(without(row.case, "batch"), []).append(row)
    on_host = {row.case.row_name: row.case.on_host for row in table}
    return tuple(each for rows in series.values() for each in _of(rows, on_host))


_SPEEDUPS = ("speedup", "speedup_with_copies")


def _of(rows: list[Row], on_host: Mapping[str, bool]) -> Iterable[Crossover]:
    rows = sorted(rows, key=lambda row: row.case.batch)
    first = rows[0].case
    baselines = {row["baseline"] for row in rows if row["baseline"]}
    if len({row.case.batch for row in rows}) < 2 or len(baselines) != 1:
        return
    (baseline,) = baselines
    if first.row_name == baseline:
        return
    for with_copies, name in zip((False, True), _SPEEDUPS, strict=True):
        points = tuple(
            Point(
                row.case.batch,
                row[name],
                row[f"{name}_low"],
                row[f"{name}_high"],
                bool(row["disturbed"] or row["baseline_disturbed"]),
            )
            for row in rows
        )
        if not with_copies or not first.on_host or not on_host[baseline]:
            yield Crossover(first, baseline, with_copies, points)
