"""Which telemetry is available here: what the driver provides of each device, and why not the rest."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence

from dlbench.telemetry import device, processes
from dlbench.telemetry.log import Log, Probe, Refused, reason_of
from dlbench.telemetry.nvml import Nvml, answered, opened
from dlbench.telemetry.watch import device_probes
from dlbench.text import one_line

_INDENT = " " * 8
_AGAIN_AFTER_S = 0.2
_NOT_NOW = dict.fromkeys(processes.METRICS, "known only while a case is timed")
"""What a look with no worker on the device cannot tell."""


def describe_telemetry() -> str:
    """What NVIDIA's driver tells of each device, or why it does not."""
    lines: list[str] = []
    try:
        with opened() as nvml:
            lines.extend(_devices(nvml))
    except Refused as refused:
        lines.append(f"NVIDIA  no telemetry: {refused.reason}")
    return "\n".join(lines)


def _devices(nvml: Nvml) -> Iterator[str]:
    refusals: list[str] = []
    found = answered(lambda: device.all_devices(nvml, refusals))
    for each in found:
        log = answered(lambda: _look(lambda: device_probes(nvml, each, os.getpid())))  # noqa: B023
        metrics = [*log.traces(), *log.unavailable]
        yield f"NVIDIA  {one_line(each.name)} {each.uuid}: {_line(log, metrics)}"
    yield from (f"NVIDIA  {refusal}" for refusal in refusals)
    if not found and not refusals:
        yield "NVIDIA  no telemetry: the driver reports no device"


def _look(connect: Callable[[], Sequence[Probe]]) -> Log:
    """Reads each probe once, and what says nothing then (means since the last time) once more."""
    log = Log()
    try:
        probes = connect()
    except Exception as error:
        log.lose("everything", reason_of(error))
        return log
    for probe in probes:
        try:
            probe.read(log)
            if not set(probe.metrics) & {*log.traces(), *log.unavailable}:
                time.sleep(_AGAIN_AFTER_S)
                probe.read(log)
        except Exception as error:
            for metric in probe.metrics:
                log.lose(metric, _NOT_NOW.get(metric, reason_of(error)))
        finally:
            probe.close()
    return log


def _line(log: Log, metrics: Sequence[str]) -> str:
    traces = log.traces()
    had = ", ".join(metric for metric in dict.fromkeys(metrics) if metric in traces)
    reasons: dict[str, list[str]] = {}
    for metric, reason in log.unavailable.items():
        reasons.setdefault(reason, []).append(metric)
    lines = [had or "nothing"]
    lines += [
        f"{_INDENT}unavailable: {', '.join(names)} ({reason})" for reason, names in reasons.items()
    ]
    return "\n".join(lines)
