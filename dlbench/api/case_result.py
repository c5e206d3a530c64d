"""What a case of a record came to, as an object with typed fields."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from typing import Any

from dlbench.analyse.columns import Row
from dlbench.record.case import Case
from dlbench.record.schema import Process, Status
from dlbench.text import seconds, times, why


@dataclasses.dataclass(frozen=True)
class Figure:
    """A time (s) or a ratio with its 95 % interval over fresh processes, `low` to `high`; both are None where there
    were too few processes for one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True, repr=False)
class CaseResult:
    """One row of the table: a case, and what came of it. What is unknown is None, never 0.

    Attributes
    ----------
    case : what was measured: ``suite``, ``scenario``, ``backend``, ``device``, ``batch`` (samples a step),
        ``threads``, ``precision``, ``mode``.
    status : ``ok``, or what is wrong: ``unverified``, ``skipped``, ``failed``, ``timeout``, ``out_of_memory``.
    reason, remedy : why it has no figures and what would help; of a case that is ``ok``, what should be known before
        it is quoted.
    verified : whether it agreed with the float64 oracle; None where it was not held against it.
    step : a step (s), with its 95 % interval over fresh processes; None unless the status is ``ok`` and it was timed.
    speedup : how many times as long the `baseline` takes, from pairs of processes that took turns; above 1 is faster.
    baseline : the row that `speedup` refers to, like ``numpy:cpu``.
    disturbed : whether the machine was disturbed while it was timed, None where it was not watched; `disturbance` says
        by what.
    processes : the processes that the figures are of (`dlbench.record.schema.Process`), each with its raw
        ``timings_ns`` in order.
    cells : every column of the table by its name, as in `Results.to_pandas`; units stand in the names.
    """

    case: Case
    status: Status
    reason: str
    remedy: str
    verified: bool | None
    step: Figure | None
    speedup: Figure | None
    baseline: str | None
    disturbed: bool | None
    disturbance: str
    processes: tuple[Process, ...]
    cells: Mapping[str, Any]

    @property
    def label(self) -> str:
        """What tells it from the other cases of its suite: ``torch:cpu/eager/train/64``."""
        return self.case.label

    @property
    def samples_per_s(self) -> float | None:
        """Samples a second."""
        per_s: float | None = self.cells["samples_per_s"]
        return per_s

    def __repr__(self) -> str:
        if self.step is None:
            told = self.status if self.status == "ok" else f"{self.status}: {self.problem}"
            return f"<{self.label}: {told}>"
        told = _text(self.step, seconds)
        if self.speedup is not None and self.baseline != self.case.row_name:
            told += f", {_text(self.speedup, times)} vs {self.baseline}"
        return f"<{self.label}: {told}{', disturbed' if self.disturbed else ''}>"

    @property
    def problem(self) -> str:
        """Why it has no figures, and what would help; empty where it is ``ok``."""
        return "" if self.status == "ok" else why(self.reason, self.remedy)


def result_of(row: Row) -> CaseResult:
    """A row of the table as an object."""
    outcome = row.outcome
    return CaseResult(
        case=row.case,
        status=outcome.status,
        reason=outcome.reason,
        remedy=outcome.remedy,
        verified=outcome.verified,
        step=_figure(row, "median_s", "ci_low_s", "ci_high_s"),
        speedup=_figure(row, "speedup", "speedup_low", "speedup_high"),
        baseline=row["baseline"],
        disturbed=outcome.disturbed,
        disturbance=outcome.disturbance,
        processes=outcome.processes,
        cells=types.MappingProxyType(dict(row.cells)),
    )


def _figure(row: Row, value: str, low: str, high: str) -> Figure | None:
    return None if row[value] is None else Figure(row[value], row[low], row[high])


def _text(each: Figure, form: Callable[..., str]) -> str:
    return form(each.value, each.low, each.high)
