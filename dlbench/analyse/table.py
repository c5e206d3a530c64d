"""The one table that every report shows: a row per case, computed from a record's lines and nothing
else.

Records are put beneath each other and never pooled: each keeps its own baseline, peak rate and
intervals.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Protocol

import pandas as pd

from dlbench.analyse import cold_start as ledger
from dlbench.analyse import device_columns
from dlbench.analyse.outcomes import WORST_FIRST, Outcome, outcomes
from dlbench.analyse.self_check import SelfMeasurement, self_measurement
from dlbench.analyse.speedup import BASELINE, Bases, baseline_of, bounds
from dlbench.analyse.statistics import case_estimate, median
from dlbench.data.datasets import NAMES
from dlbench.record import comparability
from dlbench.record.case import AXES, Baseline, Case, case_of, columns, find_baseline
from dlbench.record.schema import Data, End, Header, Peak, Record
from dlbench.telemetry import columns as telemetry
from dlbench.text import plural

COLUMNS: Mapping[str, str] = {
    **{axis.name: "int64" if axis.type is int else "object" for axis in AXES},
    "version": "object",
    "data": "object",
    "seed": "int64",
    "status": "object",
    "verified": "object",
    "reason": "object",
    "median_s": "float64",
    "ci_low_s": "float64",
    "ci_high_s": "float64",
    "interval_over": "object",
    "samples_per_s": "float64",
    "speedup": "float64",
    "speedup_low": "float64",
    "speedup_high": "float64",
    "baseline": "object",
    "with_copies_s": "float64",
    "with_copies_low_s": "float64",
    "with_copies_high_s": "float64",
    "speedup_with_copies": "float64",
    "speedup_with_copies_low": "float64",
    "speedup_with_copies_high": "float64",
    "share_of_peak": "float64",
    "first_step_s": "float64",
    "upload_s": "float64",
    "download_s": "float64",
    "disturbed": "object",
    "disturbance": "object",
    "max_relative_error": "float64",
    "ambiguous_branches": "object",
    "epochs": "object",
    "final_loss": "float64",
    "test_accuracy": "float64",
    **telemetry.COLUMNS,
    **device_columns.COLUMNS,
    "python": "object",
    "packages_digest": "object",
    "remedy": "object",
    "record": "object",
}
"""Columns of the table and how pandas holds them; what is unknown is NaN or None, never 0.

Times ending in ``_s`` are seconds. `median_s` is the median of the processes' median step times,
`ci_low_s` to `ci_high_s` its 95 % interval over `interval_over`, `speedup` the baseline's median /
the row's, `share_of_peak` the achieved floating-point rate / that of a matrix product on this
machine's CPU (CPU rows only), `first_step_s` the first step of a process with any compilation,
`upload_s` and `download_s` the copies of a batch in and of a step's result out, `with_copies_s` a
step with both, one after the other (on the CPU the step alone), and `speedup_with_copies` the ratio
of those. `disturbed` says whether the machine was disturbed while the figures were taken (None: not
watched), `disturbance` by what. `max_relative_error` is error / scale, the worst of all checks. The
device's own columns are those of `dlbench.analyse.device_columns` and `dlbench.telemetry.columns`; `python` and
`packages_digest` are its workers' environment.
"""


@dataclasses.dataclass(frozen=True)
class Run:
    """What a report says about one record.

    Attributes
    ----------
    path : where the record is, as the user named it.
    header : its first line.
    frame : its rows; see `COLUMNS`.
    peak_flops_per_s : the median matrix-product rate by number of threads.
    end : how it ended; None when it was cut off.
    parts : in how many runs it was written; more than one when it was resumed.
    record : all of it, for formats that show more than the rows.
    baseline : the row that its speed-ups refer to; without cases where there is none.
    itself : what the harness measured of itself.
    """

    path: str
    header: Header
    frame: pd.DataFrame
    peak_flops_per_s: Mapping[int, float]
    end: End | None
    record: Record
    baseline: Baseline = dataclasses.field(default_factory=lambda: Baseline(BASELINE, ()))
    parts: int = 1
    itself: SelfMeasurement = dataclasses.field(default_factory=SelfMeasurement)

    @property
    def name(self) -> str:
        """The record's file name, which stands in the table's last column."""
        return PurePath(self.path).name


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything a reporter needs: the records with their rows, and `notes` on reading them
    together. With `cold_start` the rows have the columns of `dlbench.analyse.cold_start`."""

    runs: tuple[Run, ...]
    notes: tuple[str, ...] = ()
    baseline: str = BASELINE
    cold_start: bool = False

    @property
    def frame(self) -> pd.DataFrame:
        """The rows of all records, in the order in which these were given."""
        return (
            pd.concat([run.frame for run in self.runs], ignore_index=True)
            if self.runs
            else _frame([])
        )


