"""Reading files that may be anything: bounded, and with errors that name the file.

A data file comes from a download or a stranger's disk. What its header or its compression claims
is not believed: memory grows with the bytes that are really there, up to a limit.
"""

from __future__ import annotations

import gzip
import os
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

from dlbench.errors import DataError

PICKLED = "is pickled, and reading that would run whatever code it holds"
OTHERWISE = "is in a form that is not read"
_GZIP_MAGIC = b"\x1f\x8b"
_PIECE_BYTES = 1 << 20


class Readable(Protocol):
    """Anything to read bytes from."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, and none at the end."""


def seen(
    folders: Iterable[Path], expected: Iterable[str], unread: Mapping[str, str]
) -> tuple[Path, str] | None:
    """What lies in folders and cannot be used, and why, where nothing was found; None where nothing does.

    Parameters
    ----------
    folders : where to look, not below them.
    expected : names, or patterns of them, of regular files that could be used together.
    unread : names, or patterns of them, and why each is not read.
    """
    for folder in folders:
        for pattern in expected:
            for path in sorted(folder.glob(pattern)):
                if not path.is_dir():
                    return path, "is not all of it" if path.is_file() else "is no regular file"
        for pattern, why in unread.items():
            for path in sorted(folder.glob(pattern)):
                return path, why
    return None


@contextmanager
def open_regular(path: Path) -> Iterator[IO[bytes]]:
    """Open a regular file to read; reading from another kind may wait for ever.

    Raises
    ------
    DataError : there is none, or it cannot be read; also for errors of that kind that come up
        while the caller reads.
    """
    try:
        # without waiting for whoever writes into a pipe
        with open(
            path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)
        ) as raw:
            if not stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
                raise DataError(f"{path}: is no regular file")
            yield raw
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


@contextmanager
def open_plain_or_gzip(path: Path) -> Iterator[Readable]:
    """Open a file to read, decompressed where its content (not its name) says gzip.

    Raises
    ------
    DataError : the file cannot be read, or its compression is damaged; also for errors of that
        kind that come up while the caller reads.
    """
    with open_regular(path) as raw, plain_or_gzip(str(path), raw) as stream:
        yield stream


@contextmanager
def plain_or_gzip(where: str, raw: IO[bytes]) -> Iterator[Readable]:
    """Read what is open, decompressed where it begins like gzip; `where` names it in errors.

    Raises
    ------
    DataError : its compression is damaged; also while the caller reads.
    """
    compressed = raw.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    raw.seek(0)
    if not compressed:
        yield raw
        return
    try:
        with gzip.GzipFile(fileobj=raw, mode="rb") as unpacked:
            yield unpacked
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{where}: damaged gzip data ({error}), expected a complete gzip file: get it again"
        ) from error


def read_at_most(stream: Readable, limit_bytes: int) -> bytes:
    """Read a stream to its end, or until it has given one byte more than a limit.

    Returns
    -------
    What was read, at most ``limit_bytes + 1`` bytes; longer than the limit means there is more.
    """
    held = bytearray()
    while len(held) <= limit_bytes:
        piece = stream.read(min(_PIECE_BYTES, limit_bytes + 1 - len(held)))
        if not piece:
            break
        held += piece
    return bytes(held)
