"""The thread that reads probes beside the worker.

A thread is enough: the runner sleeps in a selector meanwhile, and the driver's library lets go of the interpreter
lock. It costs no start-up and shares the runner's clock, which is the timings'. A driver that never comes back
is left alone with its thread; the run goes on without.

Where the worker uses every core, each pass takes its time from the worker, and most of that is code that has left the
caches since the last one. So a pass does little, waits on a bare lock, and yields to the worker.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Sequence

from dlbench.telemetry.log import Log, Probe, Refused, clock_ns, reason_of

_SOON_NS = 50_000_000
"""As a turn begins, what is read seldom is read twice so soon after: the window begins somewhat later than the turn,
and may be shorter than what lies between two such readings."""
_TRIES = 3
_PATIENCE_S = 5.0
_NICENESS = 19


class Sampler:
    """Reads what `connect` gives every `period_ns`, from `start` until `stop`, except while it rests.

    Parameters
    ----------
    connect : called in the thread; gives the probes, or raises `Refused` when there is nothing to read.
    period_ns : time between the beginnings of two passes, at least.

    Attributes
    ----------
    log : what was read.
    started_ns, ended_ns : the clock when the first pass began and the last one ended; None before.
    processor_s : processor time that reading took, over all of it; None before it has ended.
    refusal : why `connect` gave nothing.
    """

    def __init__(self, connect: Callable[[], Sequence[Probe]], period_ns: int) -> None:
        self._connect = connect
        self._period_ns = period_ns
        self._stopping = False
        self._resting = False
        self._all_due = False
        # held but for a moment when there is a reason to wake
        self._wake = threading.Lock()
        self._wake.acquire()
        self._thread = threading.Thread(target=self._run, name="dlbench-telemetry", daemon=True)
        self._asked: Probe | None = None
        self.log = Log()
        self.started_ns: int | None = None
        self.ended_ns: int | None = None
        self.processor_s: float | None = None
        self.refusal = ""

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def rest(self) -> None:
        """Asks for a pass now in which everything is read, and for no more until `wake` or `stop`."""
        if not self._resting:
            self._resting = self._all_due = True
            self._rouse()

    def wake(self) -> None:
        """Asks for a pass now in which everything is read, and for more at the period."""
        self._resting, self._all_due = False, True
        self._rouse()

    def stop(self) -> None:
        """Asks for a last pass, in which everything is read once more, and does not wait for it; one that rests has
        had its last."""
        self._stopping = True
        self._rouse()

    def join(self) -> bool:
        """Waits until the last pass is over; whether it ended within `_PATIENCE_S` seconds."""
        self._thread.join(_PATIENCE_S)
        if not self._thread.is_alive():
            return True
        reason = f"the driver did not answer for {_PATIENCE_S:.0f} s"
        if self._asked is None:
            self.refusal = reason
        else:
            for metric in self._asked.metrics:
                self.log.lose(metric, reason)
        return False

    def _rouse(self) -> None:
        with contextlib.suppress(RuntimeError):
            # it is awake already
            self._wake.release()

    def _run(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            # a reading some milliseconds late has its own time; a step that was held up has not
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        try:
            turns = [_Turn(probe) for probe in self._connect()]
        except Exception as error:
            # whatever it is, it is this sampler's alone and not the run's
            self.refusal = reason_of(error)
            return
        self.started_ns = clock_ns()
        soon_until_ns = 0
        while turns:
            # looked at before reading: the last pass begins after the window has ended
            last, resting = self._stopping, self._resting
            everything, self._all_due = last or self._all_due, False
            now_ns = clock_ns()
            if everything:
                soon_until_ns = now_ns + _SOON_NS * 3 // 2
            most_ns = _SOON_NS if now_ns < soon_until_ns else math.inf
            for turn in turns:
                if everything or now_ns >= turn.due_ns:
                    self._asked = turn.probe
                    turn.take(self.log, now_ns, most_ns)
            self.ended_ns = clock_ns()
            turns = [turn for turn in turns if turn.tries_left]
            if last:
                break
            if resting:
                while self._resting and not (self._all_due or self._stopping):
                    self._wake.acquire()
                if self._resting and not self._all_due:
                    break
                continue
            left_ns = now_ns + self._period_ns - clock_ns()
            self._wake.acquire(timeout=max(0.0, left_ns * 1e-9))
        # the thread's own, since the runner has others
        self.processor_s = round(time.thread_time(), 6)
        for turn in turns:
            turn.end(self.log)


class _Turn:
    """A probe's place in the passes."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self.due_ns = 0.0
        self.tries_left = _TRIES
        self._refused = ""

    def take(self, log: Log, now_ns: int, most_ns: float = math.inf) -> None:
        """Reads the probe, which is due again in its own time, or in `most_ns` if that is less; one that is refused
        for good, or again and again, is given up."""
        # a pass is never exactly a period after another
        self.due_ns = now_ns + min(most_ns, self.probe.every_ns) * 9 // 10
        try:
            self.probe.read(log)
            self.tries_left, self._refused = _TRIES, ""
            return
        except Refused as refused:
            self._refused = refused.reason
            self.tries_left = 0 if refused.for_good else self.tries_left - 1
        except Exception as error:
            # a sampler that dies of one metric would take the others with it
            self._refused, self.tries_left = reason_of(error), 0
        if not self.tries_left:
            self.end(log)

    def end(self, log: Log) -> None:
        """Gives back what the probe holds, and notes why it stopped if that was not asked for."""
        if self._refused:
            for metric in self.probe.metrics:
                log.lose(metric, self._refused)
        self.probe.close()
