"""Reads the records that somebody named: a mistake in a file is then a mistake in what was asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from dlbench.errors import DlbenchError, UsageError
from dlbench.record.collection import named
from dlbench.record.compact import brief
from dlbench.record.file import read_record
from dlbench.record.schema import Record


def read(path: Path) -> Record:
    """The record of a file.

    Raises
    ------
    UsageError : it holds none, or several.
    """
    with _usage(path):
        return read_record(path)


def read_all(path: Path) -> list[tuple[str, Record]]:
    """Every record of a file, without what no report shows, by the names that reports give them; errors as for
    `read`."""
    with _usage(path):
        return named(path, brief)


@contextlib.contextmanager
def _usage(path: Path) -> Iterator[None]:
    try:
        yield
    except DlbenchError as error:
        from dlbench.gate.schema import is_one

        if is_one(path):
            text = f"{path} is the record of a gate; see: dlbench gate --report {path}"
            raise UsageError(text) from None
        raise UsageError(str(error)) from None
