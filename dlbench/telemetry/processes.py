"""How many processes other than the worker's have a context on the device.

Those of nobody in this run share its time and its memory. Other workers of the run, which live beside this one and wait
for their turn, share its memory alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from dlbench.host import process_tree
from dlbench.telemetry.device import Device
from dlbench.telemetry.log import Log, Probe, Refused, timed
from dlbench.telemetry.nvml import Nvml

METRIC = "other_processes"
NEIGHBOURS = "neighbour_processes"
"""Of other workers of this run."""
METRICS = (METRIC, NEIGHBOURS)
_EVERY_NS = 1_000_000_000
_FUNCTIONS = (
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetComputeRunningProcesses_v2",
)


def probe(
    nvml: Nvml,
    device: Device,
    worker: int,
    is_worker: Callable[[int], bool] = lambda leader: process_tree.parent(leader) == os.getpid(),
) -> Probe:
    """Counts them.

    Parameters
    ----------
    worker : the worker's process id; it is the leader of its process group.
    is_worker : whether the process with this id is another worker of this run, which leads a group too; by default
        whether this process has started it.
    """
    running = _asks(nvml, device)

    def read(log: Log) -> None:
        t_ns, found = timed(running)
        groups = [_group(process.pid) for process in found if process.pid != worker]
        rest = [group for group in groups if group != worker]
        if len(rest) == len(found):
            # what is listed may well be the worker under another number
            raise Refused(
                "the driver does not list the worker on the device; perhaps it counts processes in another"
                " namespace (nvmlDeviceGetComputeRunningProcesses)",
                for_good=False,
            )
        neighbours = sum(is_worker(group) for group in rest)
        log.add(METRIC, t_ns, len(rest) - neighbours)
        log.add(NEIGHBOURS, t_ns, neighbours)

    return Probe(METRICS, read, _EVERY_NS)


def probe_without_worker(nvml: Nvml, device: Device) -> Probe:
    """Counts all of them, while nothing of this run is on the device."""
    running = _asks(nvml, device)

    def read(log: Log) -> None:
        t_ns, found = timed(running)
        log.add(METRIC, t_ns, len(found))

    return Probe((METRIC,), read)


def _asks(nvml: Nvml, device: Device) -> Callable[[], Any]:
    """Asks for the list in the newest way that the driver has."""
    functions = list(_FUNCTIONS)

    def running() -> Any:
        while True:
            try:
                return nvml.ask(functions[0], device.handle)
            except Refused as refused:
                if len(functions) == 1 or refused.code not in nvml.missing_codes:
                    raise
                del functions[0]

    return running


def _group(process: int) -> int:
    """The leader of its process group; itself where that cannot be told, as of a process that has just ended."""
    try:
        return os.getpgid(process)
    except OSError:
        return process
