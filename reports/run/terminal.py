"""The report for people at a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlbench.analyse.table import Report
from dlbench.record.case import Case

from ..tables import as_text
from .sections import build_sections, rows_so_far


def render(report: Report, *, width: int = 80, colour: bool = False) -> str:
    """Sections as lines of at most `width` columns wherever that can be done, with ANSI colours if `colour`."""
    return as_text.render(build_sections(report), width, colour)


def render_so_far(
    report: Report,
    waiting: Mapping[Case, str],
    preliminary: Mapping[Case, Mapping[str, Any]],
    *,
    width: int = 80,
    colour: bool = False,
) -> str:
    """The rows of a run that is going on: of the cases that are `waiting` for what, of others `preliminary` cells."""
    return as_text.render(rows_so_far(report, waiting, preliminary), width, colour)
