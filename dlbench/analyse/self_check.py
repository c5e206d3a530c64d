"""What a record says of the harness itself: what a timing costs, what sampling did to timings, whether the clocks
agree, and whether the machine could be watched."""

from __future__ import annotations

import dataclasses

import numpy as np

from dlbench.analyse.statistics import Estimate, Interval, Timed, process_summary, ratio
from dlbench.record.schema import HOST, Process, Record, Sampling, Telemetry


@dataclasses.dataclass(frozen=True)
class SelfMeasurement:
    """See the fields; None is unknown.

    Attributes
    ----------
    null_timing_s : what a timing costs.
    sampling : how many times as long the timings took as they would have without the sampler of the host: what one
        of its passes costs a fixed loop, by how many passes there were a second beside the timings. The
        interval is over pairs of blocks, with and without a pass. What asking a GPU's driver does is not in it.
    device_sampled : whether a GPU's driver was asked beside the timings too.
    sampler_share : processor time of the samplers beside the timings / their time.
    clock_ratios : the least and the largest of the medians of device time / wall time, over processes with device
        events.
    watched : whether the machine could be watched beside every timed process; None where nothing was timed.
    """

    null_timing_s: float | None = None
    sampling: Estimate | None = None
    device_sampled: bool = False
    sampler_share: float | None = None
    clock_ratios: tuple[float, float] | None = None
    watched: bool | None = None


def self_measurement(record: Record) -> SelfMeasurement:
    """From the lines of a record."""
    timed = [p for p in record.lines if isinstance(p, Process) and p.timings_ns]
    beside = [line for line in record.lines if isinstance(line, Telemetry)]
    null_ns = record.null_timing_ns
    return SelfMeasurement(
        null_timing_s=None if null_ns is None else null_ns * 1e-9,
        sampling=_sampling([line for line in record.lines if isinstance(line, Sampling)], beside),
        device_sampled=any(line.source != HOST and line.traces for line in beside),
        sampler_share=_share(beside),
        clock_ratios=_clock_ratios(timed),
        watched=all(p.during and p.during.other_cores is not None for p in timed)
        if timed
        else None,
    )


def _sampling(lines: list[Sampling], beside: list[Telemetry]) -> Estimate | None:
    with_ns = dict(enumerate(Timed(time) for line in lines for time in line.with_ns))
    without_ns = dict(enumerate(Timed(time) for line in lines for time in line.without_ns))
    met = sum(line.passes or 0 for line in lines)
    host = [line for line in beside if line.source == HOST]
    spans_s = [_span_s(line) for line in host]
    if not (with_ns and without_ns and met and sum(spans_s)):
        return None
    passes = sum(max((len(t.t_ns) for t in line.traces.values()), default=0) for line in host)
    # a block is longer by what its share of the passes that met the work cost
    blocks_a_pass = len(with_ns) / met
    share = blocks_a_pass * lines[0].block_ns * 1e-9 * passes / sum(spans_s)
    cost = ratio(with_ns, without_ns)

    def scaled(value: float) -> float:
        return 1 + (value - 1) * share

    interval = cost.interval and Interval(*map(scaled, (cost.interval.low, cost.interval.high)))
    return Estimate(scaled(cost.value), interval, cost.processes)


def _span_s(line: Telemetry) -> float:
    return (line.ended_ns - line.started_ns) * 1e-9 if line.started_ns and line.ended_ns else 0.0


def _share(lines: list[Telemetry]) -> float | None:
    known = [line for line in lines if line.processor_s is not None]
    # earlier versions had a sampler of the host too, over the same time
    total_s = sum(_span_s(line) for line in [x for x in known if x.source == HOST] or known)
    return sum(line.processor_s or 0.0 for line in known) / total_s if total_s > 0 else None


def _clock_ratios(timed: list[Process]) -> tuple[float, float] | None:
    ratios = [
        float(np.median(p.device_ns)) * 1e-9 / process_summary(p.timings_ns)
        for p in timed
        if p.device_ns
    ]
    return (min(ratios), max(ratios)) if ratios else None
