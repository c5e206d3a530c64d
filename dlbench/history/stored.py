"""What a history's database holds, as it is read back: SQLite keeps anything in any column, a file can be damaged, and
somebody else may have written it, so every row is looked at here, once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from dlbench.history.gates import Judged
from dlbench.history.rows import Figure, Key, Row
from dlbench.record import door
from dlbench.record.case import AXES, case_of

KEY = (*(axis.name for axis in AXES), "device_name", "facts")
"""The columns that tell series apart, as in `Key`."""

_OF_A_ROW = tuple(field.name for field in dataclasses.fields(Row))

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class RecordOf:
    """What a row is shown with of its record."""

    id: int
    name: str
    digest: str
    versions: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Point:
    """A row of a series with the record it comes from."""

    record: int
    name: str
    digest: str
    created: str
    versions: Mapping[str, str]
    row: Row

    @property
    def counts(self) -> bool:
        """Whether it enters statistics: a verified figure from a machine that was not seen to be disturbed."""
        row = self.row
        timed = row.status == "ok" and row.median_s is not None
        return timed and row.verified is True and not row.disturbance


@dataclasses.dataclass(frozen=True)
class Change:
    """From the row of `record` on, a series has another level.

    Attributes
    ----------
    record, created : the record that it begins with, and when that was begun.
    before_s, after_s : the medians of the two levels' rows.
    versions : what is another version there than in the row before, as ``torch 2.12.0 → 2.13.0``.
    """

    record: int
    created: str
    before_s: Figure
    after_s: Figure
    versions: tuple[str, ...] = ()

    @property
    def ratio(self) -> float:
        """How many times as long a step takes."""
        return self.after_s / self.before_s


@dataclasses.dataclass(frozen=True)
class Stored:
    """A series in the database: `rows` in all, and whether its change points are those of these rows."""

    id: int
    key: Key
    rows: int
    searched: bool


def record_of(id_: int, name: str, digest: str, versions: str) -> RecordOf:
    """What rows have of their record, from its columns; errors as for `point_of`."""
    return RecordOf(id_, name, digest, _decoded(versions, dict[str, str]))


def point_of(record: RecordOf, values: Sequence[Any]) -> Point:
    """A row with its record, from when that was begun and the columns of `Row`.

    Raises
    ------
    msgspec.MsgspecError, ValueError : it is none.
    """
    created, version, status, verified, problem, disturbance, processes_s, *figures = values
    door.moment(created)
    was_verified = None if verified is None else bool(verified)
    times = _decoded(processes_s, tuple[Figure, ...])
    row = (version, status, was_verified, problem, disturbance, times, *figures)
    whole = msgspec.convert(dict(zip(_OF_A_ROW, row, strict=True)), Row)
    return Point(record.id, record.name, record.digest, created, record.versions, whole)


def change_of(values: Sequence[Any]) -> Change:
    """A change point, from columns in its order; errors as for `point_of`."""
    *figures, versions = values
    door.moment(figures[1])
    names = (field.name for field in dataclasses.fields(Change))
    told = (*figures, _decoded(versions, tuple[str, ...]))
    return msgspec.convert(dict(zip(names, told, strict=True)), Change)


def judged_of(values: Sequence[Any]) -> Judged:
    """A gate's verdict, from columns in its order; errors as for `point_of`."""
    names = (field.name for field in dataclasses.fields(Judged))
    found = msgspec.convert(dict(zip(names, values, strict=True)), Judged)
    door.moment(found.created)
    return found


def key_of(row: Sequence[Any]) -> Key:
    """What a series is about, from the columns `KEY`; errors as for `point_of`."""
    key = Key(case_of(dict(zip(KEY, row, strict=True))), *row[-2:])
    door.check(key.case)
    _decoded(key.facts, dict[str, str])
    return key


def stored_of(values: Sequence[Any]) -> Stored:
    """A series, from its number, whether it was searched, its rows and the columns `KEY`; errors as for `point_of`."""
    id_, searched, rows, *key = values
    return Stored(id_, key_of(key), msgspec.convert(rows, int), bool(searched))


def _decoded(text: str, kind: type[T]) -> T:
    return msgspec.json.decode(text, type=kind)
