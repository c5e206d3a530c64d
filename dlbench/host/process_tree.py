"""This process and all that it has started: their processor time, lost cores and memory, as Linux counts them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from dlbench.host.procfs import ROOT, text, words

TICK_S = 1 / os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 0.01
"""In which the kernel counts the processor time of other processes."""
_SIGNAL_AT_PARENTS_DEATH = 1


def descendants(process: int, root: Path = ROOT) -> list[int] | None:
    """The processes that a process has started, and those that they have; None where the system does not tell."""
    if not (root / f"proc/{process}/task/{process}/children").exists():
        return None
    return list(_descendants(process, root))


def parent(process: int, root: Path = ROOT) -> int | None:
    """Who started a process, or has it now; None where there is no such process, or the system does not tell."""
    fields = text(root / f"proc/{process}/stat").rpartition(")")[2].split()
    return int(fields[1]) if len(fields) > 1 else None


def processor_s(root: Path = ROOT) -> float | None:
    """Processor time (s), of processes that have ended too; None where it cannot be told which this one has started."""
    children = descendants(os.getpid(), root)
    if children is None:
        return None
    times = os.times()
    total = time.process_time() + times.children_user + times.children_system
    for child in children:
        fields = text(root / f"proc/{child}/stat").rpartition(")")[2].split()
        if len(fields) > 14:
            # its own, and that of those of its children that have ended
            total += sum(map(int, fields[11:15])) * TICK_S
    return total


def end_with_parent() -> None:
    """Has this process killed when the one that started it is gone, also while it is held by SIGSTOP and could not see
    that (Linux, ``PR_SET_PDEATHSIG``); nothing elsewhere."""
    if sys.platform == "linux":
        # not above: most processes have no use for it, and it takes its time
        import ctypes

        ctypes.CDLL(None).prctl(_SIGNAL_AT_PARENTS_DEATH, signal.SIGKILL)


def preemptions(root: Path = ROOT) -> int | None:
    """How often their threads were taken off a core against their will."""
    found = None
    for process in (os.getpid(), *_descendants(os.getpid(), root)):
        for thread in _threads(process, root):
            count = _status(thread / "status", "nonvoluntary_ctxt_switches")
            found = found if count is None else (found or 0) + count
    return found


def peak_memory_bytes(root: Path = ROOT) -> int | None:
    """The most memory that was resident in this process, and in each that it has started and that still runs, added
    up; None where that cannot be read."""
    # getrusage would count the runner's own memory from before the exec
    own = _status(root / f"proc/{os.getpid()}/status", "VmHWM")
    if own is None:
        return None
    started = (
        _status(root / f"proc/{child}/status", "VmHWM") for child in _descendants(os.getpid(), root)
    )
    return (own + sum(filter(None, started))) * 1024


def _descendants(process: int, root: Path) -> Iterator[int]:
    for thread in _threads(process, root):
        for child in map(int, words(thread / "children")):
            yield child
            yield from _descendants(child, root)


def _threads(process: int, root: Path) -> list[Path]:
    """The folders of a process' threads; none where it has ended."""
    tasks = root / f"proc/{process}/task"
    # not `Path.glob`, which takes three times as long, and this is read around every turn
    try:
        return [tasks / thread for thread in os.listdir(tasks)]
    except OSError:
        return []


def _status(path: Path, wanted: str) -> int | None:
    """The number that stands behind a name in a ``status`` file."""
    for line in text(path).splitlines():
        name, _, value = line.partition(":")
        if name == wanted and value.split() and value.split()[0].isdigit():
            return int(value.split()[0])
    return None
