"""Supervises one job of a worker: sends it, receives events, enforces the timeout, classifies the end.

The runner sleeps in the selector all the while; what a backend does to the channels is data here, never an
exception.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import selectors
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, TypeVar

from dlbench.worker import protocol
from dlbench.worker.deadline import Deadline
from dlbench.worker.decoding import decode

OUTPUT_KEPT_BYTES = 8192
"""How much of the end of a worker's output is kept."""
LEAVE_S = 10.0
"""How long a worker that has said all may take to go."""
_READS_AT_END = 4096

Status = Literal["ok", "skipped", "failed", "timeout", "out_of_memory"]
R = TypeVar("R")
OnEpoch = Callable[[int, float | None, float], None]


@dataclasses.dataclass(frozen=True)
class Ended(Generic[R]):
    """How a worker ended.

    Attributes
    ----------
    status, reason : ``ok`` with no reason, or what happened and in which phase.
    remedy : for ``skipped``, what would help.
    result : what the job gave; None unless ``ok``.
    missing : the module that a failed worker could not find, or ``module:attribute``; else empty.
    output : a traceback where there is one, then the last of what the worker printed.
    wall_s : how long the job took, with the worker's start where it was the first.
    """

    status: Status
    reason: str = ""
    remedy: str = ""
    result: R | None = None
    output: str = ""
    wall_s: float = 0.0
    missing: str = ""


