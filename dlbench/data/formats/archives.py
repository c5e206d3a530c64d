"""Members of archives that were not unpacked: tar, gzip of it or zip, read by name into memory.

Nothing is extracted, and no other member is looked at.
"""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

from dlbench.data.files import Readable, open_plain_or_gzip, open_regular, read_at_most
from dlbench.errors import DataError
from dlbench.text import shortened

MAX_BYTES = 1 << 28
"""The most that an archive of one of these data sets can honestly hold."""
_PIECE_BYTES = 1 << 20
_ZIP_MAGIC = b"PK"

Key = Callable[[str], str | None]
"""What a member is called by those who want it, from its path in the archive; None for one that nobody wants."""


def read_members(path: Path, key: Key, max_bytes: int) -> dict[str, bytes]:
    """Read members of an archive; whether it is a zip or a tar its content says, not its name.

    Parameters
    ----------
    key : which members, and what each is called; of several with one key the first counts.
    max_bytes : the most that one of them may have.

    Returns
    -------
    Contents by key, of those that are there; one byte longer than `max_bytes` where there is more.

    Raises
    ------
    DataError : the file cannot be read or is damaged, unpacks to more than `MAX_BYTES`, or a
        member is no plain file.
    """
    with open_regular(path) as raw:
        is_zip = raw.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
        raw.seek(0)
        if is_zip:
            return _read_zip(path, raw, key, max_bytes)
    return _read_tar(path, key, max_bytes)


def _read_zip(path: Path, raw: IO[bytes], key: Key, max_bytes: int) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    left_bytes = MAX_BYTES
    try:
        with zipfile.ZipFile(raw) as archive:
            for member in archive.infolist():
                name = key(member.filename)
                if name is None or name in contents:
                    continue
                with archive.open(member) as unpacked:
                    contents[name] = read_at_most(unpacked, min(max_bytes, left_bytes))
                left_bytes -= len(contents[name])
                if left_bytes < 0:
                    raise _too_much(path)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        # RuntimeError: encrypted, or packed in a way that is not known
        raise _damaged(path, error) from error
    return contents


def _read_tar(path: Path, key: Key, max_bytes: int) -> dict[str, bytes]:
    contents: dict[str, bytes] = {}
    with open_plain_or_gzip(path) as stream:
        bounded = _Bounded(stream, path)
        try:
            # A stream mode asks for nothing but read().
            with tarfile.open(fileobj=cast(IO[bytes], bounded), mode="r|") as archive:
                for member in archive:
                    name = key(member.name)
                    if name is None or name in contents:
                        continue
                    unpacked = archive.extractfile(member) if member.isfile() else None
                    if unpacked is None:
                        raise DataError(f"{path}: {member.name} is no plain file")
                    contents[name] = read_at_most(unpacked, max_bytes)
            # An archive ends before its file does, and gzip checks its sum at the very end.
            while bounded.read(_PIECE_BYTES):
                pass
        except (tarfile.TarError, ValueError, OverflowError) as error:
            # tarfile lets ValueError and its kind escape for headers that make no sense.
            raise _damaged(path, error) from error
    return contents


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: damaged archive ({shortened(str(error), 200)}): get it again")


def _too_much(path: Path) -> DataError:
    return DataError(f"{path}: unpacks to more than {MAX_BYTES} bytes, expected a data set's files")


class _Bounded:
    """A stream that refuses to give more than the archive can honestly hold."""

    def __init__(self, stream: Readable, path: Path) -> None:
        self._stream = stream
        self._path = path
        self._left_bytes = MAX_BYTES

    def read(self, size: int) -> bytes:
        piece = self._stream.read(size)
        self._left_bytes -= len(piece)
        if self._left_bytes < 0:
            raise _too_much(self._path)
        return piece
