"""What charts know of rows: which of them have figures to draw, in which groups, and what they are called."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dlbench.analyse.columns import Row
from dlbench.text import listed, one_line, plural

from ...run import words
from .figure import MOST_ROWS

Group = tuple[str, list[Row]]


def measured(rows: Iterable[Row]) -> list[Row]:
    """Those with a verified figure; nothing else is ever drawn."""
    return [row for row in rows if row["status"] == "ok" and row["median_s"] is not None]


def groups(rows: Sequence[Row]) -> list[Group]:
    """The rows by what is to be compared within, under a heading: suite, scenario, batch size, threads where there are
    several."""
    several = {
        name: len({getattr(row.case, name) for row in rows}) > 1 for name in ("suite", "threads")
    }
    found: dict[str, list[Row]] = {}
    for row in rows:
        case = row.case
        parts = [case.suite] if several["suite"] else []
        parts += [case.scenario, f"batch {case.batch:,}"]
        parts += [plural(case.threads, "thread")] if several["threads"] else []
        found.setdefault(one_line(", ".join(parts)), []).append(row)
    return list(found.items())


def drawn(found: Sequence[Group], most: int = MOST_ROWS) -> list[Group]:
    """As many of the rows as a chart has room for: of each group the first ones, an equal number where all are long."""
    room, shown = most, []
    for number, (heading, rows) in enumerate(found):
        share = room // (len(found) - number)
        kept = rows[: max(share, 1)] if room > 0 else []
        room -= len(kept)
        if kept:
            shown.append((heading, kept))
    return shown


def name(row: Row) -> str:
    """What a row is called in a chart: ``torch 2.13 · cpu · eager``, with a ``!`` before it where it was disturbed; all
    that is drawn is verified."""
    case = row.case
    told = [words.backend(row), case.device, case.mode]
    told += [] if case.is_plain else [case.precision]
    return f"{'! ' * bool(row['disturbed'])}{one_line(' · '.join(filter(None, told)))}"


def not_drawn(every: Sequence[Row], shown: Sequence[Group]) -> tuple[str, ...]:
    """Which rows a chart leaves out, and why."""
    there = {row.case for _, rows in shown for row in rows}
    left = [row for row in every if row.case not in there]
    with_figures = [row for row in left if row["status"] == "ok" and row["median_s"] is not None]
    notes = []
    if with_figures:
        total = len(with_figures) + len(there)
        notes.append(f"{len(there):,} of {total:,} rows are drawn; the table has all of them.")
    by_status: dict[str, list[str]] = {}
    for row in left:
        if row["status"] != "ok":
            label = one_line(row.case.label)
            by_status.setdefault(words.STATUS_WORDS[row["status"]], []).append(label)
    for status, labels in by_status.items():
        some = labels if len(labels) <= 4 else [*labels[:3], f"{len(labels) - 3:,} more"]
        notes.append(f"Not drawn, since {status}: {listed(some)}.")
    return tuple(notes)
