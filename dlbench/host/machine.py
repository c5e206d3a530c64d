"""What this machine is, read without running anything heavy.

A figure without its machine cannot be compared with another. What cannot be read is None, never a
guess; names of hosts, users and folders are left out, since records are passed on.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import math
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import psutil

from dlbench.host import memory
from dlbench.host.cgroups import quota_cores
from dlbench.host.environment import PACKAGES
from dlbench.host.procfs import ROOT, text
from dlbench.record.schema import Machine


def look(gpus: Sequence[str] = ()) -> Machine:
    """This machine and the versions of what is installed; imports no framework. Its GPUs are asked for elsewhere:
    see `dlbench.telemetry.device.gpu_names`."""
    return Machine(
        cpu=_cpu_model(),
        physical_cores=psutil.cpu_count(logical=False),
        logical_cores=psutil.cpu_count(logical=True),
        usable_cores=usable_cores(),
        memory_bytes=memory.total_bytes(),
        gpus=tuple(gpus),
        system=f"{platform.system()} {platform.release()}".strip(),
        python=platform.python_version(),
        packages={name: version for name in PACKAGES if (version := _version(name))},
    )


def node(root: Path = ROOT) -> str:
    """This machine by the beginning of a digest, which tells it from others and does not say which it is; empty where
    nothing tells it apart."""
    known = [text(root / "etc/machine-id").strip(), platform.node()]
    if not any(known):
        return ""
    return hashlib.sha256("\n".join(["dlbench", *known]).encode()).hexdigest()[:12]


def usable_cores() -> int:
    """Cores that this process may use at once: its affinity, cut by its control group's quota, at
    least 1."""
    affinity = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    quota = quota_cores()
    return affinity if quota is None else max(1, min(affinity, math.floor(quota + 0.5)))


def usable_physical_cores(root: Path = ROOT) -> int | None:
    """Physical cores among the logical ones that this process may use; None where the system does not tell.

    The kernel's documentation, ``ABI/stable/sysfs-devices-system-cpu``, says what its files hold.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None
    folder = root / "sys/devices/system/cpu"
    siblings = {
        text(folder / f"cpu{core}" / "topology/thread_siblings_list").strip()
        for core in os.sched_getaffinity(0)
    }
    return None if "" in siblings else len(siblings)


def _cpu_model() -> str | None:
    for line in text(Path("/proc/cpuinfo")).splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model") and value.strip():
            return " ".join(value.split())
    return platform.processor() or None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
