"""What a page is made of: figures, tables, sentences, commands, and a choice between any of these."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ..charts.drawing.figure import Figure
from ..tables.model import Section


@dataclasses.dataclass(frozen=True)
class Picture:
    """A figure, drawn in two widths, with its data as a table that can be opened."""

    figure: Figure
    kind: str = "picture"

    @property
    def data(self) -> Section:
        """The table beside the figure: of a very long one its beginning, so that a page stays small."""
        table = self.figure.table
        columns = (
            dataclasses.replace(each, cells=each.cells[:_MOST_LINES]) for each in table.columns
        )
        return dataclasses.replace(table, columns=tuple(columns), lines=table.lines[:_MOST_LINES])

    @property
    def cut(self) -> str:
        """That it is not all; empty where it is."""
        lines = len(self.figure.table.lines)
        if lines <= _MOST_LINES:
            return ""
        return (
            f"The first {_MOST_LINES} of {lines:,} lines; all figures: dlbench report --format csv"
        )


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the report; one that is `folded` can be opened, one that is `large` has a field to filter it with."""

    section: Section
    folded: bool = False
    kind: str = "table"

    @property
    def is_empty(self) -> bool:
        """Whether it has nothing to show."""
        return not self.section.lines and not self.section.notes

    @property
    def is_large(self) -> bool:
        """Whether it is worth filtering."""
        return len(self.section.lines) > _FEW_LINES


@dataclasses.dataclass(frozen=True)
class Text:
    """Paragraphs."""

    paragraphs: tuple[str, ...]
    kind: str = "text"


@dataclasses.dataclass(frozen=True)
class Bullets:
    """Sentences beneath each other; of each whether it tells something (``told``), with an interval that holds for all
    that was compared (``certain``), or that nothing can be told (``open``), or warns (``warning``)."""

    items: tuple[tuple[str, str], ...]
    kind: str = "bullets"


@dataclasses.dataclass(frozen=True)
class Command:
    """A sentence, and what to type."""

    text: str
    command: str
    kind: str = "command"


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several groups of blocks, by their labels; the first is chosen. It works without scripts."""

    label: str
    options: tuple[tuple[str, tuple[Block, ...]], ...]
    kind: str = "choice"


Block = Picture | Table | Text | Bullets | Command | Choice
_FEW_LINES, _MOST_LINES = 8, 100


@dataclasses.dataclass(frozen=True)
class Part:
    """A numbered part of the page."""

    title: str
    blocks: Sequence[Block]
    heading: str = ""
