"""Reads a device's energy beside a process that works on it, and tells how much it used in each of some windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress

from dlbench.contract import Device
from dlbench.record.case import HOST
from dlbench.record.schema import Energy, Trace
from dlbench.telemetry import gauges
from dlbench.telemetry import windows as w
from dlbench.telemetry.device import find
from dlbench.telemetry.energy import rapl
from dlbench.telemetry.log import Log, Probe, Refused
from dlbench.telemetry.nvml import Nvml, answered
from dlbench.telemetry.quantities import over_time
from dlbench.telemetry.sampler import Sampler
from dlbench.telemetry.watch import NVML

PERIOD_NS = 20_000_000
LEAST_STEPS = 20
"""Of a counter in a window: what is not known at either end is up to one, together a tenth of so many."""
POWERS = ("power_instant_w", "power_average_w", "power_usage_w")

_Connect = Callable[[], list[Probe]]


def check(device: Device) -> None:
    """Makes sure that the energy of a device can be read, by reading it once.

    Raises
    ------
    Refused : it cannot be, and what would help.
    """
    log = Log()
    with _connected(device) as connect:
        for probe in answered(connect):
            try:
                answered(lambda: probe.read(log))  # noqa: B023
            except Refused as refused:
                log.lose(probe.metrics[0], refused.reason)
    if not {"energy_j", *POWERS} & log.traces().keys():
        raise Refused("; ".join(dict.fromkeys(log.unavailable.values())) or "nothing was read")


class Meter:
    """What was read; complete once the context of `metering` has been left."""

    def __init__(self) -> None:
        self._log = Log()
        self._refusal = ""

    def energy(self, windows: Sequence[w.Window]) -> Energy:
        """What the device used in each window."""
        traces = self._log.traces()
        if not traces:
            reasons = dict.fromkeys([self._refusal, *self._log.unavailable.values()])
            return Energy(reason="; ".join(filter(None, reasons)) or "nothing was read")
        return energy_in(traces, windows)

    @contextmanager
    def reading(self, connect: _Connect) -> Iterator[None]:
        """Reads as long as the context lasts."""
        sampler = Sampler(connect, PERIOD_NS)
        sampler.start()
        try:
            yield
        finally:
            sampler.stop()
            sampler.join()
            self._log, self._refusal = sampler.log, sampler.refusal

    def refuse(self, reason: str) -> None:
        """There is nothing to read."""
        self._refusal = reason


@contextmanager
def metering(device: Device) -> Iterator[Meter]:
    """Reads the energy of a device as long as the context lasts."""
    meter = Meter()
    with ExitStack() as stack:
        try:
            connect = stack.enter_context(_connected(device))
        except Refused as refused:
            meter.refuse(refused.reason)
        else:
            stack.enter_context(meter.reading(connect))
        yield meter


def energy_in(traces: Mapping[str, Trace], windows: Sequence[w.Window]) -> Energy:
    """What a device used in each window, by its counter where that has steps enough, else by its power over time."""
    counter = traces.get("energy_j", Trace((), ()))
    risen = [w.rise(counter, window) if counter.t_ns else None for window in windows]
    joules = tuple(each for each in risen if each is not None)
    if len(joules) == len(windows) and _steps(counter, windows) >= LEAST_STEPS * len(windows):
        return Energy(joules, "counter")
    for metric in POWERS:
        parts = [w.inside(traces.get(metric, Trace((), ())), window) for window in windows]
        if all(len(part.t_ns) >= w.LEAST_POINTS for part in parts):
            spent = [
                over_time(p) * window.seconds for p, window in zip(parts, windows, strict=True)
            ]
            return Energy(tuple(spent), "power")
    seconds = sum(window.seconds for window in windows)
    return Energy(
        reason=f"{len(windows)} epochs in {seconds:.2g} s are too short for what the device tells of its energy"
    )


def _steps(counter: Trace, windows: Sequence[w.Window]) -> int:
    times = [counter.t_ns[i] for i in w.changes(counter)]
    return sum(window.start_ns <= t_ns <= window.end_ns for t_ns in times for window in windows)


@contextmanager
def _connected(device: Device) -> Iterator[_Connect]:
    """What gives the probes of a device's energy.

    Raises
    ------
    Refused : nothing does.
    """
    if device.kind == HOST:
        yield lambda: [rapl.probe(rapl.POWERCAP)]
    elif device.telemetry == NVML:
        nvml = answered(Nvml)
        try:
            yield lambda: gauges.energy_probes(nvml, find(nvml, {"device_uuid": device.uuid}))
        finally:
            with suppress(Refused):
                answered(nvml.close)
    else:
        raise Refused(f"nothing here reads the energy of a device of the kind {device.kind!r}")
