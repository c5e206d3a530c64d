"""The table of a terminal as a picture, for pages that show no colours of a terminal."""

from __future__ import annotations

import io
import re

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME
from rich.text import Text

from dlbench.analyse.table import Report
from dlbench.errors import UsageError

from ..run import terminal

_COLUMNS = 124
_FRAME = re.sub(r"@font-face \{\{.*?\}\}\n?", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
"""Rich's own, without the fonts that it would fetch."""


def render(report: Report, form: str) -> bytes:
    """What `dlbench report` shows, as SVG; the same bytes for the same records.

    Raises
    ------
    UsageError : another form is asked for.
    """
    if form != "svg":
        raise UsageError("the terminal's table can be drawn as .svg only")
    shown = terminal.render(report, width=_COLUMNS, colour=True)
    console = Console(
        record=True,
        width=_COLUMNS + 2,
        file=io.StringIO(),
        force_terminal=True,
        legacy_windows=False,
    )
    console.print(Text.from_ansi(shown), soft_wrap=True)
    drawn = console.export_svg(
        title="dlbench report",
        theme=DEFAULT_TERMINAL_THEME,
        code_format=_FRAME,
        unique_id="dlbench",
    )
    return drawn.encode()
