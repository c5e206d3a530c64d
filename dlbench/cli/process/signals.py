"""What ends a command: signals of job control and of terminals, as Ctrl-C does."""

from __future__ import annotations

import signal
from types import FrameType


def take() -> None:
    """Lets a job that is cancelled, or a terminal that is closed, end a command like Ctrl-C: nothing is lost.

    What was ignored when this process began stays ignored: ``nohup`` means it. A shell that starts a job with ``&`` has
    SIGINT ignored, so the others must not be turned into that one.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
