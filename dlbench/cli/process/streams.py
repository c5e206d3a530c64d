"""Standard output and error that outlive their readers: a pipe whose reader has gone, a terminal that is closed, a
descriptor that was closed before the program began."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

_GONE = (errno.EPIPE, errno.EIO)


def outlive_readers() -> None:
    """From here on, what nobody is left to read is dropped, and what is at work goes on and ends with its own code."""
    _reopen_closed()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        buffer = getattr(stream, "buffer", None)
        # a file that a test or another program has put there is theirs
        if isinstance(stream, io.TextIOWrapper) and isinstance(
            buffer, io.BufferedWriter | io.FileIO
        ):
            setattr(sys, name, _outliving(stream))


def _reopen_closed() -> None:
    """Gives descriptors 0 to 2 that are closed to nothing, lest the next file that is opened be one of them."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            # the lowest that is free, which is this one
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode, closefd=False))


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
    """A descriptor that takes everything once its reader is gone, or once it has failed."""

    failed = False

    def write(self, data: Any, /) -> int:
        if self.failed:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            # there is nobody left to tell that errors cannot be told
            if error.errno in _GONE or self.fileno() == 2:
                return memoryview(data).nbytes
            # what is left in buffers would fail again when the program ends
            self.failed = True
            raise OSError(error.errno, error.strerror, "standard output") from None
