"""The last rows of many series in one query.

A window over all rows would read a million of them to show twenty of each series. The primary key of the rows begins
with series and time, so what is wanted lies together; how a query says that is not the same in both databases.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

import sqlalchemy as sql

from dlbench.history.rows import Row
from dlbench.history.tables import ROWS, SERIES

_BACKWARDS = (ROWS.c.created.desc(), ROWS.c.record.desc())
_OWN = tuple(field.name for field in dataclasses.fields(Row))


def among(column: sql.ColumnElement[int], ids: Collection[int]) -> sql.ColumnElement[bool]:
    """Whether a column is one of the ids, which may be more than a query may have parameters."""
    return column.in_(sql.bindparam(None, list(ids), expanding=True, literal_execute=True))


def query(ids: Collection[int], last: int | None, dialect: str) -> sql.Select[*tuple[Any, ...]]:
    """Selects rows of series: the series, the record, when that was begun, and the fields of `Row`; series by series
    and in the order of time.

    Parameters
    ----------
    last : rows of each, None for all. With SQLite those that were begun in the same second as the first of them come
        before it.
    dialect : ``sqlite`` or ``postgresql``.
    """
    if last is None:
        rows: Any = ROWS
        found = sql.select().where(among(rows.c.series, ids))
        source: Any = rows
    elif dialect == "postgresql":
        own = sql.select(ROWS).where(ROWS.c.series == SERIES.c.id)
        rows = own.order_by(*_BACKWARDS).limit(last).correlate(SERIES).lateral()
        found = sql.select().where(among(SERIES.c.id, ids))
        source = SERIES.join(rows, sql.true())
    else:
        # SQLite has no LATERAL
        within = ROWS.alias()
        first = (
            sql.select(within.c.created)
            .where(within.c.series == SERIES.c.id)
            .order_by(within.c.created.desc(), within.c.record.desc())
            .limit(1)
            .offset(last - 1)
            .correlate(SERIES)
            .scalar_subquery()
        )
        since = sql.select(SERIES.c.id, sql.func.coalesce(first, "").label("since"))
        begins = since.where(among(SERIES.c.id, ids)).cte().prefix_with("MATERIALIZED")
        rows = ROWS
        found = sql.select()
        wanted = (rows.c.series == begins.c.id) & (rows.c.created >= begins.c.since)
        source = begins.join(rows, wanted)
    return (
        found.add_columns(
            *(rows.c[name] for name in ("series", "record", "created", *_OWN)),
        )
        .select_from(source)
        .order_by(rows.c.series, rows.c.created, rows.c.record)
    )
