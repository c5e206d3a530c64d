"""The report as Markdown, for READMEs, pull requests and job summaries."""

from __future__ import annotations

from dlbench.analyse.table import Report

from ..tables import as_markdown
from .sections import build_sections


def render(report: Report, *, width: int = 80, colour: bool = False) -> str:
    """Sections with their headings, tables and sentences."""
    return as_markdown.render(build_sections(report))
