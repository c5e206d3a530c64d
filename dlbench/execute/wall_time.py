"""Where the wall time of a run went."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from dlbench.record.facts import TimedResult
from dlbench.worker.measurements import MEASUREMENTS, START, Measurement

_WAITING = "waiting for quiet"


class Account:
    """Adds up what workers and the runner spent; what nobody names is ``other``."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        counted = (START, *(each.counts_as for each in MEASUREMENTS.values()))
        self._seconds = dict.fromkeys((part for each in counted for part in each.values()), 0.0)
        self._seconds[_WAITING] = 0.0

    def add(self, measurement: Measurement[Any], result: Any) -> None:
        """Adds the phases of a worker, where its result tells them."""
        if isinstance(result, TimedResult):
            counts_as = {**START, **measurement.counts_as}
            for phase, spent_s in result.seconds.items():
                if phase in counts_as:
                    self._seconds[counts_as[phase]] += spent_s

    def add_seconds(self, part: str, seconds: float) -> None:
        """Adds what the runner itself spent on a part."""
        self._seconds[part] += seconds

    @contextlib.contextmanager
    def overlapping(self) -> Iterator[None]:
        """What is added within went on side by side: all of it together counts as the time that passed."""
        before, began_s = dict(self._seconds), time.monotonic()
        yield
        passed_s = time.monotonic() - began_s
        added = {part: spent_s - before[part] for part, spent_s in self._seconds.items()}
        share = min(1.0, passed_s / max(sum(added.values()), passed_s))
        self._seconds = {part: before[part] + share * added[part] for part in added}

    def add_waiting(self, seconds: float) -> None:
        """Adds time in which the run waited for a quiet machine."""
        self._seconds[_WAITING] += seconds

    def wall_s(self) -> float:
        """Seconds since the account was opened."""
        return time.monotonic() - self._began

    def parts(self, wall_s: float) -> dict[str, float]:
        """Seconds of each part, ``other`` being what is left of `wall_s`."""
        named = {part: round(seconds, 3) for part, seconds in self._seconds.items()}
        return named | {"other": round(max(0.0, wall_s - sum(named.values())), 3)}
