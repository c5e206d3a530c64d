"""Points as Markdown."""

from __future__ import annotations

from dlbench.tuning.points import Swept
from dlbench.tuning.search import Tuned

from ..tables import as_markdown
from .sections import of_search, of_sweep


def render(found: Swept | Tuned, *, width: int = 80, colour: bool = False) -> str:
    """Headings, tables and sentences."""
    sections = of_sweep(found) if isinstance(found, Swept) else of_search(found)
    return as_markdown.render(sections)
