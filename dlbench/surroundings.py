"""What else went on on the machine while a process was timed, as the kernel's counters tell it.

Times of a contended machine can be wrong by an order of magnitude and scatter as little as good ones, so the
machine itself is watched: counters are read before and after the timings, in the process that times, and
their differences say who else had the processor. Reading them needs the standard library alone. What a
system does not tell is None, never 0.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01
_CANARY_BYTES = bytes(1 << 19)
_CANARY_RUNS = 5
_THROTTLED_UNITS_S = {"throttled_usec": 1e-6, "throttled_time": 1e-9}
_SPINNING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@dataclasses.dataclass(frozen=True)
class Reading:
    """Counters at one moment; seconds since some start, None where the system does not tell.

    Attributes
    ----------
    at_s : the clock.
    busy_s : processor time of everything on the cores that this process may use, hypervisor's share left out.
    own_s : processor time of this process and all that it has started.
    stolen_s : time that the hypervisor gave those cores to others.
    waited_s : time in which something waited for a processor; memory_waited_s, for memory.
    throttled_s : time that the control group's quota held processes back.
    preempted : how often this process was taken off a core against its will.
    """

    at_s: float
    busy_s: float | None
    own_s: float | None
    stolen_s: float | None
    waited_s: float | None
    memory_waited_s: float | None
    throttled_s: float | None
    preempted: int | None


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """A window between two readings: what a machine did beside the process that was timed.

    Attributes
    ----------
    window_s : its length.
    other_cores : cores that other processes had, on average.
    stolen_cores : cores that the hypervisor gave to others.
    waiting_share, memory_waiting_share : share of the time in which something waited for a processor, or for memory.
    throttled_share : share of the time that the control group's quota held processes back.
    preemptions_per_s : how often this process was taken off a core against its will.
    usable_cores : cores that this process may run on, at the end.
    quota_cores : processor time a second that its control group grants; None without a limit.
    frequency_hz : mean clock of these cores at the end.
    """

    window_s: float
    other_cores: float | None
    stolen_cores: float | None
    waiting_share: float | None
    memory_waiting_share: float | None
    throttled_share: float | None
    preemptions_per_s: float | None
    usable_cores: int | None
    quota_cores: float | None
    frequency_hz: float | None


def read() -> Reading:
    """The counters now. Takes about a millisecond."""
    busy_s, stolen_s = _cores()
    return Reading(
        at_s=time.perf_counter(),
        busy_s=busy_s,
        own_s=_own_s(),
        stolen_s=stolen_s,
        waited_s=_pressure_s("cpu"),
        memory_waited_s=_pressure_s("memory"),
        throttled_s=_throttled_s(),
        preempted=_preempted(),
    )


def between(before: Reading, after: Reading) -> Surroundings:
    """What the counters say about the time between two readings."""
    window_s = max(after.at_s - before.at_s, 1e-9)

    def rate(name: str) -> float | None:
        first, last = getattr(before, name), getattr(after, name)
        return None if first is None or last is None else max(last - first, 0) / window_s

    busy, own = rate("busy_s"), rate("own_s")
    return Surroundings(
        window_s=window_s,
        other_cores=None if busy is None or own is None else max(busy - own, 0.0),
        stolen_cores=rate("stolen_s"),
        waiting_share=rate("waited_s"),
        memory_waiting_share=rate("memory_waited_s"),
        throttled_share=rate("throttled_s"),
        preemptions_per_s=rate("preempted"),
        usable_cores=_affinity(),
        quota_cores=quota_cores(),
        frequency_hz=_frequency_hz(),
    )


def canary_ns() -> int:
    """How long a fixed piece of work takes now (ns), the median of five: the same on a machine at rest, whatever
    is timed beside it."""
    runs = []
    for _ in range(_CANARY_RUNS):
        begin = time.perf_counter_ns()
        hashlib.sha256(_CANARY_BYTES).digest()
        runs.append(time.perf_counter_ns() - begin)
    return int(statistics.median(runs))


def spinning() -> dict[str, str]:
    """How threads wait for each other, where the environment says so: threads that spin at barriers lie under load."""
    return {name.lower(): os.environ[name] for name in _SPINNING if name in os.environ}


def quota_cores() -> float | None:
    """Processor time a second that this process' control group grants, the least on its path; None without a limit."""
    limits = []
    for folder in _groups():
        words = _words(folder / "cpu.max") or [
            word for what in ("quota", "period") for word in _words(folder / f"cpu.cfs_{what}_us")
        ]
        if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):
            limits.append(int(words[0]) / int(words[1]))
    return min(limits, default=None)


def _affinity() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _cores() -> tuple[float | None, float | None]:
    """Busy and stolen seconds, over the cores that this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    names = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    busy = stolen = 0
    seen = False
    for line in _text(Path("/proc/stat")).splitlines():
        name, *fields = line.split()
        if name in names and len(fields) >= 8:
            user, nice, system, _idle, _io, irq, softirq, steal = map(int, fields[:8])
            busy += user + nice + system + irq + softirq
            stolen += steal
            seen = True
    return (busy * _TICK_S, stolen * _TICK_S) if seen else (None, None)


def _own_s() -> float | None:
    total = time.process_time()
    for child in _descendants(os.getpid()):
        fields = _text(Path(f"/proc/{child}/stat")).rpartition(")")[2].split()
        if len(fields) > 12:
            total += (int(fields[11]) + int(fields[12])) * _TICK_S
    return total


def _descendants(process: int) -> Iterator[int]:
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, _words(children)):
            yield child
            yield from _descendants(child)


def _pressure_s(what: str) -> float | None:
    """Seconds in which at least one task waited, since the machine started (Linux, pressure stall information)."""
    for line in _text(Path(f"/proc/pressure/{what}")).splitlines():
        kind, *fields = line.split()
        for field in fields:
            name, _, value = field.partition("=")
            if kind == "some" and name == "total" and value.isdigit():
                return int(value) * 1e-6
    return None


def _throttled_s() -> float | None:
    found = None
    for folder in _groups():
        for line in _text(folder / "cpu.stat").splitlines():
            name, _, value = line.partition(" ")
            if name in _THROTTLED_UNITS_S and value.isdigit():
                found = max(found or 0.0, int(value) * _THROTTLED_UNITS_S[name])
    return found


def _preempted() -> int | None:
    found = None
    for process in (os.getpid(), *_descendants(os.getpid())):
        for status in Path(f"/proc/{process}/task").glob("*/status"):
            for line in _text(status).splitlines():
                name, _, value = line.partition(":")
                if name == "nonvoluntary_ctxt_switches":
                    found = (found or 0) + int(value)
    return found


def _frequency_hz() -> float | None:
    if not hasattr(os, "sched_getaffinity"):
        return None
    known = []
    for core in os.sched_getaffinity(0):
        text = _text(Path(f"/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq")).strip()
        if text.isdigit():
            known.append(int(text) * 1e3)
    return statistics.fmean(known) if known else None


def _groups() -> Iterator[Path]:
    """The folders of this process' control groups (version 2, and version 1's for processor time) and all above."""
    root = Path("/sys/fs/cgroup")
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" or "cpu" in controllers.split(","):
            top = root / controllers
            inner = top / path.lstrip("/")
            yield from (
                folder for folder in (inner, *inner.parents) if top in (folder, *folder.parents)
            )


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", errors="replace")
    except OSError:
        return ""
