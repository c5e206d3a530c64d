"""Sections as a piece of HTML, for notebooks and for pages of one's own: tables and sentences, no script and no style
sheet; it inherits colours and fonts. What is quoted is escaped, and no typesetter of formulas looks at it."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence

from dlbench.text import one_line

from .model import Column, Line, Section

_LEFT, _RIGHT = "text-align: left", "text-align: right; font-variant-numeric: tabular-nums"


def render(sections: Sequence[Section]) -> str:
    """A ``div`` with a heading for each section, its table, and its sentences."""
    parts = [part for section in sections for part in _section(section.mapped(_text))]
    # the classes by which MathJax of notebooks leaves it alone
    around = '<div class="dlbench tex2jax_ignore mathjax_ignore">'
    return "\n".join([around, *parts, "</div>"]) + "\n"


def _text(text: str) -> str:
    return html.escape(one_line(text))


def _section(section: Section) -> Iterator[str]:
    if section.title:
        yield f"<p><strong>{section.title}</strong></p>"
    yield from (f"<p>{paragraph}</p>" for paragraph in section.intro)
    if section.lines:
        yield from _table(section)
    yield from (f"<p>{note}</p>" for note in section.notes)


def _table(section: Section) -> Iterator[str]:
    columns = [each for each in section.columns if any(each.cells)]
    marks = any(line.mark for line in section.lines)
    texts = bool(section.texts_title)
    titles = [(section.marks_title, False)] if marks else []
    titles += [(column.title, column.right) for column in columns]
    titles += [(section.texts_title, False)] if texts else []
    yield "<table>"
    yield f"<thead><tr>{''.join(_cell('th', *each) for each in titles)}</tr></thead>"
    yield "<tbody>"
    for number, line in enumerate(section.lines):
        yield f"<tr>{_row(line, number, columns, marks, texts)}</tr>"
    yield "</tbody></table>"


def _row(line: Line, number: int, columns: Sequence[Column], marks: bool, texts: bool) -> str:
    """The cells of a line; a text without a column of its own stands in the place of its figures."""
    cells = [_cell("td", line.mark, False)] if marks else []
    stands_in = bool(line.text) and not texts
    shown = [column for column in columns if column.names or not stands_in]
    cells += [_cell("td", column.cells[number], column.right) for column in shown]
    if stands_in:
        cells.append(_cell("td", line.text, False, len(columns) - len(shown)))
    return "".join(cells + ([_cell("td", line.text, False)] if texts else []))


def _cell(tag: str, text: str, right: bool, span: int = 1) -> str:
    wide = f' colspan="{span}"' if span > 1 else ""
    return f'<{tag}{wide} style="{_RIGHT if right else _LEFT}">{text}</{tag}>'
