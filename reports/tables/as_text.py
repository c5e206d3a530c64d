"""Sections as lines for a terminal. What does not fit is hidden and named; colour is never the only sign."""

from __future__ import annotations

import dataclasses
import io
import math
import textwrap
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from dlbench.text import printable

from .model import ALWAYS, Column, Line, Section

_GAP = "  "
_LEAST_BAR, _MOST_BAR = 10, 24
_EIGHTHS = " ▏▎▍▌▋▊▉"
_LEAST_TEXT = 30
_STYLES = {"good": "green", "bad": "bold red", "doubtful": "yellow", "dim": "dim"}
_COMMAND = ": dlbench "
_NOTES = {"!": "yellow", "→": "bold"}


def render(sections: Sequence[Section], width: int, colour: bool) -> str:
    """Lines of at most `width` columns (40 at least) wherever that can be done, with ANSI colours if `colour`."""
    target = io.StringIO()
    console = Console(
        file=target,
        width=10_000,
        force_terminal=colour,
        color_system="standard" if colour else None,
        highlight=False,
        legacy_windows=False,
    )
    last: Text | None = None
    for section in sections:
        if section.top and last:
            console.print()
        for last in _section(section.mapped(printable), max(width, 40)):
            console.print(last, soft_wrap=True)
    return target.getvalue()


def _section(section: Section, width: int) -> Iterator[Text]:
    if section.title:
        yield from _wrapped(section.title, width, "bold", "" if section.top else " ")
    for paragraph in section.intro:
        yield from _wrapped(paragraph, width)
    if section.intro:
        yield Text()
    yield from _table(section, width)
    for note in section.notes:
        style = _NOTES.get(note[:1], "")
        # a command that is broken into lines cannot be pasted
        yield from [Text(note, style)] if _COMMAND in note else _wrapped(note, width, style)


def _table(section: Section, width: int) -> Iterator[Text]:
    marks = max((cell_len(line.mark) for line in section.lines), default=0)
    start = 3 + marks if marks else 2
    columns, hidden = _fitting([c for c in section.columns if not c.groups], width - start)
    columns = _drawn(columns, width - start)
    group = next((column for column in section.columns if column.groups), None)
    if any(column.title for column in columns):
        titles = _joined((column, column.title) for column in columns)
        yield Text(" " * start + titles, "dim")
    figures = [column for column in columns if not column.names]
    above = None
    for number, line in enumerate(section.lines):
        if not (section.top or line.text or any(column.cells[number] for column in figures)):
            continue  # all that is known of it is hidden
        if group and group.cells[number] != above:
            above = group.cells[number]
            yield Text(f" {above}", "bold")
        head = Text("  ")
        if marks:
            head.append(_padded(line.mark, marks), _STYLES.get(line.style, "")).append(" ")
        yield from _line(head, line, number, columns, width, bool(section.texts_title))
    if hidden:
        told = f"hidden, terminal too narrow: {', '.join(hidden)} (all columns: --format markdown)"
        yield from _wrapped(told, width, "dim")


def _line(
    head: Text, line: Line, number: int, columns: Sequence[Column], width: int, behind: bool
) -> Iterator[Text]:
    """A line with its text behind it where that has a column of its own or stands for the figures, else beneath."""
    shown = list(columns)
    if line.text and not any(c.cells[number] for c in columns if not c.names):
        shown, behind = [column for column in columns if column.names], True
    cells = _joined((column, column.cells[number]) for column in shown)
    if not line.text:
        yield head.append(cells)
        return
    taken = head.cell_len + cell_len(cells) + len(_GAP)
    if behind and width - taken >= min(_LEAST_TEXT, cell_len(line.text)):
        first, *others = textwrap.wrap(line.text, width - taken) or [""]
        yield head.append(f"{cells}{_GAP}{first}")
        indent = taken
    else:
        indent = 6
        others = textwrap.wrap(line.text, width - indent)
        yield head.append(cells)
    yield from (Text(" " * indent + other) for other in others)


def _fitting(columns: list[Column], width: int) -> tuple[list[Column], list[str]]:
    """The columns that fit, and the titles of those that do not, the least priority first."""
    hidden: list[str] = []
    for column in sorted(columns, key=lambda column: column.priority):
        if sum(map(_width, columns)) + len(_GAP) * (len(columns) - 1) <= width:
            break
        if column.priority < ALWAYS:
            columns = [kept for kept in columns if kept is not column]
            hidden += [column.title] if column.title else []
    return columns, hidden


def _drawn(columns: Sequence[Column], width: int) -> list[Column]:
    """The columns with their bars drawn, as long as there is room."""
    left = width - sum(map(_width, columns)) - len(_GAP) * (len(columns) - 1)
    most = min(_LEAST_BAR + left, _MOST_BAR)
    return [
        dataclasses.replace(each, cells=tuple(bar(share, most) for share in each.bars), bars=())
        if each.bars
        else each
        for each in columns
    ]


def bar(share: float, most: int) -> str:
    """A bar of `share` (0 to 1) of `most` characters; what is not 0 is seen."""
    eighths = math.ceil(8 * most * share)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def _joined(cells: Iterator[tuple[Column, str]]) -> str:
    return _GAP.join(_padded(text, _width(c), c.right) for c, text in cells).rstrip()


def _width(column: Column) -> int:
    if column.bars:
        return _LEAST_BAR
    return max(map(cell_len, (column.title, *column.cells)))


def _padded(text: str, width: int, right: bool = False) -> str:
    blank = " " * (width - cell_len(text))
    return blank + text if right else text + blank


def _wrapped(text: str, width: int, style: str = "", indent: str = "") -> Iterator[Text]:
    for line in textwrap.wrap(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_on_hyphens=False,
        break_long_words=False,
    ):
        yield Text(line, style)
