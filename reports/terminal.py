"""The table for people at a terminal: ranked rows, what is missing and why beneath, and what it all
says.

The mark says what colour says too, so nothing is lost in a pipe. Where the columns do not fit, the
least important are left out and named.
"""

from __future__ import annotations

import dataclasses
import io
import textwrap
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from dlbench.table import Report, Run, split_baseline

from . import telemetry, words

_GAP = "  "
_STYLES = {"ok": "green", "unverified": "bold red", "skipped": "dim"}
_LEFT_OUT_FIRST = (
    "near ties",
    "largest error",
    "first step",
    "mode",
    "of sgemm",
    "samples/s",
    "device",
)
_LEAST_TEXT = 30


@dataclasses.dataclass(frozen=True)
class _Column:
    name: str
    cells: tuple[str, ...]
    title: str = ""
    right: bool = False
    least: int = 0

    @property
    def width(self) -> int:
        return max(self.least, *map(cell_len, (self.title, *self.cells)))

    def aligned(self, text: str) -> str:
        blank = " " * (self.width - cell_len(text))
        return blank + text if self.right else text + blank


def render(report: Report, *, width: int = 80, colour: bool = False) -> str:
    """The report as lines of at most `width` columns wherever that can be done, with ANSI colours
    if `colour`."""
    width = max(width, 40)
    lines: list[Text] = []
    for run in report.runs:
        lines += [*_run(run, report, width), Text()]
    lines = lines[:-1]
    for note in report.notes:
        lines += _wrapped(f"! {note}", width, "yellow")
    for reading in words.readings(report):
        lines += _wrapped(reading, width, "bold")
    return _ansi(lines, colour)


def _run(run: Run, report: Report, width: int) -> list[Text]:
    rows = words.rows_of(run)
    measured = [row for row in rows if row["status"] == "ok"]
    columns, left_out = _fitting(_columns(rows, split_baseline(report.baseline)[0]), width)
    batches = sorted({row["batch"] for row in rows})
    lines = _wrapped(words.title(run), width, "bold")
    lines += [*_wrapped(words.machine(run), width), Text(), *_wrapped(words.LEGEND, width, "dim")]
    if any(row["ci_low_s"] is not None for row in rows):
        lines += _wrapped(words.INTERVALS, width, "dim")
    lines.append(Text())
    if measured:
        lines.append(_headings(columns))
    for scenario in dict.fromkeys(row["scenario"] for row in rows):
        batch = f", batch {batches[0]:,}" if len(batches) == 1 else ""
        lines.append(Text(f" {scenario}{batch}", "bold"))
        for index, row in enumerate(measured):
            if row["scenario"] == scenario:
                lines.append(_marked(row, _cells(columns, index)))
        for row in rows:
            if row["scenario"] == scenario and row["status"] != "ok":
                lines += _beneath(row, columns, width)
    lines += _trainings(measured, width)
    lines += _telemetry(measured, width)
    for remark in words.remarks(rows):
        lines += _wrapped(remark, width, "yellow")
    for note in _left_out(left_out):
        lines += _wrapped(note, width, "dim")
    return [*lines, *_wrapped(words.accounting(run), width)]


def _columns(everything: Sequence[words.Row], baseline: str) -> list[_Column]:
    """All columns of the rows with figures, wide enough for the names of those without."""
    if not everything:
        return []
    rows = [row for row in everything if row["status"] == "ok"]
    over = {row["interval_over"] for row in rows}
    same = len(over) == 1
    medians = (words.median(row) + ("" if same else f" ({row['interval_over']})") for row in rows)
    columns = [
        _Column(
            "backend",
            tuple(map(_name, rows)),
            least=max(cell_len(_name(row)) for row in everything),
        ),
        _Column(
            "device",
            tuple(row["device"] for row in rows),
            least=max(cell_len(row["device"]) for row in everything),
        ),
        _Column("mode", tuple(row["mode"] for row in rows)),
        _Column(
            "batch",
            tuple(f"{row['batch']:,}" for row in rows),
            "batch",
            right=True,
            least=max(len(f"{row['batch']:,}") for row in everything),
        ),
        _Column(
            "median",
            tuple(medians),
            f"median ({over.pop()})" if same and None not in over else "median",
        ),
        _titled("samples/s", map(words.samples, rows), right=True),
        _titled(f"vs {baseline}", map(words.speedup, rows)),
        _titled("of sgemm", map(words.share, rows), right=True),
        _titled("first step", (words.seconds(row["first_step_s"]) for row in rows), right=True),
    ]
    if all(row["median_s"] is None for row in rows):
        columns.append(_titled("largest error", map(words.largest_error, rows), right=True))
        columns.append(_titled("near ties", map(words.near_ties, rows), right=True))
    batches = {row["batch"] for row in everything}
    needed = {"backend", "device"} | ({"batch"} if len(batches) > 1 else set())
    return [c for c in columns if c.name in needed or (any(c.cells) and c.name != "batch")]


