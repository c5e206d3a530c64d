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
        """The text as it may be shown."""
        return printable(value) if isinstance(value, str) else value


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
_NUMBERS = ("batch", "threads")
SERIES = Table(
    "series",
    METADATA,
    Column("id", Integer, primary_key=True),
    *(Column(name, BigInteger if name in _NUMBERS else Words, nullable=False) for name in KEY),
    Column("searched", Integer, nullable=False, server_default="0"),
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

MIGRATIONS: tuple[Callable[[Connection], None], ...] = (METADATA.create_all,)
"""What takes a database from each version of its tables to the next; the number of those done stands in it. When the
tables change, the first stays what it was: it makes those of version 1."""
SCHEMA = len(MIGRATIONS)
