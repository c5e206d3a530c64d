"""Queries that come when they come, whether or not the last one has been answered: Poisson arrivals, one session that
works off the queue.

A query's latency counts from when it was due and not from when the session got round to it. Otherwise a session that is
late would hide by its being late how long others waited (what Tene calls coordinated omission).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from dlbench.measure.timed_steps import Clock
from dlbench.rng import raw_bits

_SPUN_NS = 1_000_000
"""The end of a wait, in which the clock is watched: a sleep ends late by some ten microseconds and more."""


@dataclasses.dataclass(frozen=True)
class Served:
    """What became of queries.

    Attributes
    ----------
    latencies_ns : from when each was due to its answer, in the order in which they came.
    waited_ns : of that, until the session began with it.
    unserved : how many came and were not answered, since it was given up.
    started_ns, ended_ns : the clock when the first might have come, and behind the last answer.
    """

    latencies_ns: tuple[int, ...]
    waited_ns: tuple[int, ...]
    unserved: int
    started_ns: int
    ended_ns: int


def gaps(count: int, seed: int, *stream: str | int) -> npt.NDArray[np.float64]:
    """Drawn times between arrivals, exponential with mean 1: those of a Poisson process of one query a second (s)."""
    words = raw_bits(count, seed, "arrivals", *stream)
    # from the middle of each of 2⁵³ cells, so never 0
    uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return -np.log(uniform)


def arrivals_ns(drawn: npt.NDArray[np.float64], rate_per_s: float) -> list[int]:
    """When queries are due (ns), at a rate, by the `gaps` that were drawn. At another rate the same gaps are all longer
    or shorter, so that rates are compared by the same luck."""
    due: list[int] = np.rint(np.cumsum(drawn) * (1e9 / rate_per_s)).astype(np.int64).tolist()
    return due


def wait_until(moment_ns: int, clock: Clock = time.perf_counter_ns) -> None:
    """Sleeps, and watches the clock at the end."""
    left_ns = moment_ns - clock()
    if left_ns > _SPUN_NS:
        time.sleep((left_ns - _SPUN_NS) * 1e-9)
    while clock() < moment_ns:
        pass


def serve(
    due_ns: Sequence[int],
    answer: Callable[[], object],
    go_on: Callable[[int, int], bool] = lambda passed_ns, latency_ns: True,
    *,
    clock: Clock = time.perf_counter_ns,
    wait: Callable[[int], None] = wait_until,
) -> Served:
    """Answers queries in the order in which they come, one after the other.

    Parameters
    ----------
    due_ns : when each comes, from the start; ascending.
    answer : answers one.
    go_on : told after each what has passed and its latency (ns); where it says no, the rest is not answered.
    clock : monotonic, in nanoseconds.
    wait : returns when a moment of that clock has come.
    """
    latencies_ns: list[int] = []
    waited_ns: list[int] = []
    started_ns = clock()
    ended_ns = started_ns
    for each in due_ns:
        due = started_ns + each
        begin = clock()
        if begin < due:
            wait(due)
            begin = clock()
        answer()
        ended_ns = clock()
        latencies_ns.append(ended_ns - due)
        waited_ns.append(begin - due)
        if not go_on(ended_ns - started_ns, ended_ns - due):
            break
    unserved = len(due_ns) - len(latencies_ns)
    return Served(tuple(latencies_ns), tuple(waited_ns), unserved, started_ns, ended_ns)
