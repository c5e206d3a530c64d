"""Verdicts for people at a terminal: a line a case, what it rests on, the answer last."""

from __future__ import annotations

import io
import textwrap

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from dlbench.compare.verdicts import CaseVerdict, Verdicts

from . import format as say

_STYLES = {
    "slower": "bold red",
    "failed": "bold red",
    "missing": "bold yellow",
    "inconclusive": "yellow",
    "same": "green",
}


def render(verdicts: Verdicts, *, width: int = 80, colour: bool = False) -> str:
    """The verdicts as lines, with ANSI colours if `colour`; a reason that does not fit has a line of
    its own."""
    width = max(width, 40)
    lines = [Text(say.title(verdicts), "bold"), Text(say.INTERVALS, "dim"), Text()]
    if verdicts.advisory:
        lines.append(Text(f"! {say.advisory(verdicts)}", "bold yellow"))
        lines += [Text(f"    {say.difference(each)}", "yellow") for each in verdicts.differences]
        lines.append(Text())
    cells = [(say.status(c), c.case, say.times(c), say.change(c), c.over) for c in verdicts.cases]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    for case, row in zip(verdicts.cases, cells, strict=True):
        padded = [set_cell_size(cell, size) for cell, size in zip(row, widths, strict=True)]
        lines += _case(case, padded, width)
    lines += [Text(line, "dim") for note in verdicts.notes for line in _wrapped(note, width)]
    lines.append(Text(say.conclusion(verdicts), "bold"))
    target = io.StringIO()
    console = Console(
        file=target,
        force_terminal=colour,
        color_system="standard" if colour else None,
        legacy_windows=False,
    )
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)
    return target.getvalue()


def _case(case: CaseVerdict, cells: list[str], width: int) -> list[Text]:
    line = Text(" ").append(cells[0], _STYLES.get(case.status, ""))
    line.append("  ").append("  ".join(cells[1:]).rstrip())
    why = say.reason(case)
    if line.cell_len + 2 + cell_len(why) <= width:
        return [line.append("  ").append(why, "dim")]
    indent = " " * (cell_len(cells[0]) + 3)
    return [line, *(Text(indent + part, "dim") for part in textwrap.wrap(why, width - len(indent)))]


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False)
