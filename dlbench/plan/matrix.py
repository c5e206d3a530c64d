"""What backends have of the specification: a cell for each word of it and each backend."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

AGREES = "agrees"
"""A small network with it was held against the oracle, in all that verification compares."""
REFUSES = "refuses"
"""It says that it has not got it."""
FAILS = "fails"
"""It takes it and gives something else, or ends."""
NOT_OFFERED = "not offered"
"""It does not name it among what it has."""
NOT_INSTALLED = "not installed"
"""It, or what it needs for this, is not here, so that it could not be asked."""

SECTIONS = ("layer", "loss", "optimizer", "freeze", "precision", "mode", "scenario", "device")
"""What words are of, in the order in which they are told."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """What one backend answered to one word.

    Attributes
    ----------
    state : `AGREES`, `REFUSES`, `FAILS`, `NOT_OFFERED` or `NOT_INSTALLED`.
    reason : why it does not agree, where that is known.
    """

    state: str
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Column:
    """What one backend answered.

    Attributes
    ----------
    version : of its framework; empty where it cannot be used.
    absent : why it cannot be used here, and what would help; empty where it can.
    cells : by section and word.
    """

    version: str
    absent: str
    cells: Mapping[tuple[str, str], Cell]


@dataclasses.dataclass(frozen=True)
class Matrix:
    """All of it.

    Attributes
    ----------
    words : by section, in order.
    columns : by backend.
    """

    words: Mapping[str, tuple[str, ...]]
    columns: Mapping[str, Column]
