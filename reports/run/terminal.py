"""The table for people at a terminal: ranked rows, what is missing and why beneath, and what it all
says.

The mark says what colour says too, so nothing is lost in a pipe. Where the columns do not fit, the
least important are left out and named.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from dlbench.analyse.table import Report, Run

from . import cold_start, words
from .columns import (
    GAP,
    Column,
    fitting,
    headings,
    marked,
    name_of,
    row_text,
    titled,
    without,
    wrapped,
)
from .conclusions import readings
from .sections import devices, sampled, sweeps, trainings

_LEAST_TEXT = 30


def render(report: Report, *, width: int = 80, colour: bool = False) -> str:
    """The report as lines of at most `width` columns wherever that can be done, with ANSI colours
    if `colour`."""
    width = max(width, 40)
    lines: list[Text] = []
    for run in report.runs:
        lines += [*_run(run, report, width), Text()]
    lines = lines[:-1]
    for note in report.notes:
        lines += wrapped(f"! {note}", width, "yellow")
    for reading in readings(report):
        lines += wrapped(reading, width, "bold")
    return _ansi(lines, colour)


def _run(run: Run, report: Report, width: int) -> list[Text]:
    rows = words.rows_of(run)
    measured = [row for row in rows if row["status"] == "ok"]
    base = words.against(report.baseline)
    columns, left_out = fitting(_columns(rows, base), width)
    batches = sorted({row["batch"] for row in rows})
    lines = wrapped(words.title(run), width, "bold")
    lines += [*wrapped(words.machine(run), width), Text(), *wrapped(words.LEGEND, width, "dim")]
    if any(row["ci_low_s"] is not None for row in rows):
        lines += wrapped(words.INTERVALS, width, "dim")
    lines.append(Text())
    if measured:
        lines.append(headings(columns))
    several = len({row["device"] for row in measured}) > 1
    heading = None
    for row in rows:
        above = (row["scenario"], row["device"] if several else "")
        if above != heading:
            heading = above
            batch = f", batch {batches[0]:,}" if len(batches) == 1 else ""
            place = f" · {row['device']}" if several else ""
            lines.append(Text(f" {row['scenario']}{batch}{place}", "bold"))
        if row["status"] == "ok":
            lines.append(marked(row, row_text(columns, measured.index(row))))
        else:
            lines += _beneath(row, columns, width)
    lines += devices(measured, base, width)
    lines += sampled(measured, width)
    lines += sweeps(run, report.baseline, width)
    lines += trainings(measured, width)
    lines += cold_start.section(run, report, width)
    facts = [*words.devices(rows), *words.environments(run)]
    lines += [line for fact in facts for line in wrapped(fact, width)]
    for remark in words.remarks(rows):
        lines += wrapped(remark, width, "yellow")
    lines += without(left_out, width)
    return [*lines, *wrapped(words.accounting(run), width)]


def _columns(everything: Sequence[words.Row], baseline: str) -> list[Column]:
    """All columns of the rows with figures, wide enough for the names of those without."""
    if not everything:
        return []
    rows = [row for row in everything if row["status"] == "ok"]
    over = {row["interval_over"] for row in rows}
    same = len(over) == 1
    medians = (words.median(row) + ("" if same else f" ({row['interval_over']})") for row in rows)
    columns = [
        Column(
            "backend",
            tuple(map(name_of, rows)),
            least=max(cell_len(name_of(row)) for row in everything),
        ),
        Column(
            "device",
            tuple(row["device"] for row in rows),
            least=max(cell_len(row["device"]) for row in everything),
        ),
        Column("mode", tuple(row["mode"] for row in rows)),
        Column(
            "batch",
            tuple(f"{row['batch']:,}" for row in rows),
            "batch",
            right=True,
            least=max(len(f"{row['batch']:,}") for row in everything),
        ),
        Column(
            "median",
            tuple(medians),
            f"median ({over.pop()})" if same and None not in over else "median",
        ),
        titled("samples/s", map(words.samples, rows), right=True),
        titled(f"vs {baseline}", map(words.speedup, rows)),
        titled("of sgemm", map(words.share, rows), right=True),
        titled("first step", (words.seconds(row["first_step_s"]) for row in rows), right=True),
    ]
    if all(row["median_s"] is None for row in rows):
        columns.append(titled("largest error", map(words.largest_error, rows), right=True))
        columns.append(titled("near ties", map(words.near_ties, rows), right=True))
    batches = {row["batch"] for row in everything}
    needed = {"backend", "device"} | ({"batch"} if len(batches) > 1 else set())
    return [c for c in columns if c.name in needed or (any(c.cells) and c.name != "batch")]


def _beneath(row: words.Row, columns: Sequence[Column], width: int) -> list[Text]:
    """A row without figures: who, then why, over as many lines as that takes."""
    widths = {column.name: column.width for column in columns}
    parts = [
        name_of(row).ljust(widths.get("backend", 0)),
        row["device"].ljust(widths.get("device", 0)),
    ]
    if "batch" in widths:
        parts.append(f"{row['batch']:,}".rjust(widths["batch"]))
    who = GAP.join(parts) + GAP
    indent = 4 + cell_len(who)
    why = words.trouble(row)
    if width - indent >= _LEAST_TEXT:
        first, *others = textwrap.wrap(why, width - indent)
        head = marked(row, who + first)
    else:
        indent = 6
        others = textwrap.wrap(why, width - indent)
        head = marked(row, who.rstrip())
    return [head, *(Text(" " * indent + line) for line in others)]


def _ansi(lines: Sequence[Text], colour: bool) -> str:
    target = io.StringIO()
    console = Console(
        file=target,
        width=10_000,
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
        legacy_windows=False,
    )
    for line in lines:
        console.print(line, soft_wrap=True)
    return target.getvalue()
