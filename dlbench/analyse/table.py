"""The one table that every report shows: a row per case, computed from a record's lines and nothing
else.

Records are put beneath each other and never pooled: each keeps its own baseline, peak rate and
intervals.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Protocol

from dlbench.analyse import cold_start as ledger
from dlbench.analyse import device_columns, telemetry_columns
from dlbench.analyse.case_columns import COLUMNS, Seen
from dlbench.analyse.columns import Column, Row
from dlbench.analyse.modes.accuracy import Accuracies
from dlbench.analyse.modes.trials import Tried, not_taken, tried
from dlbench.analyse.outcomes import WORST_FIRST, Outcome, outcomes
from dlbench.analyse.queries.query_columns import query_cells
from dlbench.analyse.self_check import SelfMeasurement, self_measurement
from dlbench.analyse.speedup import BASELINE, Bases, baseline_of
from dlbench.analyse.statistics import median
from dlbench.analyse.training.classes import class_cells
from dlbench.analyse.training.convergence import converged
from dlbench.analyse.training.convergence_columns import converge_cells
from dlbench.record import comparability
from dlbench.record.baseline import Baseline, find_baseline
from dlbench.record.case import Case
from dlbench.record.comparability import Sampled
from dlbench.record.facts import Environment
from dlbench.record.schema import End, Header, Peak, Record
from dlbench.spec.scenarios import SCENARIOS

if TYPE_CHECKING:
    import pandas as pd

_KINDS = {
    "data": "data",
    "workload": "workloads",
    "seed": "seeds or initial weights",
    "load": "loads",
}
"""What is different where these facts are; all others are of machines."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What a report says about one record.

    Attributes
    ----------
    path : where the record is, as the user named it.
    header : its first line.
    outcomes : what became of its cases, in the order of the header.
    rows : the same as rows of the table, ranked.
    columns : those that the rows have.
    peak_flops_per_s : the median matrix-product rate by number of threads.
    end : how it ended; None when it was cut off.
    parts : in how many runs it was written; more than one when it was resumed.
    tried : what became of the modes of which the best was to be found; empty where all were measured in full.
    record : all of it, for formats that show more than the rows.
    baseline : the row that its speed-ups refer to; without cases where there is none.
    itself : what the harness measured of itself.
    """

    path: str
    header: Header
    outcomes: tuple[Outcome, ...]
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    peak_flops_per_s: Mapping[int, float]
    end: End | None
    record: Record
    baseline: Baseline = dataclasses.field(default_factory=lambda: Baseline(BASELINE, ()))
    parts: int = 1
    tried: tuple[Tried, ...] = ()
    itself: SelfMeasurement = dataclasses.field(default_factory=SelfMeasurement)

    @property
    def name(self) -> str:
        """The record's file name, which stands in the table's last column."""
        return PurePath(self.path).name


@dataclasses.dataclass(frozen=True)
class Report:
    """Everything a reporter needs: the records with their rows, and `notes` on reading them
    together. With `cold_start` the rows have the columns of `dlbench.analyse.cold_start`, and with `by_class` trainings
    have a table each with what was taken for which class."""

    runs: tuple[Run, ...]
    notes: tuple[str, ...] = ()
    baseline: str = BASELINE
    cold_start: bool = False
    by_class: bool = False

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of its rows."""
        return COLUMNS + ledger.COLUMNS if self.cold_start else COLUMNS

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all records, in the order in which these were given."""
        return tuple(row for run in self.runs for row in run.rows)

    @property
    def frame(self) -> pd.DataFrame:
        """The rows as a DataFrame with a column for each of `columns`."""
        import pandas as pd

        return pd.DataFrame(
            {
                column.name: pd.Series([row[column.name] for row in self.rows], dtype=column.dtype)
                for column in self.columns
            }
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


class ChartFile(Protocol):
    """A chart as a file (entry points ``dlbench.charts``): a pure function from a report to its contents."""

    def __call__(self, report: Report, form: str) -> bytes:
        """The chart; `form` is ``svg`` or ``png``."""


def build(
    records: Sequence[tuple[str, Record]],
    baseline: str | None = None,
    cold_start: ColdStart | None = None,
    by_class: bool = False,
) -> Report:
    """A report on records, each given with the path it was read from.

    Parameters
    ----------
    records : paths with what was read there.
    baseline : the row that speed-ups refer to, as in `find_baseline`; None for `BASELINE`, if that is there.
    cold_start : has the rows say what came before their steady steps, in the columns of `dlbench.analyse.cold_start`.
    by_class : as in `Report`.

    Raises
    ------
    UsageError : no record has a row of that baseline, or of that to hold cold starts against; or it has several.
    """
    cases = [case for _, record in records for case in _shown(record)]
    if baseline is not None:
        find_baseline(baseline, cases)
    if cold_start is not None and cold_start.against is not None:
        ledger.check_against(cold_start.against, cases)
    runs = tuple(_run(path, record, baseline, cold_start) for path, record in records)
    notes = (
        *_notes(runs),
        *_sampling_notes(runs),
        *_environment_notes(runs),
        *_baseline_notes(runs),
        *_verification_notes(runs),
    )
    return Report(runs, notes, baseline_of(baseline, cases).name, cold_start is not None, by_class)


def rebased(run: Run, word: str) -> Run:
    """A run whose speed-ups refer to another of its rows.

    Raises
    ------
    UsageError : the word names no row, or several; as in `find_baseline`.
    """
    baseline = find_baseline(word, [row.case for row in run.rows])
    bases = Bases(run.outcomes, baseline)
    empty = {
        each.name: None for each in run.columns if each.name.startswith(("baseline", "speedup"))
    }
    rows = tuple(
        dataclasses.replace(row, cells={**row.cells, **empty, **bases.cells(row.outcome)})
        for row in run.rows
    )
    return dataclasses.replace(run, rows=rows, baseline=baseline)


def _run(path: str, record: Record, baseline: str | None, cold_start: ColdStart | None) -> Run:
    """One record. Rows are grouped by scenario (training first) and device, and sorted by batch and speed there,
    those without a figure beneath. Only rows with the status ``ok`` have figures and can be the baseline."""
    found = tuple(outcomes(record))
    base, peaks = baseline_of(baseline, [outcome.case for outcome in found]), _peaks(record)
    bases, accuracies, trained = Bases(found, base), Accuracies(record), converged(record)
    by_class = class_cells(record)
    entries = ledger.Ledger(found, cold_start.against) if cold_start else None
    columns = COLUMNS + ledger.COLUMNS if entries else COLUMNS
    rows = []
    for outcome in sorted(found, key=_rank):
        sampled = telemetry_columns.cells(
            outcome.case, outcome.processes, outcome.beside, record.header.cases
        )
        cells = bases.cells(outcome) | device_columns.device_cells(outcome.processes)
        # the driver's own name of a device goes before the framework's
        cells |= {name: cell for name, cell in sampled.items() if cell is not None}
        cells |= entries.cells(outcome) if entries else {}
        if outcome.status == "ok":
            cells |= accuracies.cells(outcome.case) | by_class.get(outcome.case, {})
            cells |= converge_cells(trained.get(outcome.case))
        cells |= query_cells(outcome, record.header.load)
        seen = Seen(outcome, record.header, PurePath(path).name, peaks, cells)
        values = {column.name: column.of(seen) for column in columns}
        rows.append(Row(outcome.case, outcome, values))
    return Run(
        path=path,
        header=record.header,
        outcomes=found,
        rows=tuple(rows),
        columns=columns,
        peak_flops_per_s=peaks,
        end=record.end,
        record=record,
        baseline=base,
        parts=record.parts,
        tried=tuple(tried(record, {each.case for each in found if each.status != "ok"})),
        itself=self_measurement(record),
    )


def _shown(record: Record) -> list[Case]:
    """The cases that have rows, or might have."""
    slower = not_taken(record)
    return [case for case in record.header.cases if case not in slower]


def _rank(outcome: Outcome) -> tuple[str, int, str, bool, int, int, float, str]:
    case = outcome.case
    middle_s = median(list(outcome.medians_s.values())) if outcome.medians_s else math.inf
    beneath = outcome.status != "ok"
    trouble = WORST_FIRST.index(outcome.status) if beneath else 0
    return (
        case.suite,
        SCENARIOS.index(case.scenario),
        case.device,
        beneath,
        case.batch,
        trouble,
        middle_s,
        case.label,
    )


def _peaks(record: Record) -> dict[int, float]:
    """Median of all matrix-product rates (FLOP/s) by number of threads."""
    rates: dict[int, list[float]] = {}
    for line in record.lines:
        if isinstance(line, Peak):
            rates.setdefault(line.threads, []).extend(line.flops_per_s)
    return {threads: median(found) for threads, found in rates.items() if found}


def _notes(runs: Sequence[Run]) -> Iterator[str]:
    """What keeps rows of different records from being compared; those of different suites never are."""
    names = ", ".join(run.name for run in runs)
    first: dict[str, Header] = {}
    pairs = [(first.setdefault(run.header.suite, run.header), run.header) for run in runs]
    unlike = (each.field for pair in pairs for each in comparability.unlike(*pair))
    for kind in dict.fromkeys(_KINDS.get(field, "machines") for field in unlike):
        yield f"{names}: different {kind}; their rows stand side by side and are not to be compared"
    # which packages are looked for is not the same in all versions of dlbench
    if any(comparability.differing(*(each.machine.packages for each in pair)) for pair in pairs):
        yield f"{names}: different package versions"


def _sampling_notes(runs: Sequence[Run]) -> Iterator[str]:
    """Cases that were sampled more in one record than in another."""
    first: dict[Case, tuple[str, Sampled]] = {}
    pairs: dict[tuple[str, str], list[tuple[str, Sampled, Sampled]]] = {}
    for run in runs:
        for outcome in run.outcomes:
            if outcome.sampled:
                name, sampled = first.setdefault(outcome.case, (run.name, outcome.sampled))
                about = outcome.case.label, sampled, outcome.sampled
                pairs.setdefault((name, run.name), []).append(about)
    yield from filter(None, (comparability.sampling_note(each, *of) for of, each in pairs.items()))


def _environment_notes(runs: Sequence[Run]) -> Iterator[str]:
    """Backends whose workers did not find the same installed in all records."""
    first: dict[str, tuple[str, Environment]] = {}
    for run in runs:
        for backend, found in run.header.environments.items():
            name, known = first.setdefault(backend, (run.name, found))
            if differences := comparability.environments(backend, known, found):
                told = "; ".join(each.between(name, run.name) for each in differences)
                yield f"different environments: {told}"


def _verification_notes(runs: Sequence[Run]) -> Iterator[str]:
    """What was compared where a suite says that it is verified at a smaller input."""
    told = {
        (outcome.case.suite, outcome.verified_at): None
        for run in runs
        for outcome in run.outcomes
        if outcome.verified_at
    }
    for suite, what in told:
        yield f"{suite} is verified at a smaller input where its suite says so: {what}"


def _baseline_notes(runs: Sequence[Run]) -> Iterator[str]:
    """Why a column of speed-ups is empty although the baseline is among the rows."""
    for run in runs:
        base = [row for row in run.rows if run.baseline.has(row.case)]
        figures = [row["median_s"] is not None for row in base]
        if base and not any(figures) and any(row["median_s"] is not None for row in run.rows):
            status = base[0]["status"].replace("_", " ")
            yield f"{run.name}: no speed-ups, since the baseline {run.baseline.name} has no figures ({status})"
