"""Where a worker is, told to the runner as it happens, and how long each phase took."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

_BEAT_NS = 2_000_000_000


class Phases:
    """A worker's account of its own time.

    Parameters
    ----------
    tell : takes each event for the runner.
    spawned_ns, started_ns : the monotonic clock when the runner started this process, and when
        its first line ran.

    Attributes
    ----------
    current : the phase that is on.
    out_of_memory : names of exceptions that say so, of the backend at work.
    """

    def __init__(
        self, tell: Callable[[Mapping[str, Any]], None], spawned_ns: int, started_ns: int
    ) -> None:
        self._tell = tell
        self._seconds = {"interpreter": (started_ns - spawned_ns) * 1e-9}
        self._since_ns = self._told_ns = started_ns
        self._rests = False
        self.current = "interpreter"
        self.out_of_memory: tuple[str, ...] = ()

    def enter(self, phase: str) -> None:
        """Ends the phase that is on and begins another."""
        self._settle()
        self.current = phase
        self._say(phase)

    def beat(self, detail: str = "") -> None:
        """Tells the runner that the phase goes on, and with what; without a detail, not more often than needed."""
        if detail or time.perf_counter_ns() - self._told_ns > _BEAT_NS:
            self._say(f"{self.current} ({detail})" if detail else self.current)

    def epoch(self, number: int, accuracy: float | None, train_s: float) -> None:
        """Tells the runner that an epoch is over; see `dlbench.worker.training.train`."""
        self.beat(f"epoch {number}")
        event = {"event": "epoch", "epoch": number, "accuracy": accuracy, "train_s": train_s}
        self._tell(event)

    def rest(self) -> None:
        """The job is done: what passes until `work` is no part of any phase."""
        self._settle()
        self._rests = True

    def work(self) -> None:
        """The next job begins, in the phase that the last one ended in until it enters another."""
        self._settle()
        self._rests = False

    def take_seconds(self) -> dict[str, float]:
        """How long each phase took (s), since this was asked for last."""
        self._settle()
        taken, self._seconds = self._seconds, {}
        return {phase: round(seconds, 6) for phase, seconds in taken.items()}

    def _say(self, phase: str) -> None:
        self._told_ns = time.perf_counter_ns()
        self._tell({"event": "phase", "phase": phase})

    def _settle(self) -> None:
        now_ns = time.perf_counter_ns()
        if not self._rests:
            before = self._seconds.get(self.current, 0.0)
            self._seconds[self.current] = before + (now_ns - self._since_ns) * 1e-9
        self._since_ns = now_ns
