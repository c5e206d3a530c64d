"""The folder in which a run keeps what its processes read, or a gate its two versions, for as long as it lives.

Nobody clears up behind a run that was killed, so whoever comes next does: a folder that nobody holds locked is
nobody's.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dlbench.errors import DlbenchError

_PREFIX = "dlbench-run-"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def room_bytes() -> int:
    """What can be written where such folders are."""
    return shutil.disk_usage(tempfile.gettempdir()).free


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A new folder among the system's temporary ones; gone afterwards, as are those of runs that were killed.

    Raises
    ------
    DlbenchError : there is no room left where it is.
    """
    there = Path(tempfile.gettempdir())
    _sweep(there)
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(_made())
            yield folder
        except OSError as error:
            inside = error.filename is None or str(error.filename).startswith(str(there))
            if error.errno not in _FULL or not inside:
                raise
            raise DlbenchError(
                f"{there}: {error.strerror}; free space there, or name another folder as TMPDIR"
            ) from None


@contextlib.contextmanager
def _made() -> Iterator[Path]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        with _opened(folder) as descriptor:
            if descriptor is None:
                continue
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # somebody may have swept it away before it was locked
            if not folder.exists():
                continue
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return


def _sweep(there: Path) -> None:
    for folder in there.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), _opened(folder) as descriptor:
            if descriptor is None or os.fstat(descriptor).st_uid != os.getuid():
                continue
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int | None]:
    """A descriptor of a folder; None where it is gone, or none."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)
