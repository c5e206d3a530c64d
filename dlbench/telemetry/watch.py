"""Samples beside the measuring processes of a run: from when a session is live until its timings are taken.

The worker tells when its session is open and where it runs; the samplers start then, which is before its warm-up,
and stop when it goes on to its checks. What they read becomes lines of the record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

from dlbench.record.schema import Case, Process, Telemetry
from dlbench.telemetry import device, gauges, gpm, host, processes, utilization
from dlbench.telemetry.idle_check import glance
from dlbench.telemetry.log import Probe, Refused
from dlbench.telemetry.nvml import Nvml
from dlbench.telemetry.sampler import Sampler

NVML_METRICS = (
    *gauges.FIELDS,
    "memory_used_bytes",
    "sm_clock_mhz",
    "memory_clock_mhz",
    "temperature_c",
    "clock_event_reasons",
    utilization.METRIC,
    *gpm.METRICS,
    processes.METRIC,
)
"""What is asked of the driver."""


class Watch:
    """One process; `make` gives what is to be sampled beside it, by default nothing."""

    def __init__(
        self,
        make: Callable[[int, Mapping[str, str | int]], Sequence[_Source]] = lambda pid, facts: (),
    ) -> None:
        self._make = make
        self._sources: Sequence[_Source] = ()

    def opened(self, pid: int, facts: Mapping[str, str | int]) -> None:
        """A session is live in process `pid`, with these facts."""
        if not self._sources:
            self._sources = self._make(pid, facts)
            for source in self._sources:
                source.sampler.start()

    def phase(self, phase: str) -> None:
        """The worker enters a phase: everything is read as its timings begin and once more as they end."""
        if phase == "measure":
            for source in self._sources:
                source.sampler.nudge()
        elif phase == "check":
            self.stop()

    def stop(self) -> None:
        """Ends the sampling without waiting for it."""
        for source in self._sources:
            source.sampler.stop()

    def lines(self) -> list[Telemetry]:
        """What was sampled; none when no session was opened."""
        self.stop()
        return [source.line() for source in self._sources]


class Watcher:
    """All measuring processes of a run; `period_s` is the time between samples, 0 for no sampling."""

    def __init__(self, period_s: float) -> None:
        self.period_ns = round(period_s * 1e9)
        self._nvml: Nvml | Refused | None = None

    @contextmanager
    def beside(self, case: Case, round: int, attempt: int = 0) -> Iterator[Watch]:
        """Watches one process as long as the context lasts."""
        if not self.period_ns:
            yield Watch()
            return
        on_gpu = case.device.startswith("cuda")
        if on_gpu:
            # now, since it can take longer than the warm-up of a small network
            self._open()

        def make(pid: int, facts: Mapping[str, str | int]) -> list[_Source]:
            period_ns = max(self.period_ns, host.EVERY_NS)
            of = (case, round, attempt)
            found = [_Source("host", of, period_ns, lambda _: [host.probe(pid)])]
            if on_gpu:
                connect = self._connect(pid, facts)
                found.append(_Source("nvml", of, self.period_ns, connect, self._hung))
            return found

        watch = Watch(make)
        try:
            yield watch
        finally:
            watch.stop()

    def look_at_device(self, process: Process, seconds: float) -> tuple[str, ...]:
        """What disturbs the device that a process was on, now that it has ended, in words; looks for so many seconds.
        Nothing at once where the device is not watched, which is not known to be disturbed either."""
        nvml = self._nvml
        if not (process.case.device.startswith("cuda") and isinstance(nvml, Nvml)):
            return ()
        causes = glance(nvml, lambda: device.find(nvml, process.facts), seconds)
        if causes is None:
            self._hung()
        return causes or ()

    def close(self) -> None:
        """Gives the driver's library back."""
        if isinstance(self._nvml, Nvml):
            self._nvml.close()
        self._nvml = None

    def _open(self) -> None:
        if self._nvml is None:
            try:
                self._nvml = Nvml()
            except Refused as refused:
                self._nvml = refused

    def _hung(self) -> None:
        self._nvml = Refused("the driver stopped answering earlier in this run")

    def _connect(
        self, pid: int, facts: Mapping[str, str | int]
    ) -> Callable[[_Source], list[Probe]]:
        nvml = self._nvml

        def connect(source: _Source) -> list[Probe]:
            if not isinstance(nvml, Nvml):
                raise nvml or Refused("the driver was not asked")
            found = device.find(nvml, facts)
            source.device_uuid, source.device_name = found.uuid, found.name
            return device_probes(nvml, found, pid)

        return connect


def device_probes(nvml: Nvml, found: device.Device, worker: int) -> list[Probe]:
    """All that is read of a device that the process `worker` uses."""
    return [
        *gauges.probes(nvml, found),
        gpm.probe(nvml, found),
        utilization.probe(nvml, found),
        processes.probe(nvml, found, worker),
    ]


class _Source:
    """A sampler, and the line that its readings make."""

    def __init__(
        self,
        name: Literal["nvml", "host"],
        of: tuple[Case, int, int],
        period_ns: int,
        connect: Callable[[_Source], list[Probe]],
        on_hung: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._of = of
        self._period_ns = period_ns
        self._on_hung = on_hung
        self.device_uuid = ""
        self.device_name = ""
        self.sampler = Sampler(lambda: connect(self), period_ns)

    def line(self) -> Telemetry:
        if not self.sampler.join():
            self._on_hung()
        sampler = self.sampler
        unavailable = dict(sampler.log.unavailable)
        if sampler.refusal:
            metrics = host.METRICS if self._name == "host" else NVML_METRICS
            unavailable = dict.fromkeys(metrics, sampler.refusal)
        case, number, attempt = self._of
        return Telemetry(
            case=case,
            round=number,
            attempt=attempt,
            source=self._name,
            period_ns=self._period_ns,
            started_ns=sampler.started_ns,
            ended_ns=sampler.ended_ns,
            device_uuid=self.device_uuid,
            device_name=self.device_name,
            traces=sampler.log.traces(),
            unavailable=unavailable,
            processor_s=sampler.processor_s,
        )
