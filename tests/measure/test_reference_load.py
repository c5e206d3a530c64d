"""What something else does to a fixed piece of work is seen when it meets the work, and only then."""

import os
import statistics
import threading
import time

import pytest

from dlbench.execute import results
from dlbench.measure import reference_load
from dlbench.record.facts import SamplingResult
from dlbench.record.schema import Case, Telemetry, Trace

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
TRIES = 4


def burn(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_what_is_set_off_at_the_beginning_of_a_block_meets_its_work():
    """3 ms of a thread in a block of 25 ms, on every core; others may use this machine meanwhile."""

    def enter(on):
        if on:
            threading.Thread(target=burn, args=(0.003,)).start()

    for _ in range(TRIES):
        on, off = reference_load.in_turn(CORES, enter)
        pairs = [a.piece_ns / b.piece_ns for a, b in zip(on, off, strict=True)]
        if (ratio := statistics.median(pairs)) > 1.05:
            break
    assert ratio > 1.05


def test_half_of_the_blocks_are_told_to_be_with_it_and_all_are_told_after_they_began():
    told = []
    on, off = reference_load.in_turn(1, lambda on: told.append((on, time.perf_counter_ns())))
    assert [True, False, False, True] * (reference_load.PAIRS // 2) == [on for on, _ in told]
    blocks = sorted([*on, *off], key=lambda block: block.began_ns)
    for (_, told_ns), block in zip(told, blocks, strict=True):
        assert block.began_ns <= told_ns <= block.ended_ns
        assert block.ended_ns - block.began_ns >= reference_load.BLOCK_NS


@pytest.mark.parametrize(
    ("times_ns", "passes"), [((15, 25, 45), 2), ((5, 25), 0), ((), 0)], ids=str
)
def test_the_passes_in_blocks_with_one_are_counted_by_the_clock(times_ns, passes):
    case = Case("ci", "train", "numpy", "cpu", 32, 1, "fp32", "")
    trace = Trace(times_ns, (0.0,) * len(times_ns))
    beside = Telemetry(case, 0, "host", 10**9, traces={"busy_cpu_s": trace})
    result = SamplingResult(
        seconds={},
        with_ns=(1.0, 1.0),
        without_ns=(1.0, 1.0),
        windows_ns=((10, 20), (40, 50)),
        block_ns=10,
    )
    assert passes == results.sampling(1, result, [beside]).passes
