"""What a record says of the harness itself: what a timing costs, what sampling did to timings, whether the clocks
agree, and whether the machine could be watched."""

from __future__ import annotations

import dataclasses

import numpy as np

from dlbench.record import Process, Record, Sampling, Telemetry
from dlbench.stats import Estimate, process_summary, ratio


@dataclasses.dataclass(frozen=True)
class SelfMeasurement:
    """See the fields; None is unknown.

    Attributes
    ----------
    null_timing_s : what a timing costs.
    sampling : time of a fixed piece of work with the sampler of the host / without it, the interval over pairs of
        blocks.
    sampler_share : processor time of the samplers beside the timings / their time.
    clock_ratios : the least and the largest of the medians of device time / wall time, over processes with device
        events.
    watched : whether the machine could be watched beside every timed process; None where nothing was timed.
    """

    null_timing_s: float | None = None
    sampling: Estimate | None = None
    sampler_share: float | None = None
    clock_ratios: tuple[float, float] | None = None
    watched: bool | None = None


def self_measurement(record: Record) -> SelfMeasurement:
    """From the lines of a record."""
    timed = [p for p in record.lines if isinstance(p, Process) and p.timings_ns]
    null_ns = record.null_timing_ns
    return SelfMeasurement(
        null_timing_s=None if null_ns is None else null_ns * 1e-9,
        sampling=_sampling([line for line in record.lines if isinstance(line, Sampling)]),
        sampler_share=_share([line for line in record.lines if isinstance(line, Telemetry)]),
        clock_ratios=_clock_ratios(timed),
        watched=all(p.during and p.during.other_cores is not None for p in timed)
        if timed
        else None,
    )


def _sampling(lines: list[Sampling]) -> Estimate | None:
    with_ns = dict(enumerate(time for line in lines for time in line.with_ns))
    without_ns = dict(enumerate(time for line in lines for time in line.without_ns))
    return ratio(with_ns, without_ns) if with_ns and without_ns else None


def _share(lines: list[Telemetry]) -> float | None:
    known = [
        (line.processor_s, (line.ended_ns - line.started_ns) * 1e-9)
        for line in lines
        if line.processor_s is not None and line.started_ns and line.ended_ns
    ]
    # host and device have a sampler each, over the same time
    sources = {line.source for line in lines}
    total_s = sum(seconds for _, seconds in known) / max(len(sources), 1)
    return sum(used for used, _ in known) / total_s if total_s > 0 else None


def _clock_ratios(timed: list[Process]) -> tuple[float, float] | None:
    ratios = [
        float(np.median(p.device_ns)) * 1e-9 / process_summary(p.timings_ns)
        for p in timed
        if p.device_ns
    ]
    return (min(ratios), max(ratios)) if ratios else None
