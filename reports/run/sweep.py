"""A sweep over batch sizes: samples a second by batch size, and from which on a row is faster.

A crossover lies between two measured batch sizes, and is said to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dlbench.analyse.columns import Row
from dlbench.analyse.crossover import Crossover, Point, crossovers
from dlbench.analyse.table import Run
from dlbench.record.case import without
from dlbench.text import digits, listed, times

from ..tables.model import Column, Line, Section
from .names import names


def sections(run: Run, baseline: str) -> Iterator[Section]:
    """A table a scenario, of the rows with at least one figure; none of a scenario that has one batch size."""
    sizes: dict[str, set[int]] = {}
    for row in run.rows:
        sizes.setdefault(row.case.scenario, set()).add(row.case.batch)
    found = {(without(c.case, "batch"), c.with_copies): short(c) for c in crossovers(run.rows)}
    series: dict[tuple[Any, ...], dict[int, Row]] = {}
    for row in run.rows:
        if row["samples_per_s"] is not None and len(sizes[row.case.scenario]) > 1:
            series.setdefault(without(row.case, "batch"), {})[row.case.batch] = row
    first = {who: next(iter(rows.values())) for who, rows in series.items()}
    for scenario in dict.fromkeys(row.case.scenario for row in first.values()):
        own = {who: rows for who, rows in series.items() if first[who].case.scenario == scenario}
        columns = names([first[who] for who in own], version=False)
        for batch in sorted(sizes[scenario]):
            cells = [digits(r[batch]["samples_per_s"]) if batch in r else "" for r in own.values()]
            columns.append(Column(f"{batch:,}", tuple(cells), right=True))
        for title, copies in ((f"faster than {baseline}", False), ("with the copies", True)):
            told = tuple(found.get((who, copies), "") for who in own)
            columns.append(Column(title, told, priority=30 - copies))
        shown = tuple(column for column in columns if any(column.cells))
        lines = tuple(Line() for _ in own)
        yield Section(f"{scenario}, samples/s by batch size", columns=shown, lines=lines)


def short(crossover: Crossover) -> str:
    """Where a row is faster, in a few words for a cell: ``from 8 on``."""
    measured = crossover.measured
    if not measured:
        return "not measured"
    start, last = crossover.faster_from, measured[-1].batch
    if start == measured[0].batch:
        return "at every batch"
    if start is not None:
        return f"from {start:,} on"
    if won := _of_verdict(measured, "faster"):
        return f"at {listed([f'{point.batch:,}' for point in won])} only"
    certain = all(point.verdict == "slower" for point in measured)
    return f"never up to {last:,}" if certain else f"not significantly up to {last:,}"


def sentence(crossover: Crossover) -> str:
    """The end of a sentence that begins with who is faster than whom, with the intervals it rests on."""
    measured = crossover.measured
    if not measured:
        return "at no batch size: nothing was measured"
    start, first, last = crossover.faster_from, measured[0], measured[-1]
    gone = [f"{p.batch:,}" for p in crossover.points if p.verdict == "none"]
    missing = f"; not measured at {listed(gone)}" if gone else ""
    if start == first.batch:
        return f"at every batch size from {_at(first)} to {_at(last)}{missing}"
    if start is not None:
        return f"{_from(crossover, start)}{missing}"
    opened = _of_verdict(measured, "open")
    unclear = f"; no significant difference at {_all(opened)}" if opened else ""
    lost = _of_verdict(measured, "slower")
    if won := _of_verdict(measured, "faster"):
        slower = f", not at {_all(lost)}" if lost else ""
        return f"at batch size {_all(won)} only{slower}{unclear}{missing}"
    if opened:
        slower = f"; slower at {_all(lost)}" if lost else ""
        return f"at no batch size up to {last.batch:,}{slower}{unclear}{missing}"
    return f"at no batch size up to {_at(last)}{missing}"


def _from(crossover: Crossover, start: int) -> str:
    points = {point.batch: point for point in crossover.points}
    told = f"from batch size {_at(points[start])} on"
    before = [point for point in crossover.measured if point.batch < start]
    if won := _of_verdict(before, "faster"):
        told += f" and at {_all(won)}"
    if crossover.after is not None:
        told += f"; the crossover lies between {_at(points[crossover.after])} and {start:,}"
    if opened := _of_verdict(before, "open"):
        told += f"; no significant difference at {_all(opened)}"
    return told


def _of_verdict(points: Sequence[Point], verdict: str) -> list[Point]:
    return [point for point in points if point.verdict == verdict]


def _all(points: Sequence[Point]) -> str:
    return listed([_at(point) for point in points])


def _at(point: Point) -> str:
    """``8 (1.80× [1.75, 1.86])``."""
    if point.speedup is None:
        return f"{point.batch:,}"
    return f"{point.batch:,} ({times(point.speedup, point.low, point.high)})"
