"""The history's database: one SQLite file.

SQLite, because it is part of Python and lets several processes write in turn, as the jobs of a CI do; DuckDB
would be a dependency, and lets one process alone open a file for writing. A rollback journal and not a
write-ahead log, so that the history stays one file that can be copied, cached and kept on a network.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from dlbench.errors import DlbenchError
from dlbench.history.rows import Entry, Key
from dlbench.history.stored import KEY, Change, Point, Stored, change_of, harmless, key_of, point_of
from dlbench.record.case import values
from dlbench.record.file import UNREADABLE
from dlbench.text import one_line, shortened

APPLICATION = 0x646C6268
"""SQLite's field for the application that a file belongs to: the letters ``dlbh``."""
BUSY_S = 30.0
"""How long to wait for another process that writes."""

MIGRATIONS = (
    """
    CREATE TABLE records (
        id INTEGER PRIMARY KEY,
        run TEXT NOT NULL UNIQUE,
        digest TEXT NOT NULL,
        lines INTEGER NOT NULL,
        name TEXT NOT NULL,
        created TEXT NOT NULL,
        versions TEXT NOT NULL
    );
    CREATE TABLE series (
        id INTEGER PRIMARY KEY,
        suite TEXT NOT NULL,
        backend TEXT NOT NULL,
        device TEXT NOT NULL,
        scenario TEXT NOT NULL,
        batch INTEGER NOT NULL,
        mode TEXT NOT NULL,
        precision TEXT NOT NULL,
        threads INTEGER NOT NULL,
        device_name TEXT NOT NULL,
        facts TEXT NOT NULL,
        searched INTEGER NOT NULL DEFAULT 0,
        UNIQUE (suite, backend, device, scenario, batch, mode, precision, threads, device_name, facts)
    );
    CREATE TABLE rows (
        series INTEGER NOT NULL REFERENCES series (id),
        created TEXT NOT NULL,
        record INTEGER NOT NULL REFERENCES records (id) ON DELETE CASCADE,
        version TEXT NOT NULL,
        status TEXT NOT NULL,
        verified INTEGER,
        problem TEXT NOT NULL,
        disturbance TEXT NOT NULL,
        processes_s TEXT NOT NULL,
        median_s REAL,
        low_s REAL,
        high_s REAL,
        PRIMARY KEY (series, created, record)
    ) WITHOUT ROWID;
    CREATE INDEX rows_of_record ON rows (record);
    CREATE TABLE changes (
        series INTEGER NOT NULL REFERENCES series (id),
        record INTEGER NOT NULL,
        created TEXT NOT NULL,
        before_s REAL NOT NULL,
        after_s REAL NOT NULL,
        versions TEXT NOT NULL,
        PRIMARY KEY (series, record)
    ) WITHOUT ROWID;
    """,
)
"""What takes the database from each version of its schema to the next; the file's own version counts them."""

SCHEMA = len(MIGRATIONS)

Outcome = Literal["added", "there", "grown", "shorter"]
"""What became of a record: new, there already, there in a shorter state that it replaced, or itself a shorter
state of what is there."""