class Conversation(Generic[R]):
    """The talk about one job. Both descriptors stay the caller's, and become non-blocking.

    Parameters
    ----------
    channel : socket to the worker.
    printed : where the worker's standard output and error come out.
    result : the type of what the job gives.
    deadline : when the worker is killed.
    on_phase : told each phase that the worker enters, the first being `phase`.
    on_epoch : told each epoch of a training that is over: its number, accuracy and time, see `Phases.epoch`.
    phase : the one that it is in.
    output : the end of what it has printed; what it prints is added.
    """

    def __init__(
        self,
        channel: int,
        printed: int,
        result: type[R],
        deadline: Deadline,
        on_phase: Callable[[str], None],
        phase: str,
        output: bytearray,
        on_epoch: OnEpoch = lambda number, accuracy, train_s: None,
    ) -> None:
        self._channel, self._printed = channel, printed
        self._result = result
        self._deadline = deadline
        self._on_phase = on_phase
        self._on_epoch = on_epoch
        self._lines = protocol.Lines()
        self._output = output
        self.phase = phase
        self._last: Mapping[str, Any] | None = None
        self._trouble: Ended[R] | None = None
        self._leaves_by_s: float | None = None

    @property
    def has_result(self) -> bool:
        """Whether the job was answered with one, so that the worker waits for the next."""
        return self._last is not None and self._last["event"] == "result"

    def hold(self, job: bytes | None, exited: int | None, stop: int | None = None) -> bool:
        """Talks until the job is answered, or the worker has ended or has to be ended.

        Parameters
        ----------
        job : the encoded job; None where it was sent already.
        exited : a descriptor that becomes readable when the worker ends; None where there is none.
        stop : a descriptor that becomes readable when the talk is to be broken off.

        Returns
        -------
        Whether the worker ends by itself, unless it has a result.
        """
        os.set_blocking(self._channel, False)
        os.set_blocking(self._printed, False)
        if job is not None:
            # nothing that followed the last answer counts
            self._take_all(lambda: _read(self._channel))
        self._enter(self.phase)
        rest = memoryview(job or b"")
        writes = selectors.EVENT_WRITE if rest else 0
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ | writes)
            selector.register(self._printed, selectors.EVENT_READ)
            for descriptor in (exited, stop):
                if descriptor is not None:
                    selector.register(descriptor, selectors.EVENT_READ)
            while True:
                ready = selector.select(self._wait_s())
                if self._is_over():
                    return False
                for key, events in ready:
                    if key.fd == self._printed:
                        if self._take_output() == b"":
                            selector.unregister(self._printed)
                        continue
                    if key.fd == exited:
                        return True
                    if key.fd == stop:
                        self._trouble = Ended("failed", f"stopped in {self.phase}")
                        return False
                    if events & selectors.EVENT_WRITE:
                        rest = rest[_write(self._channel, rest) :]
                        if not rest:
                            selector.modify(self._channel, selectors.EVENT_READ)
                    if events & selectors.EVENT_READ:
                        taken = self._take_events()
                        if self._trouble is not None:
                            return False
                        if self._last is not None or (taken == b"" and exited is None):
                            return True
                        if taken == b"":
                            selector.unregister(self._channel)
                            self._leaves_by_s = time.monotonic() + LEAVE_S

    def take_rest(self) -> None:
        """Takes what is still in the channels of a worker that has ended."""
        self._take_all(lambda: b"" if self._trouble is not None else self._take_events())
        self._take_all(self._take_output)

    @staticmethod
    def _take_all(take: Callable[[], bytes | None]) -> None:
        # bounded: something that it left behind may still be writing
        for _ in range(_READS_AT_END):
            if not take():
                break

    def verdict(self, returncode: int, killed_for_memory: bool | None) -> Ended[R]:
        """What became of the worker.

        Parameters
        ----------
        returncode : its exit code, or minus the signal that ended it.
        killed_for_memory : whether the system killed a process for memory meanwhile; None where unknown.
        """
        printed = self._output.decode(errors="replace").strip()
        if self._trouble is not None:
            return dataclasses.replace(self._trouble, output=printed)
        if self._last is not None and self._last["event"] == "result":
            try:
                return Ended(
                    "ok", result=decode(self._last["result"], self._result), output=printed
                )
            except protocol.ProtocolError as error:
                return dataclasses.replace(self._protocol_error(str(error)), output=printed)
        if self._last is not None:
            event = self._last
            output = "\n".join(text for text in (event["trace"].strip(), printed) if text)
            told = event["kind"], event["reason"], event["remedy"]
            return Ended(*told, output=output, missing=event["missing"])
        return dataclasses.replace(self._death(returncode, killed_for_memory), output=printed)

    def _death(self, returncode: int, killed_for_memory: bool | None) -> Ended[R]:
        if self._lines.rest:
            return self._protocol_error(f"not a message: {self._lines.rest[:80]!r}")
        if returncode >= 0:
            return Ended("failed", f"exited with code {returncode} in {self.phase}")
        reason = f"ended by {_signal_name(-returncode)} in {self.phase}"
        if b"bad_alloc" in self._output:
            return Ended("out_of_memory", f"{reason}: an allocation failed")
        if -returncode == signal.SIGKILL and killed_for_memory is not False:
            return Ended("out_of_memory", f"{reason}, probably out of memory")
        return Ended("failed", reason)

    def _protocol_error(self, what: str) -> Ended[R]:
        return Ended("failed", f"protocol error: {what} (in phase {self.phase})")

    def _wait_s(self) -> float:
        if self._leaves_by_s is None:
            return self._deadline.wait_s()
        return max(0.0, self._leaves_by_s - time.monotonic())

    def _is_over(self) -> bool:
        """Whether the worker has had its time; asked whatever came, since its output may never end."""
        if self._leaves_by_s is not None:
            if time.monotonic() < self._leaves_by_s:
                return False
            reason = f"it did not end in phase {self.phase}"
        elif not (reason := self._deadline.expired()):
            return False
        self._trouble = Ended("timeout", f"timed out: {reason}; worker killed")
        return True

    def _enter(self, phase: str) -> None:
        self.phase = phase
        self._deadline.progress(phase)
        self._on_phase(phase)

    def _take_output(self) -> bytes | None:
        data = _read(self._printed)
        self._output += data or b""
        del self._output[:-OUTPUT_KEPT_BYTES]
        return data

    def _take_events(self) -> bytes | None:
        """Reads once; nothing that follows the last event counts. b"" at the end, None when there is nothing yet."""
        data = _read(self._channel)
        try:
            for line in self._lines.feed(data or b""):
                event = protocol.decode_event(line) if self._last is None else None
                if event is not None and event["event"] == "phase":
                    self._enter(event["phase"])
                elif event is not None and event["event"] == "epoch":
                    self._on_epoch(event["epoch"], event["accuracy"], event["train_s"])
                elif event is not None:
                    self._last = event
        except protocol.ProtocolError as error:
            self._trouble = self._protocol_error(str(error))
        return data


def _read(descriptor: int) -> bytes | None:
    try:
        return os.read(descriptor, 2**16)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _write(descriptor: int, data: memoryview) -> int:
    try:
        return os.write(descriptor, data)
    except BlockingIOError:
        return 0
    except OSError:
        # the worker is gone, which the exit tells
        return len(data)


def _signal_name(number: int) -> str:
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
