"""Standard output and error that outlive their readers: a pipe whose reader has gone, a terminal that is closed."""

from __future__ import annotations

import errno
import io
import sys
from typing import Any

_GONE = (errno.EPIPE, errno.EIO)


def outlive_readers() -> None:
    """From here on, what nobody is left to read is dropped, and what is at work goes on and ends with its own code."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        buffer = getattr(stream, "buffer", None)
        # a file that a test or another program has put there is theirs
        if isinstance(stream, io.TextIOWrapper) and isinstance(
            buffer, io.BufferedWriter | io.FileIO
        ):
            setattr(sys, name, _outliving(stream))


def _outliving(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    settings: dict[str, Any] = {
        "encoding": stream.encoding,
        # a terminal without the marks ✓ and × shows ? for them, which is better than no answer
        "errors": "replace",
        "line_buffering": stream.line_buffering,
        "write_through": stream.write_through,
    }
    raw = _Raw(stream.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), **settings)


class _Raw(io.FileIO):
    """A descriptor that takes everything once its reader is gone."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            return memoryview(data).nbytes
