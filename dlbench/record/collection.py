"""Files that hold several records one after the other, each begun by its header.

Such a file is the records' files put together, byte by byte, so nothing of a record changes and any tool for lines
of JSON can take it apart again. A GPU check leaves one: its suites and batch sizes are runs of their own, each with
its own baseline, and they belong together.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dlbench.errors import DlbenchError
from dlbench.record.file import read_lines, record_of
from dlbench.record.schema import Header, Line, Record


def read_records(path: Path, each: Callable[[Line], Line] | None = None) -> tuple[Record, ...]:
    """Every record of a file, in order; of the last one a last line that was cut off is left out. `each` makes of a
    line what is to be kept of it (`dlbench.record.compact`).

    Raises
    ------
    DlbenchError : the first line is no header, or a record is of a schema that this version does not read.
    """
    lines = tuple(map(each, read_lines(path)) if each else read_lines(path))
    begins = [number for number, line in enumerate(lines) if isinstance(line, Header)]
    if not begins or begins[0]:
        raise DlbenchError(f"{path}: not a dlbench record: its first line is no header")
    ends = [*begins[1:], len(lines)]
    return tuple(record_of(path, lines[begin:end]) for begin, end in zip(begins, ends, strict=True))


def named(path: Path, each: Callable[[Line], Line] | None = None) -> list[tuple[str, Record]]:
    """The records of a file with the names that reports give them: the path, and ``#2`` where there are several.
    `each` as for `read_records`.

    Raises
    ------
    DlbenchError : as for `read_records`.
    """
    records = read_records(path, each)
    if len(records) == 1:
        return [(str(path), records[0])]
    return [(f"{path}#{number}", record) for number, record in enumerate(records, 1)]
