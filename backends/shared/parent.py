"""Has a process end with the one that started it, whatever either is doing."""

from __future__ import annotations

import ctypes
import signal
import sys

_SIGNAL_AT_PARENTS_DEATH = 1
"""PR_SET_PDEATHSIG of Linux' ``prctl``."""


def end_with_parent() -> None:
    """Has this process killed when the thread that started it is gone, also while it is held by SIGSTOP and could not
    see that (Linux, ``PR_SET_PDEATHSIG``); nothing elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SIGNAL_AT_PARENTS_DEATH, signal.SIGKILL)
