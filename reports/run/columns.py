"""Columns of the terminal's tables: as wide as their widest cell, and the least important left out where they do
not fit."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.text import Text

from . import words

GAP = "  "
"""Between two columns."""
_STYLES = {"ok": "green", "unverified": "bold red", "skipped": "dim"}
_LEFT_OUT_FIRST = (
    "over",
    "interpreter",
    "device memory",
    "device clock",
    "near ties",
    "largest error",
    "first step",
    "mode",
    "from device",
    "to device",
    "of sgemm",
    "samples/s",
    "with the copies",
    "faster",
    "device",
)


@dataclasses.dataclass(frozen=True)
class Column:
    """One column; `least` is a width that cells elsewhere ask for."""

    name: str
    cells: tuple[str, ...]
    title: str = ""
    right: bool = False
    least: int = 0

    @property
    def width(self) -> int:
        """Columns of the terminal that it takes."""
        return max(self.least, *map(cell_len, (self.title, *self.cells)))

    def aligned(self, text: str) -> str:
        """Text filled up to the width."""
        blank = " " * (self.width - cell_len(text))
        return blank + text if self.right else text + blank


def fitting(
    columns: list[Column], width: int, first: Sequence[str] = _LEFT_OUT_FIRST
) -> tuple[list[Column], list[str]]:
    """The columns that fit into the width, and the titles of those left out, the `first` ones first."""
    kept, left_out = list(columns), []
    for name in first:
        if 4 + sum(column.width for column in kept) + len(GAP) * (len(kept) - 1) <= width:
            break
        if any(column.name == name for column in kept):
            kept = [column for column in kept if column.name != name]
            left_out.append(next(c.title or c.name for c in columns if c.name == name))
    return kept, left_out


def titled(name: str, cells: Iterable[str], right: bool = False) -> Column:
    """A column that is called by its title."""
    return Column(name, tuple(cells), name, right)


def name_of(row: words.Row) -> str:
    """Backend with the first two parts of its version."""
    return f"{row['backend']} {'.'.join(str(row['version'] or '').split('.')[:2])}".strip()


def marked(row: words.Row, rest: str) -> Text:
    """A row with its mark."""
    return Text("  ").append(words.mark(row), _style(row)).append(f" {rest}")


def headings(columns: Sequence[Column]) -> Text:
    """The titles over the rows."""
    return Text(
        "    " + GAP.join(column.aligned(column.title) for column in columns).rstrip(), "dim"
    )


def row_text(columns: Sequence[Column], index: int) -> str:
    """A row of all columns."""
    return GAP.join(column.aligned(column.cells[index]) for column in columns).rstrip()


def without(left_out: Sequence[str], width: int) -> list[Text]:
    """Says which columns are not shown."""
    if not left_out:
        return []
    told = f"left out for want of width: {', '.join(left_out)} (--format markdown has them)"
    return wrapped(told, width, "dim")


def wrapped(text: str, width: int, style: str = "") -> list[Text]:
    """A sentence over as many lines as it takes."""
    lines = textwrap.wrap(
        text, width, subsequent_indent="  ", break_on_hyphens=False, break_long_words=False
    )
    return [Text(line, style) for line in lines]


def _style(row: words.Row) -> str:
    return "yellow" if row["disturbed"] else _STYLES.get(row["status"], "red")
