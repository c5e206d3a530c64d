"""What a history holds and takes: records, the series that their rows form, and the change points of these."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

import sqlalchemy as sql

from dlbench.history.database import open_database
from dlbench.history.gates import Judged
from dlbench.history.last_rows import among, query
from dlbench.history.rows import Entry, Key
from dlbench.history.stored import (
    KEY,
    Change,
    Point,
    Stored,
    change_of,
    judged_of,
    point_of,
    record_of,
    stored_of,
)
from dlbench.history.tables import CHANGES, RECORDS, ROWS, SERIES, VERDICTS
from dlbench.record.case import values

Outcome = Literal["added", "there", "grown", "shorter"]
"""What became of a record: new, there already, there in a shorter state that it replaced, or itself a shorter
state of what is there."""


class Store:
    """An open history; a context manager that closes it.

    Parameters
    ----------
    place : an SQLite file, or the URL of a PostgreSQL database; see `dlbench.history.database.open_database`, which
        also says what every method may raise.
    create : make it, a file with its folders, where it is missing.
    """

    def __init__(self, place: Path | str, *, create: bool = False) -> None:
        self._base = open_database(place, create)

    @property
    def place(self) -> str:
        """Where it is, for people: no password stands in it."""
        return self._base.place

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._base.close()

    def add(self, entry: Entry) -> Outcome:
        """Keeps a record, all of it or nothing."""
        return self._base.write(lambda base: _add(base, entry))

    def add_verdicts(self, digest: str, judged: Sequence[Judged]) -> bool:
        """Keeps what a gate said, by the digest of its record; False where that is there already."""

        def add(base: sql.Connection) -> bool:
            known = sql.select(VERDICTS.c.digest).where(VERDICTS.c.digest == digest).limit(1)
            if base.scalar(known) is not None:
                return False
            rows = [
                dataclasses.asdict(each) | {"digest": digest, "place": place}
                for place, each in enumerate(judged)
            ]
            if rows:
                base.execute(sql.insert(VERDICTS), rows)
            return True

        return self._base.write(add)

    def verdicts(self) -> list[Judged]:
        """What all gates said, in the order of time."""
        own = [VERDICTS.c[field.name] for field in dataclasses.fields(Judged)]
        found = self._base.read(
            sql.select(*own).order_by(VERDICTS.c.created, VERDICTS.c.digest, VERDICTS.c.place)
        )
        return self._base.told(lambda: [judged_of(each) for each in found])

    def series(self) -> list[Stored]:
        """Every series, in the order of its key."""
        own = (SERIES.c.id, SERIES.c.searched, SERIES.c.total, *(SERIES.c[name] for name in KEY))
        found = self._base.read(sql.select(*own).where(SERIES.c.total > 0))
        every = self._base.told(lambda: [stored_of(each) for each in found])
        return sorted(every, key=lambda one: one.key.order)

    def points(self, series: Collection[int], last: int | None = None) -> dict[int, list[Point]]:
        """The rows of each series in the order of time, all or the `last` ones."""
        found = self._base.read(query(series, last, self._base.engine.dialect.name))
        ids = {row.record for row in found}
        own = (RECORDS.c.id, RECORDS.c.name, RECORDS.c.digest, RECORDS.c.versions)
        # by themselves: many rows are of one record
        told = self._base.read(sql.select(*own).where(among(RECORDS.c.id, ids)))

        def read() -> dict[int, list[Point]]:
            records = {id_: record_of(id_, *cells) for id_, *cells in told}
            points: dict[int, list[Point]] = {one: [] for one in series}
            for one, record, *cells in found:
                # another process may have replaced it meanwhile
                if record in records:
                    points[one].append(point_of(records[record], cells))
            return {one: rows if last is None else rows[-last:] for one, rows in points.items()}

        return self._base.told(read)

    def changes(self, series: Collection[int]) -> dict[int, list[Change]]:
        """The change points of each series that were found, in the order of time."""
        own = [CHANGES.c[field.name] for field in dataclasses.fields(Change)]
        found = self._base.read(
            sql.select(CHANGES.c.series, *own)
            .where(among(CHANGES.c.series, series))
            .order_by(CHANGES.c.series, CHANGES.c.created, CHANGES.c.record)
        )

        def read() -> dict[int, list[Change]]:
            changes: dict[int, list[Change]] = {one: [] for one in series}
            for one, *cells in found:
                changes[one].append(change_of(cells))
            return changes

        return self._base.told(read)

    def keep_changes(self, series: int, rows: int, changes: Sequence[Change]) -> None:
        """Keeps the change points of a series of so many `rows`, unless more came meanwhile."""

        def keep(base: sql.Connection) -> None:
            now = base.scalar(sql.select(SERIES.c.total).where(SERIES.c.id == series))
            if now != rows:
                return
            base.execute(sql.delete(CHANGES).where(CHANGES.c.series == series))
            if changes:
                base.execute(
                    sql.insert(CHANGES),
                    [
                        dataclasses.asdict(each)
                        | {"series": series, "versions": json.dumps(each.versions)}
                        for each in changes
                    ],
                )
            base.execute(sql.update(SERIES).where(SERIES.c.id == series).values(searched=1))

        self._base.write(keep)


def _add(base: sql.Connection, entry: Entry) -> Outcome:
    there = base.execute(
        sql.select(RECORDS.c.id, RECORDS.c.digest, RECORDS.c.lines).where(
            RECORDS.c.run == entry.run
        )
    ).one_or_none()
    if there is not None:
        if there.digest == entry.digest:
            return "there"
        if there.lines >= entry.lines:
            return "shorter"
        _forget(base, there.id)
    _insert(base, entry)
    return "added" if there is None else "grown"


def _insert(base: sql.Connection, entry: Entry) -> None:
    own = ("run", "digest", "lines", "name", "created")
    versions = json.dumps(dict(entry.versions), ensure_ascii=False)
    record = base.execute(
        sql.insert(RECORDS).values(
            {name: getattr(entry, name) for name in own} | {"versions": versions}
        )
    ).inserted_primary_key
    assert record is not None
    rows = [
        dataclasses.asdict(row)
        | {
            "series": series_of(base, key),
            "created": entry.created,
            "record": record[0],
            "verified": None if row.verified is None else int(row.verified),
            "processes_s": json.dumps(row.processes_s),
        }
        for key, row in entry.rows.items()
    ]
    if rows:
        base.execute(sql.insert(ROWS), rows)


def series_of(base: sql.Connection, key: Key, rows: int = 1) -> int:
    """The series of that key, made if need be, which now has so many rows more; its change points are no longer those
    of its rows."""
    own = dict(zip(KEY, (*values(key.case), key.device_name, key.facts), strict=True))
    found = base.scalar(sql.select(SERIES.c.id).where(*(SERIES.c[n] == v for n, v in own.items())))
    if found is None:
        made = base.execute(sql.insert(SERIES).values(own | {"total": rows})).inserted_primary_key
        assert made is not None
        return int(made[0])
    more = {"searched": 0, "total": SERIES.c.total + rows}
    base.execute(sql.update(SERIES).where(SERIES.c.id == found).values(more))
    return int(found)


def _forget(base: sql.Connection, record: int) -> None:
    own = sql.select(ROWS.c.series).where(ROWS.c.record == record)
    fewer = {"searched": 0, "total": SERIES.c.total - 1}
    base.execute(sql.update(SERIES).where(SERIES.c.id.in_(own)).values(fewer))
    base.execute(sql.delete(RECORDS).where(RECORDS.c.id == record))
