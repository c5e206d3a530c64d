"""What the control groups of this process grant it: processor time, cores, and how often they held it back.

Containers, batch systems and services confine processes this way, where neither the number of cores nor the
load tells it. Reads both versions of Linux's control groups; on other systems there is nothing to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dlbench.host.procfs import ROOT, text, words

_THROTTLED_UNITS_S = {"throttled_usec": 1e-6, "throttled_time": 1e-9}
_MEMORY = (
    ("memory.max", "memory.current", "inactive_file"),
    # above which the kernel takes back what it can, and slows down who asks for more
    ("memory.high", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
_CPUSETS = ("cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus")


def quota_cores(root: Path = ROOT) -> float | None:
    """Processor time a second that is granted, the least on the path to the root; None without a limit."""
    limits = []
    for folder in _folders("cpu", root):
        found = words(folder / "cpu.max") or [
            word for what in ("quota", "period") for word in words(folder / f"cpu.cfs_{what}_us")
        ]
        if len(found) == 2 and all(word.isdigit() for word in found) and int(found[1]):
            limits.append(int(found[0]) / int(found[1]))
    return min(limits, default=None)


def memory_limit_bytes(root: Path = ROOT) -> int | None:
    """The memory that the groups grant in all, the least on the path to the root; None without a limit."""
    limits = [
        int(word)
        for folder in _folders("memory", root)
        for name, _, _ in _MEMORY
        if (word := text(folder / name).strip()).isdigit()
    ]
    return min(limits, default=None)


def memory_left_bytes(root: Path = ROOT) -> int | None:
    """What the groups' limits leave of memory, the least on the path to the root, with what their files keep there and
    give up when it is needed; None without a limit."""
    left = []
    for folder in _folders("memory", root):
        for limit, used, kept in _MEMORY:
            found = [text(folder / name).strip() for name in (limit, used)]
            if all(word.isdigit() for word in found):
                files = dict(line.split() for line in text(folder / "memory.stat").splitlines())
                left.append(max(int(found[0]) - int(found[1]) + int(files.get(kept, 0)), 0))
    return min(left, default=None)


def granted_cores(root: Path = ROOT) -> int | None:
    """How many cores the group may use at all, by its own cpuset; None where no group tells."""
    for folder in _folders("cpuset", root):
        for name in _CPUSETS:
            count = _count(text(folder / name).strip())
            if count:
                return count
    return None


def throttled_s(root: Path = ROOT) -> float | None:
    """Time that quotas have held the processes of the group back, added up over its cores."""
    found = None
    for folder in _folders("cpu", root):
        for line in text(folder / "cpu.stat").splitlines():
            name, _, value = line.partition(" ")
            if name in _THROTTLED_UNITS_S and value.isdigit():
                found = max(found or 0.0, int(value) * _THROTTLED_UNITS_S[name])
    return found


def _folders(controller: str, root: Path) -> Iterator[Path]:
    """The folders of this process' groups for a controller, from its own to the root."""
    mount = root / "sys/fs/cgroup"
    for line in text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        # version 2 has one tree for all, and names no controller
        if controllers == "" or controller in controllers.split(","):
            top = mount / controllers
            inner = top / path.lstrip("/")
            yield from (
                folder for folder in (inner, *inner.parents) if top in (folder, *folder.parents)
            )


def _count(cores: str) -> int:
    """The length of a list like ``0-3,8``; 0 for what is none."""
    total = 0
    for part in cores.split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            return 0
        total += int(last or first) - int(first) + 1
    return total
