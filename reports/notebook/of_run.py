"""The report as a piece of HTML, which notebooks show."""

from __future__ import annotations

from dlbench.analyse.table import Report

from ..run.sections import build_sections
from ..tables import as_html


def render(report: Report, *, width: int = 80, colour: bool = False) -> str:
    """All sections with all of their columns; what is quoted in them is escaped."""
    return as_html.render(build_sections(report))
