"""Processes forked from this one that do something each time they are called: how they start, fail and end.

No other part of the backend knows about processes. What a fork is to do and to read stands in memory that was
there before it; see `workers`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import signal
import threading
import traceback
import warnings
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess

from ..shared.parent import end_with_parent
from .blas import own_pace

_LINE_KEPT, _TRACE_KEPT = 400, 4000
"""Characters of an error and its traceback: a pipe takes so many without anybody reading."""

_FORKING = threading.Lock()
"""A process forked meanwhile by another thread would hold open what tells of a death."""


class Fork:
    """A process that calls `work` each time it is called, seen from the one that forked it.

    It ends by `end`, with this object, or when the process that forked it ends in whatever way; also while it is held
    by SIGSTOP, where the main thread forked it.

    Calls and answers go by event descriptors: what is written to a pipe or socket wakes the reader on the
    writer's own core, where it would wait.
    """

    def __init__(self, work: Callable[[], None]) -> None:
        self._go, self._done = os.eventfd(0), os.eventfd(0)
        self._errors, tells = multiprocessing.Pipe(duplex=False)
        # the system tells of the end of a thread, which is that of its process for the main one alone
        is_main = threading.current_thread() is threading.main_thread()
        self._process = multiprocessing.get_context("fork").Process(
            target=_serve, args=(work, self._go, self._done, tells, is_main), daemon=True
        )
        with _FORKING, warnings.catch_warnings():
            # Threads of other frameworks in this process are no danger: a worker never calls these.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()
            tells.close()
        self._poll = _poll(self._done, self._process.sentinel)
        self.end = weakref.finalize(
            self, _end, os.getpid(), self._process, self._errors, self._go, self._done
        )

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process.is_alive()

    def call(self) -> None:
        """Has the work done once; returns at once."""
        os.eventfd_write(self._go, 1)

    def wait(self) -> Exception | None:
        """Returns when the work is done, with the error if it failed or the process died."""
        ready = [descriptor for descriptor, _ in self._poll.poll()]
        if self._done not in ready:
            return self._death()
        os.eventfd_read(self._done)
        if not self._errors.poll():
            return None
        try:
            for_memory, text = self._errors.recv()
        except EOFError:
            return self._death()
        return MemoryError(text) if for_memory else RuntimeError(text)

    def _death(self) -> RuntimeError:
        self._process.join()
        code = self._process.exitcode or 0
        fate = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return RuntimeError(f"a worker process of the NumPy backend has died: {fate}")


def _end(owner: int, process: ForkProcess, errors: Connection, *events: int) -> None:
    if os.getpid() != owner:
        # The copy that another fork has of this object.
        return
    # It holds nothing that would have to be put in order.
    process.kill()
    process.join()
    process.close()
    errors.close()
    for event in events:
        os.close(event)


def _serve(
    work: Callable[[], None], go: int, done: int, tells: Connection, ends_with_thread: bool
) -> None:
    if ends_with_thread:
        end_with_parent()
    # Ctrl-C is for the process that forked this one to act on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    owner = multiprocessing.parent_process()
    assert owner is not None
    poll = _poll(go, owner.sentinel)
    with own_pace():
        while [descriptor for descriptor, _ in poll.poll()] == [go]:
            os.eventfd_read(go)
            try:
                work()
            except BaseException as error:
                with contextlib.suppress(OSError):
                    tells.send((isinstance(error, MemoryError), _told(error)))
            os.eventfd_write(done, 1)


def _told(error: BaseException) -> str:
    """The error in a line, then where it came from."""
    line = "".join(traceback.format_exception_only(error)).strip()[:_LINE_KEPT]
    trace = "".join(traceback.format_exception(error))[-_TRACE_KEPT:]
    return f"in a worker process of the NumPy backend: {line}\n\n{trace}"


def _poll(event: int, sentinel: int) -> select.poll:
    poll = select.poll()
    poll.register(event, select.POLLIN)
    poll.register(sentinel, select.POLLIN)
    return poll
