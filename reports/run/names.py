"""The columns that say whose row it is, one for each axis of cases that tells something."""

from __future__ import annotations

from collections.abc import Sequence

from dlbench.analyse.columns import Row
from dlbench.record.case import AXES, Axis, values

from ..tables.model import ALWAYS, Column
from . import words

_AXES = tuple(axis for axis in AXES if axis.name != "suite")
_IF_NEEDED, _IF_NOT_DEFAULT = 40, 25
"""Priorities of columns without which rows can still be told apart."""


def names(rows: Sequence[Row], *, grouped: bool = False, version: bool = True) -> list[Column]:
    """Axes in which rows differ have a column, and those that name the row in the table.

    Parameters
    ----------
    grouped : whether rows stand under their scenario as a heading, with the batch size where there is one.
    version : whether the backend is named with its version, and the scenario at all.
    """
    batches = {row.case.batch for row in rows}
    batch = f", batch {max(batches):,}" if grouped and len(batches) == 1 else ""
    found = []
    for axis in _AXES:
        cells = tuple(_cell(row, axis, version) for row in rows)
        if axis.name == "scenario":
            if version:
                cells = tuple(f"{cell}{batch}" for cell in cells)
                found.append(Column(axis.title, cells, names=True, groups=grouped))
        elif any(cells) and (len(set(cells)) > 1 or _is_named(axis, rows)):
            priority = _IF_NEEDED if axis.default is None else _IF_NOT_DEFAULT
            priority = ALWAYS if _tells_apart(axis, rows) else priority
            found.append(Column(axis.title, cells, axis.type is int, priority, names=True))
    return found


def _is_named(axis: Axis, rows: Sequence[Row]) -> bool:
    return axis.label == "row" and any(getattr(row.case, axis.name) != axis.default for row in rows)


def _cell(row: Row, axis: Axis, version: bool) -> str:
    if axis.name == "backend" and version:
        return words.backend(row)
    value = getattr(row.case, axis.name)
    return f"{value:,}" if axis.type is int else str(value)


def _tells_apart(axis: Axis, rows: Sequence[Row]) -> bool:
    """Whether two rows differ in this axis alone; a backend is always named."""
    others = tuple(other for other in AXES if other is not axis)
    return axis.name == "backend" or len({values(row.case, others) for row in rows}) < len(rows)