@dataclasses.dataclass(frozen=True)
class ColdStart:
    """That a report has the cold-start ledger: `against` is the row that every row is held against, None for the row
    of the same backend and device in the backend's own mode."""

    against: str | None = None


class Reporter(Protocol):
    """An output format (entry points ``dlbench.reports``): a pure function from a report to text.

    Formats for machines ignore `width` (columns of the terminal) and `colour`.
    """

    def __call__(self, report: Report, *, width: int = 80, colour: bool = False) -> str:
        """The report as text that ends in a line break."""


def build(
    records: Sequence[tuple[str, Record]],
    baseline: str | None = None,
    cold_start: ColdStart | None = None,
) -> Report:
    """A report on records, each given with the path it was read from.

    Parameters
    ----------
    records : paths with what was read there.
    baseline : the row that speed-ups refer to, as in `find_baseline`; None for `BASELINE`, if that is there.
    cold_start : has the rows say what came before their steady steps, in the columns of `dlbench.analyse.cold_start`.

    Raises
    ------
    UsageError : no record has a row of that baseline, or of that to hold cold starts against; or it has several.
    """
    cases = [case for _, record in records for case in record.header.cases]
    if baseline is not None:
        find_baseline(baseline, cases)
    if cold_start is not None and cold_start.against is not None:
        ledger.check_against(cold_start.against, cases)
    name = baseline_of(baseline, cases).name
    runs = tuple(
        Run(
            path=path,
            header=record.header,
            frame=rows(record, PurePath(path).name, baseline, cold_start),
            baseline=baseline_of(baseline, record.header.cases),
            peak_flops_per_s=_peaks(record),
            end=record.end,
            record=record,
            parts=record.parts,
            itself=self_measurement(record),
        )
        for path, record in records
    )
    notes = (*_notes(runs), *_environment_notes(runs), *_baseline_notes(runs))
    return Report(runs, notes, name, cold_start is not None)


def rows(
    record: Record,
    name: str = "",
    baseline: str | None = None,
    cold_start: ColdStart | None = None,
) -> pd.DataFrame:
    """The table of one record: see `COLUMNS`. `name` is what the column ``record`` says.

    Rows are grouped by scenario (training first) and device, and sorted by batch and speed there,
    those without a figure beneath. Only rows with the status ``ok`` have figures and can be the
    baseline.
    """
    found = outcomes(record)
    bases = Bases(found, baseline_of(baseline, [outcome.case for outcome in found]))
    peaks = _peaks(record)
    entries = ledger.Ledger(found, cold_start.against) if cold_start else None
    table = []
    for outcome in sorted(found, key=_rank):
        row = _row(outcome, record.header, bases, peaks, name)
        seen = telemetry.cells(outcome.case, outcome.processes, outcome.beside)
        # the driver's own name of a device goes before the framework's
        row |= {key: cell for key, cell in seen.items() if cell is not None}
        table.append(row | entries.cells(outcome) if entries else row)
    return _frame(table, {**COLUMNS, **ledger.COLUMNS} if entries else COLUMNS)


def data_name(data: Data) -> str:
    """The name of the data that was used, which is not the name of what a stand-in stands in
    for."""
    stand_in = f"stand-in-{data.name}"
    return stand_in if data.stand_in and stand_in in NAMES else data.name


def _rank(outcome: Outcome) -> tuple[str, bool, str, bool, int, int, float, str]:
    case = outcome.case
    middle_s = median(list(outcome.medians_s.values())) if outcome.medians_s else math.inf
    beneath = outcome.status != "ok"
    trouble = WORST_FIRST.index(outcome.status) if beneath else 0
    return (
        case.suite,
        case.scenario != "train",
        case.device,
        beneath,
        case.batch,
        trouble,
        middle_s,
        case.label,
    )


