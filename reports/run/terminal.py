"""The report for people at a terminal."""

from __future__ import annotations

from dlbench.analyse.table import Report

from ..tables import as_text
from .sections import build_sections


def render(report: Report, *, width: int = 80, colour: bool = False) -> str:
    """Sections as lines of at most `width` columns wherever that can be done, with ANSI colours if `colour`."""
    return as_text.render(build_sections(report), width, colour)
