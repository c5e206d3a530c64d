"""How much memory there is for another process, and how much one has taken."""

from __future__ import annotations

import resource
from pathlib import Path

import psutil

from dlbench.host import cgroups
from dlbench.host.procfs import ROOT, text


def available_bytes(root: Path = ROOT) -> int | None:
    """What can be had without driving anything out: the machine's, or what the control group's limit leaves, whichever
    is less; None where the system does not tell."""
    known = [_of_machine(root, "MemAvailable"), cgroups.memory_left_bytes(root)]
    return min((each for each in known if each is not None), default=None)


def total_bytes(root: Path = ROOT) -> int | None:
    """The machine's memory, or what control groups grant of it; None where the system does not tell."""
    known = [_of_machine(root, "MemTotal"), cgroups.memory_limit_bytes(root)]
    return min((each for each in known if each is not None), default=None)


def address_limit_bytes() -> int | None:
    """The most addresses that a process may have (``ulimit -v``); None without a limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def resident_bytes(process: int) -> int | None:
    """What a process and all that it has started hold, added up; None where it is gone."""
    try:
        first = psutil.Process(process)
        return sum(each.memory_info().rss for each in (first, *first.children(recursive=True)))
    except (psutil.Error, OSError):
        return None


def _of_machine(root: Path, which: str) -> int | None:
    for line in text(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        if name == which:
            return int(value.split()[0]) * 1024
    return None
