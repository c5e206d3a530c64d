"""Sections as Markdown, for READMEs, pull requests and job summaries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from dlbench.text import one_line

from .model import Line, Section

_MARKUP = str.maketrans({character: f"\\{character}" for character in "\\|*_`<[&~$"})
_BLOCK = re.compile(r"^(\d*)([-+=#>.)])")
"""With what a line may begin a list, a heading or a quotation."""
_LINK = re.compile(r"@(?=\w)|#(?=\d)|:(?=//)|\bwww(?=\.)", re.IGNORECASE)
"""After what a space of no width keeps a site from making a link, or from telling somebody that they were named."""


def render(sections: Sequence[Section]) -> str:
    """A heading for each section, its table, and its sentences."""
    safe = (section.mapped(_text) for section in sections)
    return "\n\n".join(part for section in safe for part in _section(section)) + "\n"


def _section(section: Section) -> Iterator[str]:
    if section.title:
        yield f"{'###' if section.top else '####'} {section.title}"
    yield from map(_paragraph, section.intro)
    told = [line for line in section.lines if line.text and not section.texts_title]
    shown = [number for number, line in enumerate(section.lines) if line not in told]
    if shown:
        yield _table(section, shown)
    if told:
        yield "\n".join(map(_item, told))
    yield from map(_paragraph, section.notes)


def _item(line: Line) -> str:
    return f"- {line.mark} {line.label}: {line.text}"


def _table(section: Section, shown: Sequence[int]) -> str:
    columns = [(section.marks_title, False, [line.mark for line in section.lines])]
    columns += [(c.title, c.right, list(c.cells)) for c in section.columns]
    columns.append((section.texts_title, False, [line.text for line in section.lines]))
    columns = [each for each in columns if any(each[2][number] for number in shown)]
    lines = [
        _row(title for title, _, _ in columns),
        _row("---:" if right else "---" for _, right, _ in columns),
        *(_row(cells[number] for _, _, cells in columns) for number in shown),
    ]
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(text: str) -> str:
    """Text on one line that cannot end a cell, start markup or become a link."""
    return _LINK.sub(r"\g<0>&#8203;", one_line(text).translate(_MARKUP))


def _paragraph(text: str) -> str:
    """The same where it stands at the beginning of a line."""
    return _BLOCK.sub(r"\1\\\2", text)