class Store:
    """A history's file, open; a context manager that closes it.

    Parameters
    ----------
    path : the file.
    create : make it, with its folders, where it is missing.

    Raises
    ------
    DlbenchError : no such file, no history, one of a newer schema, a damaged one, or one that another process
        keeps busy. Every method may raise the last two.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        if not create and not path.exists():
            raise DlbenchError(
                f"{path}: there is no history yet; dlbench history add FILE.jsonl begins one"
            )
        with self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
            self._base.text_factory = harmless
            try:
                self._base.execute("PRAGMA foreign_keys = ON")
                self._migrate()
            except BaseException:
                self._base.close()
                raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._base.close()

    def add(self, entry: Entry) -> Outcome:
        """Keeps a record, all of it or nothing."""
        with self._writing():
            there = self._base.execute(
                "SELECT id, digest, lines FROM records WHERE run = ?", (entry.run,)
            ).fetchone()
            if there is not None:
                record, digest, lines = there
                if digest == entry.digest:
                    return "there"
                if lines >= entry.lines:
                    return "shorter"
                self._forget(record)
            self._insert(entry)
        return "added" if there is None else "grown"

    def series(self) -> list[Stored]:
        """Every series, in the order of its key."""
        found = self._all(
            f"SELECT id, {', '.join(KEY)}, count, searched"
            " FROM (SELECT series, count(*) AS count FROM rows GROUP BY series)"
            " JOIN series ON series.id = series"
        )
        with self._told():
            every = [Stored(id_, key_of(key), n, bool(done)) for id_, *key, n, done in found]
        return sorted(every, key=lambda one: one.key)

    def points(self, series: int, last: int | None = None) -> list[Point]:
        """The rows of a series in the order of time, all or the `last` ones."""
        found = self._all(
            "SELECT records.id, name, digest, rows.created, versions, version, status, verified, problem,"
            " disturbance, processes_s, median_s, low_s, high_s"
            " FROM rows JOIN records ON records.id = rows.record WHERE series = ?"
            " ORDER BY rows.created DESC, rows.record DESC LIMIT ?",
            (series, -1 if last is None else last),
        )
        known: dict[str, Mapping[str, str]] = {}
        with self._told():
            return [point_of(values, known) for values in reversed(found)]

    def changes(self, series: int) -> list[Change]:
        """The change points that were found, in the order of time."""
        found = self._all(
            "SELECT record, created, before_s, after_s, versions FROM changes WHERE series = ?"
            " ORDER BY created, record",
            (series,),
        )
        with self._told():
            return [change_of(values) for values in found]

    def keep_changes(self, series: int, rows: int, changes: Sequence[Change]) -> None:
        """Keeps the change points of a series of so many `rows`, unless more came meanwhile."""
        with self._writing():
            (now,) = self._base.execute(
                "SELECT count(*) FROM rows WHERE series = ?", (series,)
            ).fetchone()
            if now != rows:
                return
            self._base.execute("DELETE FROM changes WHERE series = ?", (series,))
            self._base.executemany(
                "INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (series, c.record, c.created, c.before_s, c.after_s, json.dumps(c.versions))
                    for c in changes
                ],
            )
            self._base.execute("UPDATE series SET searched = 1 WHERE id = ?", (series,))

    def _insert(self, entry: Entry) -> None:
        cursor = self._base.execute(
            "INSERT INTO records (run, digest, lines, name, created, versions)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                entry.run,
                entry.digest,
                entry.lines,
                entry.name,
                entry.created,
                json.dumps(dict(entry.versions), ensure_ascii=False),
            ),
        )
        record = cursor.lastrowid
        for key, row in entry.rows.items():
            series = self._series(key)
            self._base.execute(
                "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    series,
                    entry.created,
                    record,
                    row.version,
                    row.status,
                    row.verified,
                    row.problem,
                    row.disturbance,
                    json.dumps(row.processes_s),
                    row.median_s,
                    row.low_s,
                    row.high_s,
                ),
            )

    def _series(self, key: Key) -> int:
        """The series of that key, made if need be; its change points are no longer those of its rows."""
        names, marks = ", ".join(KEY), ", ".join("?" * len(KEY))
        own = (*values(key.case), key.device_name, key.facts)
        self._base.execute(
            f"INSERT INTO series ({names}) VALUES ({marks}) ON CONFLICT DO UPDATE SET searched = 0",
            own,
        )
        (found,) = self._base.execute(
            f"SELECT id FROM series WHERE ({names}) = ({marks})", own
        ).fetchone()
        return int(found)

    def _forget(self, record: int) -> None:
        self._base.execute(
            "UPDATE series SET searched = 0 WHERE id IN (SELECT series FROM rows WHERE record = ?)",
            (record,),
        )
        self._base.execute("DELETE FROM records WHERE id = ?", (record,))

    def _migrate(self) -> None:
        """Brings the file to this version's schema."""
        if self._pragma("application_id") == APPLICATION and self._version() == SCHEMA:
            return
        with self._writing():
            # asked again, now that no other process is at it
            theirs, version = self._pragma("application_id"), self._version()
            (tables,) = self._base.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if theirs != APPLICATION and (theirs or version or tables):
                raise DlbenchError(f"{self.path}: is an SQLite database, but no history of dlbench")
            if version > SCHEMA:
                raise DlbenchError(
                    f"{self.path}: has schema {version}, this version of dlbench knows schemas up to"
                    f" {SCHEMA}; use a newer dlbench, or another --database"
                )
            for step in MIGRATIONS[version:]:
                for statement in filter(str.strip, step.split(";")):
                    self._base.execute(statement)
            self._base.execute(f"PRAGMA application_id = {APPLICATION}")
            self._base.execute(f"PRAGMA user_version = {SCHEMA}")

    def _version(self) -> int:
        return self._pragma("user_version")

    def _pragma(self, name: str) -> int:
        return int(self._base.execute(f"PRAGMA {name}").fetchone()[0])

    def _all(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        with self._told():
            return self._base.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction that has the file to itself from its beginning; undone where an error leaves it."""
        with self._told():
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._base.rollback()
                raise
            self._base.commit()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What SQLite and the file system refuse, in words."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                message = f"another process has kept it busy for {BUSY_S:.0f} s"
            else:
                message = f"cannot be used: {error}"
            raise DlbenchError(f"{self.path}: {message}") from None
        except (sqlite3.DatabaseError, *UNREADABLE) as error:
            why = shortened(one_line(str(error)), 300)
            raise DlbenchError(
                f"{self.path}: is damaged, or no history ({why}); move it away and add the records"
                " again, from which a history can always be made"
            ) from None
        except OSError as error:
            raise DlbenchError(f"{self.path}: cannot be made: {error.strerror}") from None
