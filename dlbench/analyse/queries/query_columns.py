"""The columns that tell how long queries took, of scenarios that have some."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dlbench.analyse.columns import ALWAYS, QUERIES, Column, Row
from dlbench.analyse.outcomes import Outcome
from dlbench.analyse.queries.percentiles import UNANSWERED_NS, Percentile, percentiles
from dlbench.analyse.statistics import case_estimate, units
from dlbench.record.schema import Process
from dlbench.spec.scenarios import KINDS, PERCENTS, Load, least_queries
from dlbench.text import digits, plural, seconds

_WITHIN = {True: "yes", False: "no", None: "not told"}
UNKNOWN = "–"
"""In the place of a percentile that the queries do not tell."""


def query_cells(outcome: Outcome, load: Load | None) -> Mapping[str, Any]:
    """A row's cells about its queries; none where it has none. `load` is what a server was asked."""
    if not KINDS[outcome.case.scenario].has_queries or not outcome.processes:
        return {}
    nodes = [ran.node for ran in outcome.timed] or [""] * len(outcome.processes)
    by_node: dict[str, list[tuple[int, ...]]] = {}
    for node, process in zip(nodes, outcome.processes, strict=True):
        lost = (UNANSWERED_NS,) * process.unserved
        by_node.setdefault(node, []).append(process.timings_ns + lost)
    found = percentiles(by_node)
    cells: dict[str, Any] = {
        "queries": sum(len(process.timings_ns) for process in outcome.processes)
    }
    for each in found:
        name = f"p{each.percent}"
        cells[f"{name}_s"] = each.value_s
        if each.interval is not None:
            cells[f"{name}_low_s"] = each.interval.low
            cells[f"{name}_high_s"] = each.interval.high
    reasons = [each.reason for each in found if each.reason]
    if outcome.case.scenario == "server" and load is not None:
        reasons += filter(None, [_no_rate(outcome, load)])
        cells |= _of_server(outcome, load, found)
    return cells | {"too_few_queries": "; ".join(reasons) or None}


def answered_per_s(processes: Sequence[Process]) -> float | None:
    """How many queries a second were answered; None where the record does not tell."""
    windows = [(p.started_ns, p.ended_ns) for p in processes]
    taken_ns = sum(end - start for start, end in windows if start is not None and end is not None)
    return sum(len(p.timings_ns) for p in processes) / (taken_ns * 1e-9) if taken_ns else None


def _of_server(outcome: Outcome, load: Load, found: Sequence[Percentile]) -> dict[str, Any]:
    """The rate that was asked for and whether it is within the bound, or the largest that was found."""
    cells: dict[str, Any] = {"rate_per_s": load.rate_per_s}
    if load.bound_s is None:
        return cells
    cells |= {"latency_bound_s": load.bound_s, "latency_percentile": load.percent}
    if load.rate_per_s is not None:
        (asked,) = [each.interval for each in found if each.percent == load.percent]
        if asked is not None and (asked.high <= load.bound_s or asked.low > load.bound_s):
            cells["within_bound"] = asked.high <= load.bound_s
        return cells
    if not outcome.timed:
        return cells
    estimate = case_estimate(units(outcome.timed.values()))
    cells["largest_rate_per_s"] = 1 / estimate.value
    if estimate.interval is not None:
        cells["largest_rate_low_per_s"] = 1 / estimate.interval.high
        cells["largest_rate_high_per_s"] = 1 / estimate.interval.low
    return cells


def _no_rate(outcome: Outcome, load: Load) -> str:
    """Why there is no largest rate; empty where there is one, or none was looked for."""
    lacking = [p for p in outcome.processes if p.rate_trials and p.largest_rate_per_s is None]
    if not lacking or load.bound_s is None:
        return ""
    least = least_queries(load.percent)
    if few := [p.rate_trials[0].queries for p in lacking if len(p.rate_trials) == 1]:
        return (
            f"the largest rate takes {least:,} queries a trial for p{load.percent}, and there is time for about"
            f" {max(few):,}: a larger --budget helps, or a smaller --latency-percentile"
        )
    tried = min(trial.rate_per_s for process in lacking for trial in process.rate_trials)
    return (
        f"no rate from {digits(tried)} queries/s on has its p{load.percent} within {seconds(load.bound_s)}"
        f" in {len(lacking)} of {plural(len(outcome.processes), 'process')}"
    )


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


def _rate(row: Row) -> str:
    low, high = row["largest_rate_low_per_s"], row["largest_rate_high_per_s"]
    shown = digits(row["largest_rate_per_s"])
    return shown if low is None else f"{shown} [{digits(low)}, {digits(high)}]"


def _largest(row: Row) -> str:
    if row.get("latency_bound_s") is None or row["rate_per_s"] is not None:
        return ""
    return UNKNOWN if row["largest_rate_per_s"] is None else _rate(row)


def _bound(row: Row) -> str:
    bound_s = row.get("latency_bound_s")
    if bound_s is None:
        return ""
    told = f"{seconds(bound_s)} at p{row['latency_percentile']}"
    return told if row["rate_per_s"] is None else f"{told}: {_WITHIN[row['within_bound']]}"


COLUMNS: tuple[Column, ...] = (
    Column("rate_per_s", "float64", None, (QUERIES,), "queries/s", digits),
    Column(
        "largest_rate_per_s",
        "float64",
        sections=(QUERIES,),
        title="most queries/s",
        show=_largest,
        right=False,
        priority=ALWAYS,
    ),
    Column("largest_rate_low_per_s", "float64"),
    Column("largest_rate_high_per_s", "float64"),
    Column("latency_bound_s", "float64", None, (QUERIES,), "within", show=_bound),
    Column("latency_percentile", "object"),
    # None: its interval holds the bound, or there is none
    Column("within_bound", "object"),
    Column("queries", "object", sections=(QUERIES,), title="queries", form="{:,}".format),
    *(column for percent in PERCENTS for column in _columns_of(percent)),
    # which percentiles are left out, and how many queries they take
    Column("too_few_queries"),
)
