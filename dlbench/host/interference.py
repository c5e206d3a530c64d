"""What else went on on the machine while a process was timed, as the kernel's counters tell it.

Times of a contended machine can be wrong by an order of magnitude and scatter as little as good ones, so the
machine itself is watched: counters are read before and after the timings, in the process that times, and
their differences say who else had the processor. Reading them needs the standard library alone. What a
system does not tell is None, never 0.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlbench.host import cgroups, process_tree
from dlbench.host.process_tree import TICK_S
from dlbench.host.procfs import ROOT, text
from dlbench.record.facts import Surroundings

_LOAD_BYTES = bytes(1 << 19)
_LOAD_RUNS = 5
_RATES = {
    "busy_s": "other_cores",
    "own_s": "own_cores",
    "stolen_s": "stolen_cores",
    "waited_s": "waiting_share",
    "memory_waited_s": "memory_waiting_share",
    "throttled_s": "throttled_share",
    "preempted": "preemptions_per_s",
}
"""Counters of `Reading`, and what they are a second in `Surroundings`; of busy cores, those of others."""
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_OPENMP = ("libgomp", "libiomp5", "libomp")
_CONTRADICTION_CORES = 0.1


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
    throttled_s : time that the control group's quota held processes back, added up over cores.
    preempted : how often threads of this process, and of what it started, were taken off a core against their will.
    """

    at_s: float
    busy_s: float | None
    own_s: float | None
    stolen_s: float | None
    waited_s: float | None
    memory_waited_s: float | None
    throttled_s: float | None
    preempted: int | None


def read(root: Path = ROOT) -> Reading:
    """The counters now. Takes about a millisecond, more with many threads."""
    busy_s, stolen_s = _cores(root)
    return Reading(
        at_s=time.perf_counter(),
        busy_s=busy_s,
        own_s=process_tree.processor_s(root),
        stolen_s=stolen_s,
        waited_s=_pressure_s("cpu", root),
        memory_waited_s=_pressure_s("memory", root),
        throttled_s=cgroups.throttled_s(root),
        preempted=process_tree.preemptions(root),
    )


def between(before: Reading, after: Reading, root: Path = ROOT) -> Surroundings:
    """What the counters say about the time between two readings."""
    return _across([(before, after)], root)


def across(windows: Sequence[tuple[Reading, Reading]]) -> Surroundings | None:
    """The same of several windows, each between two readings, as one.

    The differences are added up before anything is made of them: the kernel counts the cores' time in ticks, so that of
    a window of a few milliseconds says nothing by itself.
    """
    return _across(windows) if windows else None


def _across(windows: Sequence[tuple[Reading, Reading]], root: Path = ROOT) -> Surroundings:
    window_s = max(sum(after.at_s - before.at_s for before, after in windows), 1e-9)

    def rate(name: str) -> float | None:
        first = [getattr(before, name) for before, _ in windows]
        last = [getattr(after, name) for _, after in windows]
        return None if None in first or None in last else max(sum(last) - sum(first), 0) / window_s

    granted = cgroups.granted_cores(root)
    rates: Any = {field: rate(name) for name, field in _RATES.items()}
    rates["other_cores"] = _others(rates["other_cores"], rates["own_cores"], window_s, len(windows))
    return Surroundings(
        window_s=window_s,
        usable_cores=_affinity(),
        granted_cores=os.cpu_count() if granted is None else granted,
        quota_cores=cgroups.quota_cores(root),
        frequency_hz=_frequency_hz(root),
        **rates,
    )


def over(windows: Sequence[Surroundings]) -> Surroundings | None:
    """Several windows as one: means over the time in which each figure is known, the rest as in the last window."""
    if not windows:
        return None

    def mean(name: str) -> float | None:
        known = [(w.window_s, getattr(w, name)) for w in windows if getattr(w, name) is not None]
        total_s = sum(seconds for seconds, _ in known)
        return sum(seconds * value for seconds, value in known) / total_s if known else None

    window_s = sum(window.window_s for window in windows)
    means: Any = {name: mean(name) for name in _RATES.values()}
    return dataclasses.replace(windows[-1], window_s=window_s, **means)


def reference_load_ns() -> int:
    """How long the reference load takes now (ns), a hash of zeros, the median of five: the same on a machine at rest,
    whatever is timed beside it."""
    runs = []
    for _ in range(_LOAD_RUNS):
        begin = time.perf_counter_ns()
        hashlib.sha256(_LOAD_BYTES).digest()
        runs.append(time.perf_counter_ns() - begin)
    return int(statistics.median(runs))


def threading_facts(root: Path = ROOT) -> dict[str, str]:
    """How threads wait for each other: which OpenMP library is loaded, whose threads spin at barriers unless they are
    told not to, and what the environment tells them. Threads that spin lie under load."""
    maps = text(root / "proc/self/maps")
    loaded = [name for name in _OPENMP if f"/{name}" in maps]
    found = {"openmp": " and ".join(loaded)} if loaded else {}
    return found | {name.lower(): os.environ[name] for name in _WAITING if name in os.environ}


def spins(facts: Mapping[str, object]) -> bool:
    """Whether these facts of a process mean threads that spin at barriers."""
    return "openmp" in facts and str(facts.get("omp_wait_policy", "")).lower() != "passive"


def _others(busy: float | None, own: float | None, window_s: float, windows: int) -> float | None:
    """Cores of others; None also where the system's counters do not even show this process (some sandboxes)."""
    if busy is None or own is None:
        return None
    # processor time on the whole machine is counted in ticks; what the ends of windows lack or have too much
    # partly cancels, as steps of a random walk do
    ticks = 4 * math.sqrt(windows)
    if busy < own - _CONTRADICTION_CORES * max(own, 1.0) - ticks * TICK_S / window_s:
        return None
    return max(busy - own, 0.0)


def _affinity() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _cores(root: Path) -> tuple[float | None, float | None]:
    """Busy and stolen seconds, over the cores that this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    names = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    busy = stolen = 0
    seen = False
    for line in text(root / "proc/stat").splitlines():
        name, *fields = line.split() or [""]
        if name in names and len(fields) >= 8:
            user, nice, system, _idle, _io, irq, softirq, steal = map(int, fields[:8])
            busy += user + nice + system + irq + softirq
            stolen += steal
            seen = True
    return (busy * TICK_S, stolen * TICK_S) if seen else (None, None)


def _pressure_s(what: str, root: Path) -> float | None:
    """Seconds in which at least one task waited, since the machine started (Linux, pressure stall information)."""
    for line in text(root / "proc/pressure" / what).splitlines():
        kind, *fields = line.split() or [""]
        for field in fields:
            name, _, value = field.partition("=")
            if kind == "some" and name == "total" and value.isdigit():
                return int(value) * 1e-6
    return None


def _frequency_hz(root: Path) -> float | None:
    if not hasattr(os, "sched_getaffinity"):
        return None
    known = []
    for core in os.sched_getaffinity(0):
        khz = text(root / f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq").strip()
        if khz.isdigit():
            known.append(int(khz) * 1e3)
    return statistics.fmean(known) if known else None
