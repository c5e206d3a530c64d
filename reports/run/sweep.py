"""A sweep over batch sizes in words: samples a second by batch size, and from which on a row is faster.

A crossover lies between two measured batch sizes, and is said to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from dlbench.analyse.crossover import Crossover, Point, crossovers
from dlbench.analyse.table import Run
from dlbench.record.case import case_of, without

from . import words


@dataclasses.dataclass(frozen=True)
class Line:
    """One row of a sweep, ready to be set: who, samples a second by batch size, and where it is faster.

    `throughput` has an empty cell where a batch size has no figure; `without_copies` and `with_copies` are
    empty for the baseline and where nothing is to be told.
    """

    scenario: str
    backend: str
    device: str
    mode: str
    throughput: tuple[str, ...]
    without_copies: str
    with_copies: str


def batches(run: Run) -> list[int]:
    """The batch sizes of a run, ascending; fewer than two are no sweep."""
    found = sorted({int(batch) for batch in run.frame["batch"]})
    return found if len(found) > 1 else []


def lines(run: Run) -> list[Line]:
    """The rows of a run's sweep with at least one figure, in the table's order; none without a sweep."""
    columns = batches(run)
    found = {
        (without(each.case, "batch"), each.with_copies): short(each)
        for each in crossovers(run.frame)
    }
    rows: dict[tuple[Any, ...], dict[int, words.Row]] = {}
    for row in words.rows_of(run) if columns else []:
        who = without(case_of(row), "batch")
        rows.setdefault(who, {})[row["batch"]] = row
    told = []
    for who, by_batch in rows.items():
        cells = tuple(words.samples(by_batch[b]) if b in by_batch else "" for b in columns)
        if any(cells):
            first = next(iter(by_batch.values()))
            told.append(
                Line(
                    first["scenario"],
                    first["backend"],
                    first["device"],
                    first["mode"],
                    cells,
                    found.get((who, False), ""),
                    found.get((who, True), ""),
                )
            )
    return told


def short(crossover: Crossover) -> str:
    """Where a row is faster, in a few words for a cell: ``from 8 on``."""
    measured = crossover.measured
    if not measured:
        return "no figures"
    start, last = crossover.faster_from, measured[-1].batch
    if start == measured[0].batch:
        return "at every batch"
    if start is not None:
        return f"from {start:,} on"
    if won := _of_verdict(measured, "faster"):
        return f"at {_listed([f'{point.batch:,}' for point in won])} only"
    certain = all(point.verdict == "slower" for point in measured)
    return f"never up to {last:,}" if certain else f"not for certain up to {last:,}"


def sentence(crossover: Crossover) -> str:
    """The end of a sentence that begins with who is faster than whom, with the intervals it rests on."""
    measured = crossover.measured
    if not measured:
        return "at no batch size that can be told, for want of figures"
    start, first, last = crossover.faster_from, measured[0], measured[-1]
    gone = [f"{p.batch:,}" for p in crossover.points if p.verdict == "none"]
    missing = f"; there is no figure at {_listed(gone)}" if gone else ""
    if start == first.batch:
        return f"at every batch size from {_at(first)} to {_at(last)}{missing}"
    if start is not None:
        return f"{_from(crossover, start)}{missing}"
    opened = _of_verdict(measured, "open")
    unclear = f"; it cannot be told at {_listed(map(_at, opened))}" if opened else ""
    if won := _of_verdict(measured, "faster"):
        lost = _of_verdict(measured, "slower")
        slower = f", not at {_listed(map(_at, lost))}" if lost else ""
        return f"at batch size {_listed(map(_at, won))} only{slower}{unclear}{missing}"
    if opened:
        lost = _of_verdict(measured, "slower")
        slower = f"; it is slower at {_listed(map(_at, lost))}" if lost else ""
        return f"at no batch size up to {last.batch:,} for certain{slower}{unclear}{missing}"
    return f"at no batch size up to {_at(last)}{missing}"


def _from(crossover: Crossover, start: int) -> str:
    points = {point.batch: point for point in crossover.points}
    told = f"from batch size {_at(points[start])} on"
    before = [point for point in crossover.measured if point.batch < start]
    if won := _of_verdict(before, "faster"):
        told += f" and at {_listed(map(_at, won))}"
    if crossover.after is not None:
        told += f"; the crossover lies between {_at(points[crossover.after])} and {start:,}"
    if opened := _of_verdict(before, "open"):
        told += f"; it cannot be told at {_listed(map(_at, opened))}"
    return told


def _of_verdict(points: Sequence[Point], verdict: str) -> list[Point]:
    return [point for point in points if point.verdict == verdict]


def _at(point: Point) -> str:
    """``8 (1.80× [1.75, 1.86])``."""
    if point.speedup is None:
        return f"{point.batch:,}"
    return f"{point.batch:,} ({words.times(point.speedup, point.low, point.high)})"


def _listed(items: Iterable[str]) -> str:
    *others, last = items
    return f"{', '.join(others)} and {last}" if others else last
