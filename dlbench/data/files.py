"""Reading files that may be anything: bounded, and with errors that name the file.

A data file comes from a download or a stranger's disk. What its header or its compression claims
is not believed: memory grows with the bytes that are really there, up to a limit.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from dlbench.errors import DataError

_GZIP_MAGIC = b"\x1f\x8b"
_PIECE_BYTES = 1 << 20


class Readable(Protocol):
    """Anything to read bytes from."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, and none at the end."""


@contextmanager
def open_plain_or_gzip(path: Path) -> Iterator[Readable]:
    """Open a file to read, decompressed where its content (not its name) says gzip.

    Raises
    ------
    DataError : the file cannot be read, or its compression is damaged; also for errors of that
        kind that come up while the caller reads.
    """
    try:
        with path.open("rb") as raw:
            compressed = raw.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
            raw.seek(0)
            if compressed:
                with gzip.GzipFile(fileobj=raw, mode="rb") as unpacked:
                    yield unpacked
            else:
                yield raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: damaged gzip data ({error}), expected a complete gzip file: get it again"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


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
