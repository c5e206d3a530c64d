"""Columns of streamed trainings: what the loader costs, and whether the device waits for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dlbench.analyse.columns import MAIN, Column, interval
from dlbench.analyse.statistics import median
from dlbench.record.case import RESIDENT
from dlbench.record.schema import Process
from dlbench.text import percent, times


def waiting_share(processes: Iterable[Process]) -> float | None:
    """The share of a streamed step that was waiting for its batch: the median over processes of all waiting by all
    steps; None where nothing was streamed."""
    shares = [
        sum(line.waited_ns) / sum(line.timings_ns)
        for line in processes
        if line.case.input != RESIDENT and line.waited_ns
    ]
    return median(shares) if shares else None


def _loader(seen: Any) -> str | int | None:
    processes: Iterable[Process] = seen.outcome.processes
    return next((line.facts["loader"] for line in processes if "loader" in line.facts), None)


COLUMNS: tuple[Column, ...] = (
    # of a streamed step, over the row whose batches are resident
    Column(
        "input_cost",
        "float64",
        sections=(MAIN,),
        title="step over resident",
        show=interval(times, "input_cost", "input_cost_low", "input_cost_high"),
        right=False,
        priority=96,
    ),
    Column("input_cost_low", "float64"),
    Column("input_cost_high", "float64"),
    # the share of a streamed step that waits for its batch
    Column(
        "waiting_share",
        "float64",
        lambda seen: waiting_share(seen.outcome.processes),
        (MAIN,),
        "waits for batches",
        percent,
        priority=93,
    ),
    Column("loader", "object", _loader, (MAIN,), "loader", right=False),
)
