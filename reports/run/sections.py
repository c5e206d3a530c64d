"""A report on records as sections, which terminal and Markdown print."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dlbench.analyse.columns import (
    ACCURACY,
    COLD_START,
    CONVERGE,
    COPIES,
    MAIN,
    QUERIES,
    TELEMETRY,
    TRAINING,
    Row,
    told_by,
)
from dlbench.analyse.modes.accuracy import compared
from dlbench.analyse.table import Report, Run
from dlbench.analyse.training import convergence_columns
from dlbench.record.case import HOST, Case
from dlbench.text import is_told

from ..profile import sections as layers
from ..profile.next_step import next_step
from ..queries import offline
from ..tables.model import Column, Line, Section
from ..trainings import by_class
from . import about_record, sweep, tried, words
from .cold_start import behind_others, breaks_even
from .conclusions import conclusions
from .names import names

_BARS = 19
"""The priority of bars: they say nothing that the figures do not, but go before columns that are rarely needed."""
_TITLES = {
    COPIES: "with the copies of a batch to the device and of the result back",
    QUERIES: "queries: what so many per cent of them were quicker than",
    TELEMETRY: "telemetry over the measured windows",
    ACCURACY: "speed × accuracy: what a precision gains, and what it costs on the test part",
    TRAINING: "trained from the initial weights",
    CONVERGE: "trained to a target",
    COLD_START: "cold start: medians over processes of what came before the steady steps",
}


def build_sections(report: Report) -> list[Section]:
    """A section for each table of each record, and one of what they say together."""
    found = [
        section for run in report.runs for some in parts(run, report).values() for section in some
    ]
    notes = (f"! {note}" for note in report.notes)
    steps = next_step(report.runs[0]) if len(report.runs) == 1 else ()
    return [*found, Section(notes=(*notes, *conclusions(report), *steps))]


def rows_so_far(
    report: Report,
    waiting: Mapping[Case, str],
    preliminary: Mapping[Case, Mapping[str, Any]],
) -> list[Section]:
    """The first table of each record, of a run that is going on: of the cases that are `waiting`, for what, or cells
    that are `preliminary`."""
    return [_so_far(run, report, waiting, preliminary) for run in report.runs]


def _so_far(
    run: Run,
    report: Report,
    waiting: Mapping[Case, str],
    preliminary: Mapping[Case, Mapping[str, Any]],
) -> Section:
    rows = [
        dataclasses.replace(row, cells={**row.cells, **preliminary.get(row.case, {})})
        for row in run.rows
    ]

    def line(row: Row) -> Line:
        if row.case in preliminary:
            return Line(words.preliminary(row), words.style(row))
        if row.case in waiting:
            return Line("…", "dim", waiting[row.case], row.case.label)
        return _line(row)

    return Section(
        top=True,
        columns=_columns(run, MAIN, rows, report, grouped=True),
        lines=tuple(map(line, rows)),
        notes=(words.PRELIMINARY,) if preliminary else (),
    )


def parts(run: Run, report: Report) -> dict[str, list[Section]]:
    """The sections of one record by what they are about, in their order: ``main``, ``tried``, ``queries``,
    ``copies``, ``telemetry``, ``offline``, ``sweep``, ``training``, ``converge``, ``by class``, ``accuracy``,
    ``layers``, ``cold start``, ``closing``."""
    measured = [row for row in run.rows if row["status"] == "ok"]
    start = [*behind_others(measured), *breaks_even(measured)] if report.cold_start else []
    return {
        MAIN: [_main(run, report)],
        "tried": list(tried.sections(run)),
        QUERIES: _table(run, QUERIES, measured, report, words.queries(measured)),
        COPIES: _table(run, COPIES, measured, report),
        TELEMETRY: _table(
            run, TELEMETRY, measured, report, about_record.telemetry_unknown(measured)
        ),
        "offline": list(offline.sections(run)),
        "sweep": list(sweep.sections(run, report.baseline)),
        TRAINING: _training(run, measured, report),
        CONVERGE: _converge(run, measured, report),
        "by class": list(by_class.sections(run)) if report.by_class else [],
        ACCURACY: _table(run, ACCURACY, compared(measured), report, words.ACCURACIES),
        "layers": list(layers.sections(run)),
        COLD_START: _table(run, COLD_START, measured, report, start) if report.cold_start else [],
        "closing": [Section(notes=about_record.closing(run))],
    }


def _main(run: Run, report: Report) -> Section:
    shown = tried.measured_in_full(run)
    intervals = any(row["ci_low_s"] is not None for row in run.rows)
    return Section(
        about_record.title(run),
        top=True,
        intro=(about_record.machine(run), words.LEGEND, *([words.INTERVALS] if intervals else [])),
        columns=_columns(run, MAIN, shown, report, grouped=True),
        lines=tuple(_line(row) for row in shown),
        notes=(*words.badges(shown), *words.disturbed_baselines(shown)),
    )


def _table(
    run: Run, name: str, rows: Sequence[Row], report: Report, notes: Sequence[str] = ()
) -> list[Section]:
    there = told_by(name, run.columns, rows)
    if name == COLD_START:
        there = [row for row in there if row.get("cold_start_s") is not None]
    if there:
        columns = _columns(run, name, there, report)
        lines = tuple(Line(words.mark(row), words.style(row)) for row in there)
        return [Section(_TITLES[name], columns=columns, lines=lines, notes=tuple(notes))]
    if name == COLD_START:
        missing = ("! no process recorded a complete start and became steady",)
        return [Section(_TITLES[name], notes=missing)]
    return []


def _training(run: Run, rows: Sequence[Row], report: Report) -> list[Section]:
    once = [row for row in rows if row.case.has_steps]
    return _table(run, TRAINING, once, report, tuple(_confused(once)))


def _converge(run: Run, rows: Sequence[Row], report: Report) -> list[Section]:
    there = [row for row in rows if row["seeds_trained"] is not None]
    return _table(
        run, CONVERGE, there, report, (*convergence_columns.notes(there), *_confused(there))
    )


def _confused(rows: Sequence[Row]) -> Iterator[str]:
    """Which class is most often taken for another one."""
    for row in rows:
        if row["most_confused"]:
            yield f"{row.case.label}: {row['most_confused']}"


def _line(row: Row) -> Line:
    text = "" if row["status"] == "ok" else words.trouble(row)
    return Line(words.mark(row), words.style(row), text, row.case.label)


def _columns(
    run: Run, name: str, rows: Sequence[Row], report: Report, grouped: bool = False
) -> tuple[Column, ...]:
    """Who, and what the section knows of them; columns without an entry are left out."""
    found = names(rows, grouped=grouped)
    over = {row["interval_over"] for row in rows} - {None}
    filled = {
        "baseline": run.baseline.name.removesuffix(f":{HOST}"),
        "processes": f" ({max(over)})" if len(over) == 1 else "",
    }
    for column in run.columns:
        if name in column.sections:
            figures = [row for row in rows if row["status"] == "ok"]
            cells = tuple(column.text(row) if row["status"] == "ok" else "" for row in rows)
            if any(cells) and not (column.varies and len(set(map(column.text, figures))) == 1):
                title = column.title.format(**filled)
                found.append(Column(title, cells, column.right, column.priority))
                if column.name == "speedup":
                    found += _bars(rows)
    return tuple(found)


def _bars(rows: Sequence[Row]) -> list[Column]:
    """The speed-ups as bars, as long as they are great; none where there is nothing to compare."""
    compared = [
        row
        for row in rows
        if row["status"] == "ok"
        and row["speedup"] is not None
        and not (row["disturbed"] or row["baseline_disturbed"])
        and is_told(row["speedup_low"], row["speedup_high"])
    ]
    if all(row["baseline"] == row.case.row_name for row in compared):
        return []
    longest = max(row["speedup"] for row in compared)
    shares = tuple(row["speedup"] / longest if row in compared else 0.0 for row in rows)
    return [Column("", ("",) * len(rows), priority=_BARS, bars=shares)]