def _row(
    outcome: Outcome,
    header: Header,
    bases: Bases,
    peaks: Mapping[int, float],
    name: str,
) -> dict[str, Any]:
    case = outcome.case
    row: dict[str, Any] = (
        columns(case)
        | {
            "version": outcome.version,
            "data": data_name(header.data),
            "seed": header.seed,
            "status": outcome.status,
            "verified": outcome.verified,
            "reason": outcome.reason,
            "remedy": outcome.remedy,
            "disturbed": outcome.disturbed,
            "disturbance": outcome.disturbance or None,
            "first_step_s": outcome.first_step_s,
            "upload_s": outcome.upload_s,
            "download_s": outcome.download_s,
            "max_relative_error": outcome.max_relative_error,
            "ambiguous_branches": outcome.ambiguous_branches,
            "epochs": outcome.epochs,
            "final_loss": outcome.final_loss,
            "test_accuracy": outcome.test_accuracy,
            "record": name,
        }
        | outcome.device
    )
    if environment := header.environments.get(case.backend):
        row |= {
            "python": environment.python,
            "packages_digest": environment.packages_digest,
        }
    if outcome.medians_s:
        estimate = case_estimate(list(outcome.medians_s.values()))
        samples_per_s = case.batch / estimate.value
        row |= {
            "median_s": estimate.value,
            "interval_over": plural(estimate.processes, "process"),
            "samples_per_s": samples_per_s,
            "share_of_peak": _share(case, header, samples_per_s, peaks),
        } | bounds(estimate, "ci_low_s", "ci_high_s")
    if outcome.with_copies_s:
        estimate = case_estimate(list(outcome.with_copies_s.values()))
        row |= {"with_copies_s": estimate.value}
        row |= bounds(estimate, "with_copies_low_s", "with_copies_high_s")
    return row | bases.cells(outcome)


def _share(
    case: Case, header: Header, samples_per_s: float, peaks: Mapping[int, float]
) -> float | None:
    flops = header.training_flops if case.scenario == "train" else header.forward_flops
    peak = peaks.get(case.threads)
    if not case.on_host or not peak or not flops:
        return None
    return flops * samples_per_s / peak


def _peaks(record: Record) -> dict[int, float]:
    """Median of all matrix-product rates (FLOP/s) by number of threads."""
    rates: dict[int, list[float]] = {}
    for line in record.lines:
        if isinstance(line, Peak):
            rates.setdefault(line.threads, []).extend(line.flops_per_s)
    return {threads: median(found) for threads, found in rates.items() if found}


def _frame(
    given: Sequence[Mapping[str, Any]], columns: Mapping[str, str] = COLUMNS
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            column: pd.Series([row.get(column) for row in given], dtype=kind)
            for column, kind in columns.items()
        }
    )


def _notes(runs: Sequence[Run]) -> tuple[str, ...]:
    """What keeps rows of different records from being compared."""
    questions: Mapping[str, Any] = {
        # rows of different suites are never taken for comparable
        "different data": _within_suites(runs, lambda header: header.data.fingerprint),
        "different workloads": _within_suites(runs, lambda header: header.workload_digest),
        "different seeds": [run.header.seed for run in runs],
        "different machines": [
            (m.cpu, m.logical_cores, m.usable_cores, m.memory_bytes, m.gpus)
            for m in (run.header.machine for run in runs)
        ],
        "different package versions": [run.header.machine.packages for run in runs],
    }
    names = ", ".join(run.name for run in runs)
    return tuple(
        f"{names}: {what}; their rows stand side by side and are not to be compared"
        if what != "different package versions"
        else f"{names}: {what}"
        for what, answers in questions.items()
        if any(answer != answers[0] for answer in answers)
    )


def _environment_notes(runs: Sequence[Run]) -> Iterator[str]:
    """Backends whose workers did not find the same installed in all records."""
    for backend in dict.fromkeys(name for run in runs for name in run.header.environments):
        known = [
            (run.name, run.header.environments[backend])
            for run in runs
            if backend in run.header.environments
        ]
        (first, environment), *others = known
        for name, other in others:
            if differences := comparability.environments(backend, environment, other):
                told = "; ".join(
                    f"{each.what} is {each.recorded} in {first} and {each.now} in {name}"
                    for each in differences
                )
                yield f"different environments: {told}"


def _within_suites(runs: Sequence[Run], question: Callable[[Header], str]) -> list[bool]:
    """For each run whether its answer is that of the first run of its suite."""
    first: dict[str, str] = {}
    return [
        question(run.header) == first.setdefault(run.header.suite, question(run.header))
        for run in runs
    ]


def _baseline_notes(runs: Sequence[Run]) -> Iterator[str]:
    """Why a column of speed-ups is empty although the baseline is among the rows."""
    for run in runs:
        cases = map(case_of, run.frame.to_dict("records"))
        base = run.frame[[run.baseline.has(case) for case in cases]]
        if len(base) and base["median_s"].isna().all() and run.frame["median_s"].notna().any():
            status = str(base["status"].iloc[0]).replace("_", " ")
            yield f"{run.name}: no speed-ups, since the baseline {run.baseline.name} has no figures ({status})"
