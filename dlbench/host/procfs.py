"""Reads the small files in which Linux tells about itself; one that is not there is empty."""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/")
"""Where ``proc`` and ``sys`` are; tests put folders of their own in its place."""


def text(path: Path) -> str:
    """What a file says, empty where it cannot be read."""
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError:
        return ""


def words(path: Path) -> list[str]:
    """The same, split at white space."""
    return text(path).split()
