"""What a column of the table is: its name for machines, how its cells are computed, and how people read them.

A column is declared once. CSV, JSON and the DataFrame take its name and its value; the terminal, Markdown and
whatever else people read take its title and its text.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dlbench.analyse.outcomes import Outcome
from dlbench.record.case import Case

ALWAYS = 100
"""The priority of a column that is never hidden."""

MAIN, COPIES, TELEMETRY = "main", "copies", "telemetry"
TRAINING, COLD_START, ACCURACY, QUERIES = "training", "cold start", "accuracy", "queries"
CONVERGE = "converge"
"""Sections of a report that have columns."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table: a case, what came of it, and the value of each column by its name; None is unknown."""

    case: Case
    outcome: Outcome
    cells: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        """The value of a column."""
        return self.cells[name]

    def get(self, name: str) -> Any:
        """The value of a column, None where the table has no such."""
        return self.cells.get(name)


@dataclasses.dataclass(frozen=True)
class Column:
    """One column.

    Attributes
    ----------
    name : what CSV, JSON and the DataFrame call it; times end in ``_s`` (seconds), sizes in ``_bytes``.
    dtype : how pandas holds it.
    value : its value from what is known of the case (`dlbench.analyse.table.Seen`); by default, what one of the
        functions that fill several columns at once told under its name.
    sections : in which tables for people it stands; none for one that only machines read.
    title : its heading there; ``{baseline}`` and ``{processes}`` are filled in.
    form : the text of a known value.
    show : the text of a cell, in place of `form`, where it says more than one value.
    right : whether it is aligned to the right.
    priority : what does not fit into a terminal is hidden, the least priority first.
    varies : whether it is shown only where rows differ in it.
    """

    name: str
    dtype: str = "object"
    value: Callable[[Any], Any] | None = None
    sections: tuple[str, ...] = ()
    title: str = ""
    form: Callable[[Any], str] = str
    show: Callable[[Row], str] | None = None
    right: bool = True
    priority: int = 50
    varies: bool = False

    def of(self, seen: Any) -> Any:
        """Its value for a case; None when unknown."""
        value = self.value(seen) if self.value else seen.cells.get(self.name)
        if value is None or self.dtype == "object":
            return value
        if self.dtype == "int64":
            return int(value)
        return None if math.isnan(value) else float(value)

    def text(self, row: Row) -> str:
        """Its cell in a table for people; empty when unknown."""
        if self.show:
            return self.show(row)
        value = row.get(self.name)
        return "" if value is None else self.form(value)


def interval(form: Callable[..., str], name: str, low: str, high: str) -> Callable[[Row], str]:
    """The text of three columns in one cell: a value and its interval."""
    return lambda row: form(row[name], row[low], row[high])


BADGE = "≠"
"""Behind a speed-up over a row that computes in another precision, followed by that."""


def badged(show: Callable[[Row], str]) -> Callable[[Row], str]:
    """The text of a speed-up, with a badge where it is over another precision."""

    def shown(row: Row) -> str:
        badge = row.get("speedup_badge")
        return f"{show(row)} {BADGE}{badge.rpartition(' ')[2]}" if badge else show(row)

    return shown


def told_by(section: str, columns: Sequence[Column], rows: Sequence[Row]) -> list[Row]:
    """The rows of which a section knows anything."""
    own = [column for column in columns if section in column.sections]
    return [row for row in rows if any(column.text(row) for column in own)]
