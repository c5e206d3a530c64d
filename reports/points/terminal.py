"""Points for people at a terminal."""

from __future__ import annotations

from dlbench.tuning.points import Swept
from dlbench.tuning.search import Tuned

from ..tables import as_text
from .sections import of_search, of_sweep


def render(found: Swept | Tuned, *, width: int = 80, colour: bool = False) -> str:
    """Lines of at most `width` columns wherever that can be done."""
    sections = of_sweep(found) if isinstance(found, Swept) else of_search(found)
    return as_text.render(sections, width, colour)
