"""Verdicts as Markdown, for pull requests and job summaries."""

from __future__ import annotations

from dlbench.compare.verdicts import Verdicts

from ..tables import as_markdown
from .format import build_sections


def render(verdicts: Verdicts, *, width: int = 80, colour: bool = False) -> str:
    """What was compared, the table, and the answer."""
    return as_markdown.render(build_sections(verdicts))
