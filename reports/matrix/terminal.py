"""The matrix of backends for people at a terminal."""

from __future__ import annotations

from dlbench.plan.matrix import Matrix

from ..tables import as_text
from .sections import build_sections


def render(found: Matrix, *, width: int = 80, colour: bool = False) -> str:
    """A table for each kind of word; no column is hidden, however narrow the terminal."""
    return as_text.render(build_sections(found), width, colour)
