"""How many processes other than the worker's have a context on the device: they share its time and its memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from dlbench.telemetry.device import Device
from dlbench.telemetry.log import Log, Probe, Refused, timed
from dlbench.telemetry.nvml import Nvml

METRIC = "other_processes"
_EVERY_NS = 1_000_000_000
_FUNCTIONS = (
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetComputeRunningProcesses_v2",
)


def probe(nvml: Nvml, device: Device, worker: int) -> Probe:
    """Counts them; `worker` is the worker's process id, and the leader of its process group."""
    running = _asks(nvml, device)

    def read(log: Log) -> None:
        t_ns, found = timed(running)
        ours = [process for process in found if _belongs(process.pid, worker)]
        if not ours:
            # what is listed may well be the worker under another number
            raise Refused(
                "the driver does not list the worker on the device; perhaps it counts processes in another"
                " namespace (nvmlDeviceGetComputeRunningProcesses)",
                for_good=False,
            )
        log.add(METRIC, t_ns, len(found) - len(ours))

    return Probe((METRIC,), read, _EVERY_NS)


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


def _belongs(process: int, worker: int) -> bool:
    try:
        return process == worker or os.getpgid(process) == worker
    except OSError:
        return False
