"""What a sampler has read so far, metric by metric, and what it could not read and why."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import TypeVar

from dlbench.record.schema import Trace

T = TypeVar("T")

clock_ns = time.perf_counter_ns
"""The clock of the timings; on Linux it is the same in all processes."""


class Refused(Exception):
    """A metric could not be read: why, and whether asking again is of no use."""

    def __init__(self, reason: str, *, for_good: bool = True, code: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.for_good = for_good
        self.code = code


def reason_of(error: Exception) -> str:
    """Why something could not be read, also where nobody foresaw it."""
    return error.reason if isinstance(error, Refused) else f"{type(error).__name__}: {error}"


class Log:
    """The points of each metric in the order in which they were read, and the reasons of those that stopped."""

    def __init__(self) -> None:
        self._points: dict[str, tuple[list[int], list[float]]] = {}
        self.unavailable: dict[str, str] = {}

    def add(self, metric: str, t_ns: int, value: float) -> None:
        """Notes a value; one that is not finite tells nothing and is left out."""
        if math.isfinite(value):
            times, values = self._points.setdefault(metric, ([], []))
            times.append(t_ns)
            # a millionth of a second, a watt or a share is finer than anything that is read
            values.append(round(value, 6))

    def lose(self, metric: str, reason: str) -> None:
        """Notes why a metric is not there, or no longer; the first reason stays."""
        self.unavailable.setdefault(metric, reason)

    def traces(self) -> dict[str, Trace]:
        """All points so far."""
        return {
            metric: Trace(tuple(times), tuple(values))
            for metric, (times, values) in list(self._points.items())
        }


@dataclasses.dataclass
class Probe:
    """One call that reads one metric or a few.

    Attributes
    ----------
    metrics : what is lost when it is refused.
    read : reads once into the log; raises `Refused`.
    every_ns : the least time between two reads, for what is slow to read or to change.
    close : gives back what it holds.
    """

    metrics: tuple[str, ...]
    read: Callable[[Log], None]
    every_ns: int = 0
    close: Callable[[], None] = lambda: None


def timed(call: Callable[[], T]) -> tuple[int, T]:
    """What a call gives, and the middle of the time that it took."""
    begin_ns = clock_ns()
    value = call()
    return (begin_ns + clock_ns()) // 2, value
