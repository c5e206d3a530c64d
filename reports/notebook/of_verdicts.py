"""Verdicts as a piece of HTML, which notebooks show."""

from __future__ import annotations

from dlbench.compare.verdicts import Verdicts

from ..tables import as_html
from ..verdict.format import build_sections


def render(verdicts: Verdicts, *, width: int = 80, colour: bool = False) -> str:
    """What was compared, the verdicts, and the answer last; what is quoted in them is escaped."""
    return as_html.render(build_sections(verdicts))
