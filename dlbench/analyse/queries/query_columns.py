"""The columns that tell how long queries took, of scenarios that have some."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dlbench.analyse.columns import ALWAYS, QUERIES, Column, Row
from dlbench.analyse.outcomes import Outcome
from dlbench.analyse.queries.percentiles import percentiles
from dlbench.spec.scenarios import KINDS, PERCENTS
from dlbench.text import seconds

UNKNOWN = "–"
"""In the place of a percentile that the queries do not tell."""


def query_cells(outcome: Outcome) -> Mapping[str, Any]:
    """A row's cells about its queries; none where it has none."""
    if not KINDS[outcome.case.scenario].has_queries or not outcome.timed:
        return {}
    by_node: dict[str, list[tuple[int, ...]]] = {}
    for ran, process in zip(outcome.timed, outcome.processes, strict=True):
        by_node.setdefault(ran.node, []).append(process.timings_ns)
    found = percentiles(by_node)
    cells: dict[str, Any] = {"queries": sum(len(own) for each in by_node.values() for own in each)}
    for each in found:
        name = f"p{each.percent}"
        cells[f"{name}_s"] = each.value_s
        if each.interval is not None:
            cells[f"{name}_low_s"] = each.interval.low
            cells[f"{name}_high_s"] = each.interval.high
    reasons = [each.reason for each in found if each.reason]
    return cells | {"too_few_queries": "; ".join(reasons) or None}


def _shown(percent: int) -> Callable[[Row], str]:
    names = tuple(f"p{percent}{end}" for end in ("_s", "_low_s", "_high_s"))

    def show(row: Row) -> str:
        if row.get("queries") is None:
            return ""
        return UNKNOWN if row[names[0]] is None else seconds(*(row[name] for name in names))

    return show


def _columns_of(percent: int) -> tuple[Column, ...]:
    shown = Column(
        f"p{percent}_s",
        "float64",
        sections=(QUERIES,),
        title=f"p{percent}",
        show=_shown(percent),
        right=False,
        priority=ALWAYS,
    )
    return (
        shown,
        Column(f"p{percent}_low_s", "float64"),
        Column(f"p{percent}_high_s", "float64"),
    )


COLUMNS: tuple[Column, ...] = (
    Column("queries", "object", sections=(QUERIES,), title="queries", form="{:,}".format),
    *(column for percent in PERCENTS for column in _columns_of(percent)),
    # which percentiles are left out, and how many queries they take
    Column("too_few_queries"),
)
