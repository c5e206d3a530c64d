"""The scenario ``offline``: of each row the batch size with the most samples a second, as a table and as data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dlbench.analyse.columns import Row
from dlbench.analyse.queries.throughput import Largest, largest
from dlbench.analyse.table import Run
from dlbench.record.case import HOST, columns
from dlbench.text import digits, times

from ..run import words
from ..run.names import names
from ..tables.model import Column, Line, Section

_NOTES = (
    "the best of several is best by luck too: where others are not told apart, its samples/s are a little too many",
    "[ ] 95 % confidence interval over fresh processes; of the batch sizes together, who is not told apart",
)


def sections(run: Run) -> Iterator[Section]:
    """A table with a line for each row that was measured offline; none without such."""
    found = largest(run.rows, run.baseline)
    if not found:
        return
    best = [each.best for each in found]
    baseline = run.baseline.name.removesuffix(f":{HOST}")
    table = [column for column in names(best) if column.title != "batch"]
    for title, cells, right in (
        ("best batch", [f"{each.case.batch:,}" for each in found], True),
        ("samples/s", [_shown(row) for row in best], False),
        (f"vs {baseline} at its best", list(map(_speedup, found)), False),
        ("not told apart", list(map(_alike, found)), False),
    ):
        if any(cells):
            table.append(Column(title, tuple(cells), right))
    lines = tuple(Line(words.mark(row), words.style(row)) for row in best)
    title = "offline: the most samples a second over all batch sizes"
    yield Section(title, columns=tuple(table), lines=lines, notes=_NOTES)


def data(run: Run) -> list[dict[str, Any]]:
    """The same for programs, with the whole curve: a point a batch size."""
    return [
        {
            "record": run.name,
            **{name: value for name, value in columns(each.case).items() if name != "batch"},
            "best_batch": each.case.batch,
            "not_told_apart": [row.case.batch for row in each.alike],
            **_per_s(each.best),
            "speedup": each.speedup and each.speedup.value,
            "speedup_low": _bound(each, "low"),
            "speedup_high": _bound(each, "high"),
            "points": [
                {"batch": row.case.batch, "status": row["status"], **_per_s(row)}
                for row in each.points
            ],
        }
        for each in largest(run.rows, run.baseline)
    ]


def _per_s(row: Row) -> dict[str, float | None]:
    """Samples a second, and its interval from that of the step."""
    batch = row.case.batch
    low, high = (
        None if row[name] is None else batch / row[name] for name in ("ci_high_s", "ci_low_s")
    )
    return {
        "samples_per_s": row["samples_per_s"],
        "samples_low_per_s": low,
        "samples_high_per_s": high,
    }


def _shown(row: Row) -> str:
    value, low, high = _per_s(row).values()
    told = "" if value is None else digits(value)
    return told if low is None or high is None else f"{told} [{digits(low)}, {digits(high)}]"


def _speedup(each: Largest) -> str:
    value = each.speedup.value if each.speedup else None
    return times(value, _bound(each, "low"), _bound(each, "high"))


def _bound(each: Largest, side: str) -> float | None:
    interval = each.speedup.interval if each.speedup else None
    return None if interval is None else getattr(interval, side)


def _alike(each: Largest) -> str:
    return ", ".join(f"{row.case.batch:,}" for row in each.alike)