def _left_out(titles: Sequence[str]) -> list[str]:
    if not titles:
        return []
    return [f"left out for want of width: {', '.join(titles)} (--format markdown has them)"]


def _fitting(
    columns: list[_Column], width: int, first: Sequence[str] = _LEFT_OUT_FIRST
) -> tuple[list[_Column], list[str]]:
    """The columns that fit into the width, and the titles of those left out, the `first` ones first."""
    kept, left_out = list(columns), []
    for name in first:
        if 4 + sum(column.width for column in kept) + len(_GAP) * (len(kept) - 1) <= width:
            break
        if any(column.name == name for column in kept):
            kept = [column for column in kept if column.name != name]
            left_out.append(name)
    return kept, left_out


def _titled(name: str, cells: Iterable[str], right: bool = False) -> _Column:
    return _Column(name, tuple(cells), name, right)


def _name(row: words.Row) -> str:
    """Backend with the first two parts of its version."""
    return f"{row['backend']} {'.'.join(str(row['version'] or '').split('.')[:2])}".strip()


def _marked(row: words.Row, rest: str) -> Text:
    return Text("  ").append(words.mark(row), _STYLES.get(row["status"], "red")).append(f" {rest}")


def _beneath(row: words.Row, columns: Sequence[_Column], width: int) -> list[Text]:
    """A row without figures: who, then why, over as many lines as that takes."""
    widths = {column.name: column.width for column in columns}
    parts = [
        _name(row).ljust(widths.get("backend", 0)),
        row["device"].ljust(widths.get("device", 0)),
    ]
    if "batch" in widths:
        parts.append(f"{row['batch']:,}".rjust(widths["batch"]))
    who = _GAP.join(parts) + _GAP
    indent = 4 + cell_len(who)
    why = words.trouble(row)
    if width - indent >= _LEAST_TEXT:
        first, *others = textwrap.wrap(why, width - indent)
        head = _marked(row, who + first)
    else:
        indent = 6
        others = textwrap.wrap(why, width - indent)
        head = _marked(row, who.rstrip())
    return [head, *(Text(" " * indent + line) for line in others)]


def _trainings(rows: Sequence[words.Row], width: int) -> list[Text]:
    """What whole trainings came to (``--epochs``)."""
    trained = [
        row for row in rows if row["final_loss"] is not None or row["test_accuracy"] is not None
    ]
    if not trained:
        return []
    columns = [
        _Column("backend", tuple(_name(row) for row in trained)),
        _Column("device", tuple(row["device"] for row in trained)),
        _titled("batch", (f"{row['batch']:,}" for row in trained), right=True),
        _titled("epochs", (str(row["epochs"]) for row in trained), right=True),
        _titled("final loss", map(words.loss, trained), right=True),
        _titled("test accuracy", map(words.accuracy, trained), right=True),
    ]
    columns, _ = _fitting(columns, width)
    lines = [Text(" trained from the initial weights", "bold")]
    lines.append(_headings(columns))
    for index, row in enumerate(trained):
        lines.append(_marked(row, _cells(columns, index)))
    return lines


def _telemetry(rows: Sequence[words.Row], width: int) -> list[Text]:
    """What device and host did meanwhile, as far as something is known."""
    shown = telemetry.cells(rows)
    if not shown:
        return []
    columns = [
        _Column("backend", tuple(_name(row) for row in rows)),
        _Column("device", tuple(row["device"] for row in rows)),
        _Column("scenario", tuple(row["scenario"] for row in rows)),
    ]
    if len({row["batch"] for row in rows}) > 1:
        columns.append(_titled("batch", (f"{row['batch']:,}" for row in rows), right=True))
    columns += [_titled(title, cells, right=True) for title, cells in shown.items()]
    columns, left_out = _fitting(columns, width, telemetry.LEFT_OUT_FIRST)
    lines = [Text(f" {telemetry.HEADING}", "bold"), _headings(columns)]
    lines += [_marked(row, _cells(columns, index)) for index, row in enumerate(rows)]
    for note in (*telemetry.notes(rows), *_left_out(left_out)):
        lines += _wrapped(note, width, "dim")
    return lines


def _headings(columns: Sequence[_Column]) -> Text:
    return Text(
        "    " + _GAP.join(column.aligned(column.title) for column in columns).rstrip(), "dim"
    )


def _cells(columns: Sequence[_Column], index: int) -> str:
    return _GAP.join(column.aligned(column.cells[index]) for column in columns).rstrip()


def _wrapped(text: str, width: int, style: str = "") -> list[Text]:
    lines = textwrap.wrap(
        text, width, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
    )
    return [Text(line, style) for line in lines]


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
