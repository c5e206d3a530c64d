"""The tables of a history, and what takes a database from each version of them to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    func,
    inspect,
    select,
    update,
)
from sqlalchemy.types import TypeDecorator

from dlbench.history.stored import KEY
from dlbench.text import printable

METADATA = MetaData()


class Words(TypeDecorator[str]):
    """Text, of which nothing acts on a terminal once it is read back."""

    impl = Text
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        """The text as it may be shown.

        Raises
        ------
        ValueError : there is something else, which SQLite lets stand in any column.
        """
        if isinstance(value, str):
            return printable(value)
        if value is None:
            return None
        raise ValueError(f"{type(value).__name__} stand where text belongs")


def _words(name: str) -> Column[str]:
    return Column(name, Words, nullable=False)


RECORDS = Table(
    "records",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("run", Words, nullable=False, unique=True),
    _words("digest"),
    Column("lines", Integer, nullable=False),
    _words("name"),
    _words("created"),
    _words("versions"),
)
_NUMBERS = ("batch", "threads", "world")
SERIES = Table(
    "series",
    METADATA,
    Column("id", Integer, primary_key=True),
    *(Column(name, BigInteger if name in _NUMBERS else Words, nullable=False) for name in KEY),
    Column("searched", Integer, nullable=False, server_default="0"),
    # how many rows it has: counting a million of them takes longer than all else that is shown
    Column("total", Integer, nullable=False, server_default="0"),
    UniqueConstraint(*KEY).ddl_if(dialect="sqlite"),
)
# PostgreSQL's indices hold no long texts
Index(
    "series_of_key",
    *(SERIES.c[name] for name in KEY[:-1]),
    func.md5(SERIES.c[KEY[-1]]),
    unique=True,
).ddl_if(dialect="postgresql")
ROWS = Table(
    "rows",
    METADATA,
    Column("series", Integer, ForeignKey("series.id"), primary_key=True),
    Column("created", Words, primary_key=True),
    Column("record", Integer, ForeignKey("records.id", ondelete="CASCADE"), primary_key=True),
    _words("version"),
    _words("status"),
    Column("verified", Integer),
    _words("problem"),
    _words("disturbance"),
    _words("processes_s"),
    Column("median_s", Float(53)),
    Column("low_s", Float(53)),
    Column("high_s", Float(53)),
    Index("rows_of_record", "record"),
    sqlite_with_rowid=False,
)
CHANGES = Table(
    "changes",
    METADATA,
    Column("series", Integer, ForeignKey("series.id"), primary_key=True),
    Column("record", Integer, primary_key=True),
    _words("created"),
    Column("before_s", Float(53), nullable=False),
    Column("after_s", Float(53), nullable=False),
    _words("versions"),
    sqlite_with_rowid=False,
)
VERDICTS = Table(
    "verdicts",
    METADATA,
    Column("digest", Words, primary_key=True),
    Column("place", Integer, primary_key=True),
    *map(_words, ("name", "created", "base", "new", "workload", "case_label", "machine")),
    *map(_words, ("status", "reason", "accepted")),
    *(Column(name, Float(53)) for name in ("ratio", "low", "high")),
    sqlite_with_rowid=False,
)


_NEWER = {
    "world": ("BIGINT", "1"),
    "input": ("TEXT", "'resident'"),
    "total": ("INTEGER", "0"),
}
"""Columns that series have got since, with the type in PostgreSQL and what those that were there have in them."""


def _tell_newer_axes(base: Connection) -> None:
    """Series are told apart by axes that there were not before."""
    there = [column["name"] for column in inspect(base).get_columns("series")]
    lacking = [name for name in _NEWER if name not in there]
    if not lacking:
        return
    if base.dialect.name == "postgresql":
        for name in lacking:
            kind, value = _NEWER[name]
            base.exec_driver_sql(
                f"ALTER TABLE series ADD COLUMN {name} {kind} NOT NULL DEFAULT {value}"
            )
        base.exec_driver_sql("DROP INDEX series_of_key")
        for index in SERIES.indexes:
            index.create(base)
        return
    # what tells series apart is part of SQLite's table, which is made anew with all that refers to it
    base.exec_driver_sql("DROP INDEX rows_of_record")
    tables = (SERIES, ROWS, CHANGES)
    for table in tables:
        base.exec_driver_sql(f"ALTER TABLE {table.name} RENAME TO former_{table.name}")
    METADATA.create_all(base)
    for table in tables:
        names = ", ".join(column.name for column in table.columns)
        given = ", ".join(
            _NEWER[column.name][1] if column.name in lacking else column.name
            for column in table.columns
        )
        base.exec_driver_sql(
            f"INSERT INTO {table.name} ({names}) SELECT {given} FROM former_{table.name}"
        )
    for table in reversed(tables):
        base.exec_driver_sql(f"DROP TABLE former_{table.name}")


def _keep_verdicts(base: Connection) -> None:
    """What gates said is kept beside the records."""
    VERDICTS.create(base, checkfirst=True)


def _count_rows(base: Connection) -> None:
    """How many rows a series has stands beside it."""
    if "total" not in [column["name"] for column in inspect(base).get_columns("series")]:
        base.exec_driver_sql("ALTER TABLE series ADD COLUMN total INTEGER NOT NULL DEFAULT 0")
    own = select(func.count()).select_from(ROWS).where(ROWS.c.series == SERIES.c.id)
    base.execute(update(SERIES).values(total=own.scalar_subquery()))


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (
    METADATA.create_all,
    _tell_newer_axes,
    _keep_verdicts,
    _tell_newer_axes,
    _count_rows,
)
"""What takes a database from each version of its tables to the next; the number of those done stands in it. The first
makes the tables as they are now, and each other one changes what is not so yet."""
SCHEMA = len(MIGRATIONS)
