"""The cold-start ledger in words: what came before a row's steady steps, and when that has paid off."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.text import Text

from dlbench.analyse.table import Report, Run
from dlbench.record.case import case_of
from dlbench.text import one_line, plural

from . import words
from .columns import Column, fitting, headings, marked, name_of, row_text, titled, without, wrapped

_PARTS = {
    "interpreter": "interpreter_s",
    "import": "import_s",
    "device start": "device_start_s",
    "build": "build_s",
    "compile": "compile_s",
}
HEADING = "cold start: medians over processes of what came before the steady steps"


def rows_with(run: Run) -> list[words.Row]:
    """The rows of which the start is known."""
    return [row for row in words.rows_of(run) if row.get("cold_start_s") is not None]


def cells(rows: Sequence[words.Row]) -> dict[str, list[str]]:
    """Columns by title."""
    parts = {
        title: [words.seconds(row[name]) for row in rows]
        for title, name in _PARTS.items()
        if any(row[name] is not None for row in rows)
    }
    return {
        **parts,
        "in all": [words.seconds(row["cold_start_s"]) for row in rows],
        "steady after": [_steps(row["steps_until_steady"]) for row in rows],
        "first step": [words.seconds(row["first_step_s"]) for row in rows],
        "over": [plural(row["cold_start_processes"], "process") for row in rows],
    }


def section(run: Run, report: Report, width: int) -> list[Text]:
    """The ledger for a terminal; nothing where it was not asked for."""
    if not report.cold_start:
        return []
    rows = rows_with(run)
    if not rows:
        return wrapped(_NOTHING, width, "yellow")
    columns = [
        Column("backend", tuple(map(name_of, rows))),
        Column("device", tuple(row["device"] for row in rows)),
        Column("mode", tuple(row["mode"] for row in rows)),
        titled("scenario", (row["scenario"] for row in rows)),
        titled("batch", (f"{row['batch']:,}" for row in rows), right=True),
        *(titled(title, column, right=True) for title, column in cells(rows).items()),
    ]
    columns, left_out = fitting([column for column in columns if any(column.cells)], width)
    lines = [Text(f" {HEADING}", "bold"), headings(columns)]
    lines += [marked(row, row_text(columns, index)) for index, row in enumerate(rows)]
    lines += without(left_out, width)
    return lines + [line for told in paid_off(rows) for line in wrapped(f"→ {told}", width)]


_NOTHING = "! cold start: no row has a process that tells all of its beginning and became steady"


def paid_off(rows: Sequence[words.Row]) -> list[str]:
    """When each row has made up for its start, a sentence each; how to ask where no row is held against another."""
    told = [_sentence(row) for row in rows if row["payback"] is not None]
    if told or len({case_of(row).row_name for row in rows}) < 2:
        return told
    return [
        "No row has another mode of its backend beside it; --cold-start-baseline BACKEND:DEVICE names a row."
    ]


def _sentence(row: words.Row) -> str:
    who, other = words.label(row), row["against"]
    match row["payback"]:
        case "after":
            return f"{who} has made up for its later start against {other} after {_bounds(row)}."
        case "never":
            return f"{who} starts later than {other}, and its steps are longer: it never makes up for it."
        case "at once":
            return f"{who} starts no later than {other}, and its steps are shorter: nothing to make up for."
        case "until":
            return f"{who} is ahead of {other} for {_bounds(row)}, and behind from then on."
    reason = one_line(row["payback_reason"] or "")
    return f"When {who} has made up for its start against {other} cannot be told: {reason}."


def _bounds(row: Mapping[str, float]) -> str:
    """``140 steps [120, 170]``, each rounded up to whole steps."""
    low, high = (f"{math.ceil(row[f'payback_steps_{side}']):,}" for side in ("low", "high"))
    return f"{plural(math.ceil(row['payback_steps']), 'step')} [{low}, {high}]"


def _steps(value: float) -> str:
    """A number of steps, which a median over an even number of processes may halve."""
    return "1 step" if value == 1 else f"{value:g} steps"
