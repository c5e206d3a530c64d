"""The summary page of a GitHub Actions job, to which a step appends Markdown."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "GITHUB_STEP_SUMMARY"
"""Holds the page's file while a step runs; see GitHub's documentation of workflow commands, "Adding
a job summary"."""


def wanted() -> bool:
    """Whether a summary page is there to be written to."""
    return bool(os.environ.get(VARIABLE))


def append(markdown: str) -> None:
    """Adds to the page, beneath what other steps have put there.

    Raises
    ------
    OSError : the page cannot be written.
    """
    with Path(os.environ[VARIABLE]).open("a", encoding="utf-8") as page:
        page.write(f"{markdown.rstrip()}\n\n")
