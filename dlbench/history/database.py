"""Where a history lives: in an SQLite file, or in a PostgreSQL database that a team shares.

SQLite, because it is part of Python and lets several processes write in turn, as the jobs of a CI do. A rollback
journal and not a write-ahead log, so that the history stays one file that can be copied, cached and kept on a
network. PostgreSQL, where several machines add to one history. Both speak through SQLAlchemy; what is not the same in
both stands here.
"""

from __future__ import annotations

import abc
import contextlib
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sql
from sqlalchemy import exc

from dlbench.errors import DlbenchError, UsageError
from dlbench.history.tables import MIGRATIONS, SCHEMA
from dlbench.record.file import UNREADABLE
from dlbench.text import one_line, shortened

T = TypeVar("T")

APPLICATION = 0x646C6268
"""SQLite's field for the application that a file belongs to: the letters ``dlbh``. PostgreSQL's lock of writers."""
BUSY_S = 30.0
"""How long to wait for another process that writes, or for a server that is away."""
_NONE_YET = "there is no history yet; dlbench history add FILE.jsonl begins one"


class Database(abc.ABC):
    """An open database.

    Parameters
    ----------
    place : what people call it; no password stands in it.
    create : make the history where it is missing.
    """

    place: str
    engine: sql.Engine

    def _ready(self, create: bool) -> None:
        try:
            self.write(lambda base: self._migrate(base, create))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets it go."""
        self.engine.dispose()

    def read(self, query: sql.Executable) -> list[sql.Row[*tuple[Any, ...]]]:
        """All that a query finds."""
        return self.told(lambda: self._once(query))

    def _once(self, query: sql.Executable) -> list[sql.Row[*tuple[Any, ...]]]:
        with self.engine.connect() as base:
            return list(base.execute(query).all())

    def write(self, work: Callable[[sql.Connection], T]) -> T:
        """Does some work in a transaction that has all writing to itself from its beginning; undone where an error
        leaves it."""

        def whole() -> T:
            with self.engine.begin() as base:
                self._begin(base)
                return work(base)

        return self.told(whole)

    def _migrate(self, base: sql.Connection, create: bool) -> None:
        """Brings it to this version's tables."""
        version = self._version(base, create)
        if version > SCHEMA:
            raise DlbenchError(
                f"{self.place}: has schema {version}, this version of dlbench knows schemas up to"
                f" {SCHEMA}; use a newer dlbench, or another --database"
            )
        if version < SCHEMA:
            for step in MIGRATIONS[version:]:
                step(base)
            self._keep_version(base)

    @abc.abstractmethod
    def _begin(self, base: sql.Connection) -> None:
        """Keeps other writers waiting until the transaction has ended."""

    @abc.abstractmethod
    def _version(self, base: sql.Connection, create: bool) -> int:
        """The version of its tables, 0 where there are none yet.

        Raises
        ------
        DlbenchError : it is somebody else's, or there is none and none is to be made.
        """

    @abc.abstractmethod
    def _keep_version(self, base: sql.Connection) -> None:
        """Says in it which tables it has."""

    @abc.abstractmethod
    def told(self, work: Callable[[], T]) -> T:
        """What it refuses, in words."""


