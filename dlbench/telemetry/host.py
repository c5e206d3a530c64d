"""What the host's own counters tell: processor time of the worker and of all, and the worker's resident memory.

The counters are cumulative, so the use over a window is a difference and nothing between two reads is missed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import psutil

from dlbench.host.interference import descendants
from dlbench.telemetry.log import Log, Probe, Refused, clock_ns, timed

METRICS = ("worker_cpu_s", "busy_cpu_s", "resident_bytes")
"""Processor time of the worker with what it started, processor time of everything on the machine (steal included),
memory of the worker with what it started."""

_BUSY = ("user", "nice", "system", "irq", "softirq", "steal")
EVERY_NS = 1_000_000_000
"""Nothing is gained by reading more often than this and at the ends of the window."""
_LIST_EVERY_NS = 5_000_000_000


def probe(worker: int) -> Probe:
    """Reads all three at once.

    Raises
    ------
    Refused : there is no such process.
    """
    try:
        leader = psutil.Process(worker)
    except psutil.Error:
        raise Refused("the worker had ended before it could be watched") from None
    members: list[psutil.Process] = []
    list_at_ns = 0

    def read(log: Log) -> None:
        nonlocal list_at_ns
        started = descendants(worker)
        if started is not None:
            # a backend may start processes as late as in its first step
            members[:] = [leader, *_there(started)]
        elif clock_ns() >= list_at_ns:
            # looks at every process of the machine, so not at every turn
            members[:] = _with_children(leader)
            list_at_ns = clock_ns() + _LIST_EVERY_NS
        try:
            t_ns, (worker_s, resident) = timed(lambda: _use(leader, members))
        except psutil.Error:
            raise Refused("the worker has ended") from None
        log.add("worker_cpu_s", t_ns, worker_s)
        log.add("resident_bytes", t_ns, resident)
        t_ns, times = timed(psutil.cpu_times)
        log.add("busy_cpu_s", t_ns, sum(getattr(times, name, 0.0) for name in _BUSY))

    return Probe(METRICS, read)


def _there(processes: Iterable[int]) -> Iterator[psutil.Process]:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            yield psutil.Process(process)


def _with_children(leader: psutil.Process) -> list[psutil.Process]:
    try:
        return [leader, *leader.children(recursive=True)]
    except psutil.Error:
        return [leader]


def _use(leader: psutil.Process, members: list[psutil.Process]) -> tuple[float, float]:
    """Processor time (s) and resident bytes; time of children that have ended counts with their parents."""
    seconds, resident = 0.0, 0
    for member in members:
        try:
            times = member.cpu_times()
            resident += member.memory_info().rss
        except psutil.Error:
            if member is leader:
                raise
            continue
        seconds += times.user + times.system
        seconds += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return seconds, float(resident)
