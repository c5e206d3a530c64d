"""What the harness costs and how fast the machine multiplies: jobs without a backend."""

from __future__ import annotations

import time

import numpy as np

from dlbench.measure.empty_session import EmptySession
from dlbench.measure.timed_steps import time_steps
from dlbench.record.facts import PeakResult, TimerResult
from dlbench.worker.measurements import Job
from dlbench.worker.phases import Phases

_PEAK_SIDE = 2048
_PEAK_REPETITIONS = 5
_PEAK_MOST_S = 1.0
_NULL_BUDGET_S = 0.1


def peak(job: Job, phases: Phases) -> PeakResult:
    """The rate of `numpy.matmul` of two 2048² float32 matrices, several times over."""
    phases.enter("peak")
    random = np.random.Generator(np.random.SFC64(0))
    left, right = random.random((2, _PEAK_SIDE, _PEAK_SIDE), np.float32)
    product = np.matmul(left, right)
    flops = 2 * _PEAK_SIDE**3
    rates: list[float] = []
    began = time.perf_counter()
    while len(rates) < _PEAK_REPETITIONS and time.perf_counter() - began < _PEAK_MOST_S:
        begin = time.perf_counter()
        np.matmul(left, right, out=product)
        rates.append(flops / (time.perf_counter() - begin))
    return PeakResult(flops_per_s=tuple(rates), seconds=phases.take_seconds())


def null(job: Job, phases: Phases) -> TimerResult:
    """What a timing costs: an empty session through the same loop."""
    session = EmptySession()
    times = time_steps(session, [None] * 8, "train", {}, _NULL_BUDGET_S, on_phase=phases.enter)
    median_ns = float(np.median(times.timings_ns))
    return TimerResult(null_timing_ns=median_ns, seconds=phases.take_seconds())
