"""Records on disk: a line is appended and flushed as soon as it is known, and a file is read back a line at a time.

What is cut off in the middle of a line costs that line and nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from dlbench.errors import DlbenchError
from dlbench.record import door
from dlbench.record.schema import SCHEMA, Damaged, Header, Line, Record
from dlbench.text import one_line, shortened

_RETIRED_KINDS = frozenset({"gpu_tests"})
"""Lines that earlier versions wrote and this one ignores."""

UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)
"""What bytes raise that are no JSON, no text, nested too deeply, or of another type."""

_LOCK_S = 3.0
_TOLD = 300
"""Characters of what is wrong with a line that are told: it may quote all of it."""


class Writer:
    """Appends lines to a record; each is on disk before `write` returns.

    The file is new or empty, as a run leaves it that was killed before its first line, unless `append` resumes one:
    then nothing of it changes before the first line is written, which takes the place of a last line that was cut
    off. No two writers have the same file.

    With `alone` it is new, and an empty one is left to whoever has made it.

    Raises
    ------
    FileExistsError : there is something in the file, which is not to be resumed.
    DlbenchError : another run is writing it.
    """

    def __init__(self, path: Path, *, append: bool = False, alone: bool = False) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("r+b" if append or (path.exists() and not alone) else "xb")
        self._mended = not append
        self._encoder = msgspec.json.Encoder()
        self._whole = bytearray()
        if not _lock(self._file):
            self._file.close()
            raise DlbenchError(f"{path}: another run is writing this record")
        if not append and os.fstat(self._file.fileno()).st_size:
            self._file.close()
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))

    def write(self, line: msgspec.Struct) -> None:
        """Appends one line and flushes it."""
        try:
            if not self._mended:
                self._mend()
            encoded = self._encoder.encode(line) + b"\n"
            self._whole += encoded
            self._file.write(encoded)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            message = (
                f"{self.path}: cannot be written: {error.strerror}; what came before is in it;"
                " free space there, or name another place with --output"
            )
            raise DlbenchError(message) from None

    @property
    def wrote(self) -> bool:
        """Whether a line has been written."""
        return bool(self._whole)

    def rescued(self) -> Path | None:
        """Where what was written has been put once more, after somebody took the file away or changed it; None where
        it is as it was left.

        Raises
        ------
        OSError : there is no room for it.
        """
        with contextlib.suppress(OSError):
            if self.path.read_bytes() == self._whole:
                return None
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(2):
            place = self.path.with_name(f"{self.path.stem}-{number}{self.path.suffix}")
            with contextlib.suppress(FileExistsError), place.open("xb") as file:
                file.write(self._whole)
                return place
        raise AssertionError

    def close(self) -> None:
        """Closes the file."""
        # what could not be written has been told, and is tried once more here
        with contextlib.suppress(OSError):
            self._file.close()

    def _mend(self) -> None:
        """Ends the last line, or takes away the beginning of one that was cut off."""
        whole = self._file.read()
        self._whole += whole
        kept, _, last = whole.rpartition(b"\n")
        self._file.seek(0, os.SEEK_END)
        if last:
            try:
                msgspec.json.decode(last, type=Line)
                self._file.write(b"\n")
                self._whole += b"\n"
            except UNREADABLE:
                length = len(kept) + (b"\n" in whole)
                self._file.truncate(self._file.seek(length))
                del self._whole[length:]
        self._mended = True


def _lock(file: BinaryIO) -> bool:
    """Takes the lock of a file; whether that came about.

    A process that a run was just starting when it was killed shares its lock until it executes something else, so a
    lock that is held is tried for a while.
    """
    end = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            # where a file system has no locks, going without is better than no record at all
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return True
        else:
            return True
        if time.monotonic() >= end:
            return False
        time.sleep(0.05)


def create(paths: Iterable[Path]) -> Writer:
    """A writer of a new record by the first of these names that nobody else has taken.

    Raises
    ------
    OSError, DlbenchError : as for `Writer`; FileExistsError when there is a file by each.
    """
    for path in paths:
        with contextlib.suppress(FileExistsError):
            return Writer(path, alone=True)
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a record; a last line that was cut off in writing is left out, and in the place of another that
    cannot be read is a `Damaged` one.

    Raises
    ------
    DlbenchError : the file is not a record, or of another schema.
    """
    return decoded_lines(path, Line, "a dlbench record", Damaged)


def decoded_lines(
    path: Path, kinds: Any, what: str, damaged: Callable[[int], Any] | None = None
) -> Iterator[Any]:
    """The lines of a file, each of one of these kinds of struct; what is cut off at its end is left out.

    Parameters
    ----------
    damaged : makes of the number of a line that cannot be read what stands in its place; None refuses it.

    Raises
    ------
    DlbenchError : the file is not `what` it is said to be.
    """
    decoder = msgspec.json.Decoder(kinds)
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line == b"\n":
                    continue
                try:
                    found = decoder.decode(door.clean(line))
                    door.check(found)
                except UNREADABLE as error:
                    if not line.endswith(b"\n"):
                        return
                    if _is_retired(line):
                        continue
                    if damaged is not None and number > 1 and not _is_json(line):
                        yield damaged(number)
                        continue
                    why = shortened(one_line(str(error)), _TOLD)
                    told = f"{path}, line {number}: not a line of {what}: {why}"
                    raise DlbenchError(told) from None
                yield found
    except OSError as error:
        raise DlbenchError(f"{path}: cannot be read: {error.strerror}") from None


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except UNREADABLE:
        return False
    return True


class _Kind(msgspec.Struct):
    kind: str


def _is_retired(line: bytes) -> bool:
    try:
        return msgspec.json.decode(line, type=_Kind).kind in _RETIRED_KINDS
    except UNREADABLE:
        return False


def read_record(path: Path) -> Record:
    """The record of a file that holds one; `dlbench.record.collection` reads those that hold several, which are
    refused here (DlbenchError), as is what has no header or another schema."""
    lines = tuple(read_lines(path))
    if any(isinstance(line, Header) for line in lines[1:]):
        raise DlbenchError(f"{path}: holds several records; to see them: dlbench report {path}")
    return record_of(path, lines)


def record_of(path: Path, lines: tuple[Line, ...]) -> Record:
    """The record that lines of a file are; errors as for `read_record`."""
    if not lines or not isinstance(lines[0], Header):
        raise DlbenchError(f"{path}: not a dlbench record: its first line is no header")
    if lines[0].schema != SCHEMA:
        differ = f"has schema {lines[0].schema}, this version of dlbench reads schema {SCHEMA}"
        raise DlbenchError(f"{path}: {differ}")
    return Record(lines[0], lines[1:])
