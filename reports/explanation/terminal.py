"""An explanation for people at a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from dlbench.profile.explanation import Explanation

from ..tables import as_text
from .sections import build_sections


def render(found: Sequence[Explanation], *, width: int = 80, colour: bool = False) -> str:
    """Lines of at most `width` columns wherever that can be done."""
    return as_text.render(build_sections(found), width, colour)
