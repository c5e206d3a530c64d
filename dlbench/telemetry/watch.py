"""Samples devices beside the measuring processes of a run: from when a session is live until its timings are taken.

The worker tells when its session is open and where it runs; the sampler starts then, which is before its warm-up. Of
processes that take turns only the one on turn is sampled beside, so a trace has gaps in which its process rested. What
is read becomes a line of the record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress

from dlbench.host.cause import Cause
from dlbench.record.schema import Case, Process, Telemetry
from dlbench.telemetry import device, gauges, gpm, processes, utilization
from dlbench.telemetry.idle_check import glance
from dlbench.telemetry.log import Probe, Refused
from dlbench.telemetry.nvml import Nvml, answered
from dlbench.telemetry.sampler import Sampler

NVML = "nvml"
"""The source of telemetry of a device that NVIDIA's driver knows; the only one there is."""
NVML_METRICS = (
    *gauges.FIELDS,
    "memory_used_bytes",
    "sm_clock_mhz",
    "memory_clock_mhz",
    "temperature_c",
    "clock_event_reasons",
    utilization.METRIC,
    *gpm.METRICS,
    *processes.METRICS,
)
"""What is asked of the driver."""


class Watch:
    """One process while it times one case.

    Parameters
    ----------
    make : gives what samples its device, by default nothing.
    to_sample : told before sampling begins or goes on.
    """

    def __init__(
        self,
        make: Callable[[int, Mapping[str, str | int]], _Source | None] = lambda pid, facts: None,
        to_sample: Callable[[Watch], None] = lambda watch: None,
    ) -> None:
        self._make = make
        self._to_sample = to_sample
        self._source: _Source | None = None

    def opened(self, pid: int, facts: Mapping[str, str | int]) -> None:
        """A session is live in process `pid`, with these facts."""
        if self._source is None:
            self._source = self._make(pid, facts)
            if self._source is not None:
                self._to_sample(self)
                self._source.sampler.start()

    def on_turn(self) -> None:
        """The worker is about to time a block: everything is read now, and more at the period."""
        if self._source is not None:
            self._to_sample(self)
            self._source.sampler.wake()

    def off_turn(self) -> None:
        """The block is over: everything is read once more, and nothing until the next one."""
        if self._source is not None:
            self._source.sampler.rest()

    def stop(self) -> None:
        """Ends the sampling without waiting for it."""
        if self._source is not None:
            self._source.sampler.stop()

    def lines(self) -> list[Telemetry]:
        """What was sampled; none when no session was opened or nothing samples its device."""
        self.stop()
        return [] if self._source is None else [self._source.line()]


class Watcher:
    """All measuring processes of a run.

    Parameters
    ----------
    period_s : the time between samples, 0 for no sampling.
    source_of : where the telemetry of a case's device comes from; empty for nowhere.
    """

    def __init__(self, period_s: float, source_of: Callable[[Case], str]) -> None:
        self._period_ns = round(period_s * 1e9)
        self._source_of = source_of
        self._sampling: Watch | None = None
        self._nvml: Nvml | Refused | None = None

    @contextmanager
    def beside(self, case: Case, round: int, attempt: int = 0) -> Iterator[Watch]:
        """Watches one process time a case, as long as the context lasts. Where several last at the same time, one
        samples: the one that was last opened or on turn."""
        name = self._source_of(case) if self._period_ns else ""
        if not name:
            yield Watch()
            return
        if name == NVML and self._nvml is None:
            # now, since it can take longer than the warm-up of a small network
            try:
                self._nvml = answered(Nvml)
            except Refused as refused:
                self._nvml = refused

        def make(pid: int, facts: Mapping[str, str | int]) -> _Source:
            of, connect = (case, round, attempt), self._connect(name, pid, facts)
            return _Source(name, of, self._period_ns, connect, self._hung)

        watch = Watch(make, self._let_others_rest)
        try:
            yield watch
        finally:
            watch.stop()

    def look_at_device(self, process: Process, seconds: float) -> tuple[Cause, ...]:
        """What disturbs the device that a process was on, now that it has ended; looks for so many seconds.
        Nothing at once where the device is not watched, which is not known to be disturbed either."""
        nvml = self._nvml
        if self._source_of(process.case) != NVML or not isinstance(nvml, Nvml):
            return ()
        causes = glance(nvml, lambda: device.find(nvml, process.facts), seconds)
        if causes is None:
            self._hung()
        return causes or ()

    def close(self) -> None:
        """Gives the driver's library back."""
        if isinstance(self._nvml, Nvml):
            with suppress(Refused):
                answered(self._nvml.close)
        self._nvml = None

    def _let_others_rest(self, watch: Watch) -> None:
        if self._sampling not in (None, watch):
            self._sampling.off_turn()
        self._sampling = watch

    def _hung(self) -> None:
        self._nvml = Refused("the driver stopped answering earlier in this run")

    def _connect(
        self, name: str, pid: int, facts: Mapping[str, str | int]
    ) -> Callable[[_Source], list[Probe]]:
        nvml = self._nvml

        def connect(source: _Source) -> list[Probe]:
            if name != NVML:
                raise Refused(f"nothing here reads {name!r}; the only source is {NVML!r}")
            if not isinstance(nvml, Nvml):
                raise nvml or Refused("the driver was not asked")
            found = device.find(nvml, facts)
            source.device_uuid, source.device_name = found.uuid, found.name
            return device_probes(nvml, found, pid)

        return connect


def device_probes(nvml: Nvml, found: device.Device, worker: int) -> list[Probe]:
    """All that is read of a device that the process `worker` uses."""
    return [
        # first, so that two of its readings are never closer than the passes
        gpm.probe(nvml, found),
        *gauges.probes(nvml, found),
        utilization.probe(nvml, found),
        processes.probe(nvml, found, worker),
    ]


class _Source:
    """A sampler, and the line that its readings make."""

    def __init__(
        self,
        name: str,
        of: tuple[Case, int, int],
        period_ns: int,
        connect: Callable[[_Source], list[Probe]],
        on_hung: Callable[[], None],
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
            unavailable = dict.fromkeys(NVML_METRICS, sampler.refusal)
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
