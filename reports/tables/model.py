"""What reports for people consist of: sections with a table each. Formats print these and know no column.

A format is a function of sections: `dlbench.reports.tables.as_text`, `dlbench.reports.tables.as_markdown`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

ALWAYS = 100
"""The priority of a column that is never hidden."""


@dataclasses.dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    title : its heading.
    cells : one for each line of the section.
    right : whether it is aligned to the right.
    priority : where there is too little room, the least is hidden first; never at `ALWAYS`.
    names : whether it says whose line it is, so that it stands before the text of a line without figures too.
    groups : whether lines with the same cell belong together under it as a heading.
    bars : of a column of bars, how long each is as a share of the longest, 0 where there is none; its cells are empty.
        They repeat a figure beside them, so only a format with room for them draws them.
    """

    title: str
    cells: tuple[str, ...]
    right: bool = False
    priority: int = ALWAYS
    names: bool = False
    groups: bool = False
    bars: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Line:
    """What is to be known of a line besides its cells.

    Attributes
    ----------
    mark : a sign or a word in front of it.
    style : ``good``, ``bad``, ``doubtful``, ``dim``, or none; colour says nothing that the mark does not.
    text : a sentence about it: why it has no figures, or why they are what they are.
    label : what the line is called where its text stands alone.
    """

    mark: str = ""
    style: str = ""
    text: str = ""
    label: str = ""


@dataclasses.dataclass(frozen=True)
class Section:
    """A heading, sentences, a table, and notes on it.

    Attributes
    ----------
    title : none for a section that is notes alone.
    top : whether it begins something new (a record), to which what follows belongs.
    intro : paragraphs before the table.
    columns, lines : the table.
    marks_title, texts_title : headings of the lines' marks and texts. Without the latter a text stands in place of
        figures.
    notes : paragraphs after it. One that begins with ``!`` is a warning, with ``→`` a conclusion.
    """

    title: str = ""
    top: bool = False
    intro: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    lines: tuple[Line, ...] = ()
    marks_title: str = ""
    texts_title: str = ""
    notes: tuple[str, ...] = ()

    def mapped(self, change: Callable[[str], str]) -> Section:
        """The section with all its text changed, as a format needs it; marks are dlbench's own."""

        def all_of(texts: Iterable[str]) -> tuple[str, ...]:
            return tuple(map(change, texts))

        return dataclasses.replace(
            self,
            title=change(self.title),
            intro=all_of(self.intro),
            columns=tuple(
                dataclasses.replace(each, title=change(each.title), cells=all_of(each.cells))
                for each in self.columns
            ),
            lines=tuple(
                dataclasses.replace(each, text=change(each.text), label=change(each.label))
                for each in self.lines
            ),
            notes=all_of(self.notes),
        )


def table(
    rows: Iterable[Sequence[str]], *titles: str, right: Sequence[str] = ()
) -> tuple[Column, ...]:
    """Columns of rows of cells, those without an entry left out."""
    columns = zip(titles, zip(*rows, strict=True), strict=False)
    return tuple(
        Column(title, tuple(cells), title in right) for title, cells in columns if any(cells)
    )