class _File(Database):
    """A file of SQLite."""

    def __init__(self, path: Path, create: bool) -> None:
        self.place = str(path)
        if not create and not path.exists():
            raise DlbenchError(f"{path}: {_NONE_YET}")
        self._path = path
        # SQLite's own transactions, begun by hand: Python's begin them late
        self.engine = sql.create_engine(
            sql.URL.create("sqlite", database=self.place),
            poolclass=sql.pool.StaticPool,
            connect_args={"timeout": BUSY_S, "isolation_level": None, "check_same_thread": False},
        )
        sql.event.listen(self.engine, "connect", _connected)
        self.told(lambda: path.parent.mkdir(parents=True, exist_ok=True))
        # what is as it should be is not written to
        if not self.told(self._is_ready):
            self._ready(create)

    def _is_ready(self) -> bool:
        with self.engine.connect() as base:
            return (_pragma(base, "application_id"), _pragma(base, "user_version")) == (
                APPLICATION,
                SCHEMA,
            )

    def _begin(self, base: sql.Connection) -> None:
        base.exec_driver_sql("BEGIN IMMEDIATE")

    def _version(self, base: sql.Connection, create: bool) -> int:
        theirs, version = _pragma(base, "application_id"), _pragma(base, "user_version")
        [tables] = base.exec_driver_sql("SELECT count(*) FROM sqlite_master").one()
        if theirs != APPLICATION and (theirs or version or tables):
            raise DlbenchError(f"{self.place}: is an SQLite database, but no history of dlbench")
        return version

    def _keep_version(self, base: sql.Connection) -> None:
        base.exec_driver_sql(f"PRAGMA application_id = {APPLICATION}")
        base.exec_driver_sql(f"PRAGMA user_version = {SCHEMA}")

    def told(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except exc.OperationalError as error:
            if "locked" in str(error.orig):
                message = f"another process has kept it busy for {BUSY_S:.0f} s"
            else:
                message = f"cannot be used: {error.orig}"
            raise DlbenchError(f"{self.place}: {message}") from None
        except (exc.SQLAlchemyError, sqlite3.DatabaseError, *UNREADABLE) as error:
            why = shortened(one_line(str(getattr(error, "orig", None) or error)), 300)
            raise DlbenchError(
                f"{self.place}: is damaged, or no history ({why}); move it away and add the records"
                " again, from which a history can always be made"
            ) from None
        except OSError as error:
            raise DlbenchError(f"{self.place}: cannot be made: {error.strerror}") from None


def _connected(base: sqlite3.Connection, _: object) -> None:
    base.text_factory = lambda raw: raw.decode("utf-8", "replace")
    base.execute("PRAGMA foreign_keys = ON")


def _pragma(base: sql.Connection, name: str) -> int:
    return int(base.exec_driver_sql(f"PRAGMA {name}").scalar_one())


_OWN = "dlbench"
"""The schema, in PostgreSQL's sense, that holds the tables: the database may hold others beside it."""
_VERSION = sql.Table("version", sql.MetaData(), sql.Column("tables", sql.Integer, nullable=False))


class _Server(Database):
    """A database of a PostgreSQL server."""

    def __init__(self, url: sql.URL, create: bool) -> None:
        self.place = url.render_as_string(hide_password=True)
        try:
            self.engine = sql.create_engine(
                url.set(drivername="postgresql+psycopg"),
                pool_pre_ping=True,
                # compiling a query takes longer than any of these
                connect_args={
                    "connect_timeout": 10,
                    "options": f"-c search_path={_OWN} -c jit=off",
                },
            )
        except ModuleNotFoundError:
            raise DlbenchError(
                f"{self.place}: needs psycopg; pip install 'dlbench[postgresql]'"
            ) from None
        # what is as it should be is asked without waiting for those who write
        if not self.told(self._is_ready):
            self._ready(create)

    def _is_ready(self) -> bool:
        with self.engine.connect() as base:
            there = sql.select(sql.func.to_regclass(f"{_OWN}.{_VERSION.name}"))
            if base.scalar(there) is None:
                return False
            return base.scalar(sql.select(_VERSION.c.tables)) == SCHEMA

    def _begin(self, base: sql.Connection) -> None:
        base.execute(sql.select(sql.func.pg_advisory_xact_lock(APPLICATION)))

    def _version(self, base: sql.Connection, create: bool) -> int:
        if sql.inspect(base).has_table(_VERSION.name, schema=_OWN):
            return int(base.execute(sql.select(_VERSION.c.tables)).scalar_one())
        if not create:
            raise DlbenchError(f"{self.place}: {_NONE_YET}")
        if sql.inspect(base).has_schema(_OWN):
            raise DlbenchError(f"{self.place}: has a schema {_OWN!r} that is no history of dlbench")
        base.execute(sql.schema.CreateSchema(_OWN))
        _VERSION.create(base)
        base.execute(sql.insert(_VERSION).values(tables=0))
        return 0

    def _keep_version(self, base: sql.Connection) -> None:
        base.execute(sql.update(_VERSION).values(tables=SCHEMA))

    def told(self, work: Callable[[], T]) -> T:
        """As for all; what a server that was away left undone is done again once it is back. Twice is not a danger:
        what was kept already is found there."""
        end_s = time.monotonic() + BUSY_S
        while True:
            try:
                return work()
            except exc.DBAPIError as error:
                if not _is_away(error):
                    raise DlbenchError(f"{self.place}: {_why(error)}") from None
                if time.monotonic() > end_s:
                    raise DlbenchError(
                        f"{self.place}: cannot be reached for {BUSY_S:.0f} s: {_why(error)}"
                    ) from None
            except (exc.SQLAlchemyError, *UNREADABLE) as error:
                why = shortened(one_line(str(error)), 300)
                raise DlbenchError(
                    f"{self.place}: its rows are not those of a history ({why})"
                ) from None
            # several that wait do not come back at once
            time.sleep(random.uniform(0.2, 0.6))


_FOR_GOOD = ("does not exist", "authentication", "password", "pg_hba", "host name")


def _is_away(error: exc.DBAPIError) -> bool:
    """Whether the connection was lost or could not be made, and the next may be."""
    state = getattr(error.orig, "sqlstate", None)
    if error.connection_invalidated or (state or "").startswith(("08", "57P")):
        return True
    # psycopg gives no state to what it is told before there is a connection
    return state is None and not any(word in str(error.orig) for word in _FOR_GOOD)


def _why(error: exc.DBAPIError) -> str:
    return shortened(one_line(str(error.orig)), 300)


def open_database(place: Path | str, create: bool) -> Database:
    """A history's database.

    Parameters
    ----------
    place : an SQLite file, or the URL of a PostgreSQL database (``postgresql://USER@HOST/NAME``).
    create : make the history where it is missing.

    Raises
    ------
    UsageError : the URL of something else.
    DlbenchError : no history is there, one of a newer schema, a damaged one, one that cannot be reached, or that
        another process keeps busy. Everything that is done with it may raise the last three.
    """
    if isinstance(place, Path):
        return _File(place, create)
    with _refused(place):
        url = sql.make_url(place)
    kind = url.get_backend_name()
    if kind == "sqlite" and url.database:
        return _File(Path(url.database), create)
    if kind in ("postgresql", "postgres"):
        return _Server(url, create)
    raise UsageError(
        f"--database {url.render_as_string()}: a history lives in an SQLite file, or in a database of"
        " PostgreSQL (postgresql://USER@HOST/NAME)"
    )


@contextlib.contextmanager
def _refused(place: str) -> Iterator[None]:
    try:
        yield
    except exc.ArgumentError:
        raise UsageError(f"--database {shortened(place)}: is no URL") from None
