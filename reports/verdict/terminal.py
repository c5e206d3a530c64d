"""Verdicts for people at a terminal: a line a case, what it rests on, the answer last."""

from __future__ import annotations

from dlbench.compare.verdicts import Verdicts

from ..tables import as_text
from .format import build_sections


def render(verdicts: Verdicts, *, width: int = 80, colour: bool = False) -> str:
    """Lines of at most `width` columns wherever that can be done, with ANSI colours if `colour`."""
    return as_text.render(build_sections(verdicts), width, colour)
