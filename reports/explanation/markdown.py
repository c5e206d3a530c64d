"""An explanation as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from dlbench.profile.explanation import Explanation

from ..tables import as_markdown
from .sections import build_sections


def render(found: Sequence[Explanation], *, width: int = 80, colour: bool = False) -> str:
    """Headings, tables and sentences."""
    return as_markdown.render(build_sections(found))
