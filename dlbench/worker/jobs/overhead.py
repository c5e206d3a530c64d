"""What the harness costs and how fast the machine multiplies: jobs without a backend."""

from __future__ import annotations

import statistics
import time

import numpy as np

from dlbench.measure.empty_session import EmptySession
from dlbench.measure.timed_steps import time_steps
from dlbench.record.facts import PeakResult, TimerResult
from dlbench.worker.measurements import Job
from dlbench.worker.phases import Phases

_PEAK_SIDE = 2048
_PEAK_REPETITIONS = 3
_PEAK_MOST_S = 0.4
_PEAK_SPELLS = 2
_PEAK_PAUSE_S = 0.05
_NULL_BUDGET_S = 0.1


def peak(job: Job, phases: Phases) -> PeakResult:
    """The rate of `numpy.matmul` of two 2048² float32 matrices, several times over: the fastest of some spells with
    pauses between, since now and then a system has two threads share a core until they have waited once."""
    phases.enter("peak")
    random = np.random.Generator(np.random.SFC64(0))
    left, right = random.random((2, _PEAK_SIDE, _PEAK_SIDE), np.float32)
    product = np.matmul(left, right)
    spells: list[list[float]] = []
    while len(spells) < _PEAK_SPELLS:
        time.sleep(_PEAK_PAUSE_S)
        durations_s: list[float] = []
        while len(durations_s) < _PEAK_REPETITIONS and sum(durations_s) < _PEAK_MOST_S:
            begin = time.perf_counter()
            np.matmul(left, right, out=product)
            durations_s.append(time.perf_counter() - begin)
        spells.append(durations_s)
    fastest = min(spells, key=statistics.median)
    rates = tuple(2 * _PEAK_SIDE**3 / duration_s for duration_s in fastest)
    return PeakResult(flops_per_s=rates, seconds=phases.take_seconds())


def null(job: Job, phases: Phases) -> TimerResult:
    """What a timing costs: an empty session through the same loop."""
    session = EmptySession()
    times = time_steps(session, [None] * 8, "train", {}, _NULL_BUDGET_S, on_phase=phases.enter)
    median_ns = float(np.median(times.timings_ns))
    return TimerResult(null_timing_ns=median_ns, seconds=phases.take_seconds())
