"""When a worker is killed: after a time without progress, or when one phase has taken too long whatever it says."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import psutil

PHASE_FACTOR = 10
"""A phase may take so many times as long as a worker may go without progress, where nothing else is said."""
MOST_PHASES = 64
"""The names of phases that a worker has; one that tells of more is ended."""
_BUSY_CORES = 0.1
"""Processor time (s/s) that counts as progress: a step of minutes tells nothing before its end, but computes; a process
that waits for something that never comes does not."""

Clock = Callable[[], float]


class Deadline:
    """The time that one worker has.

    Parameters
    ----------
    limit_s : the longest without progress, which is an event, or processor time in the later half of that time.
    phase_s : the longest that one phase may take in all, with whatever progress.
    used_s : processor time that the worker and its children have used; None where the system does not tell.
    clock : monotonic, in seconds.
    """

    def __init__(
        self,
        limit_s: float,
        phase_s: float,
        used_s: Callable[[], float | None],
        clock: Clock = time.monotonic,
    ) -> None:
        self._limit_s = limit_s
        self._phase_s = phase_s
        self._used_s = used_s
        self._clock = clock
        self._since = self._entered = clock()
        self._half_way: tuple[float, float | None] | None = None
        self._spent_s: dict[str, float] = {}
        self._phase = ""

    def progress(self, phase: str) -> None:
        """An event came, from this phase; what stands behind its name in brackets is a detail."""
        now, phase = self._clock(), phase.partition(" (")[0]
        if phase != self._phase:
            self._spent_s[self._phase] = self._spent_s.get(self._phase, 0.0) + now - self._entered
            self._entered, self._phase = now, phase
            self._spent_s.setdefault(phase, 0.0)
        self._since, self._half_way = now, None

    def wait_s(self) -> float:
        """How long from now until `expired` has to be asked."""
        share = 0.5 if self._half_way is None else 1.0
        silent = self._since + share * self._limit_s
        return max(0.0, min(silent, self._phase_ends()) - self._clock())

    def expired(self) -> str:
        """Why the worker is to be killed now; empty when it is not."""
        now = self._clock()
        if now >= self._phase_ends():
            return f"phase {self._phase} took more than {self._phase_s:.0f} s"
        if len(self._spent_s) > MOST_PHASES:
            return f"it told of more than {MOST_PHASES} phases"
        if self._half_way is None and now >= self._since + 0.5 * self._limit_s:
            self._half_way = (now, self._used_s())
        if now >= self._since + self._limit_s and self._half_way is not None:
            began, used_s = self._half_way
            self._half_way = (now, self._used_s())
            if not _is_busy(used_s, self._half_way[1], now - began):
                return f"no progress for {self._limit_s:.0f} s in phase {self._phase}"
            self._since = now
        return ""

    def _phase_ends(self) -> float:
        return self._entered + self._phase_s - self._spent_s.get(self._phase, 0.0)


def processor_s(pid: int) -> float | None:
    """Processor time of a process and of all that it has started (s); None where the system does not tell."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except (psutil.Error, OSError):
        return None
    total_s = 0.0
    for each in family:
        try:
            times = each.cpu_times()
        except (psutil.Error, OSError):
            continue
        total_s += times.user + times.system
    return total_s


def _is_busy(before_s: float | None, after_s: float | None, window_s: float) -> bool:
    if before_s is None or after_s is None or math.isclose(window_s, 0.0, abs_tol=1e-9):
        return False
    return after_s - before_s > _BUSY_CORES * window_s
