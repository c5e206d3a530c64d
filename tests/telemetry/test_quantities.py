"""Figures from traces: what windows cut out of them, and when there is no figure."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlbench.record.schema import Case, Process, Telemetry, Trace
from dlbench.telemetry import quantities as q
from dlbench.telemetry import windows as w

MS = 1_000_000
CASE = Case("s", "train", "b", "cuda", 10, 1, "fp32", "")


def beside(traces, start_ms=1000, end_ms=3000, period_ms=50, **unavailable):
    """A process that was timed in this window, with these traces: metric → function of the time (s)."""
    process = Process(
        CASE, 1, "ok", "", timings_ns=(MS,), started_ns=start_ms * MS, ended_ns=end_ms * MS
    )
    made = {name: made_of(value, period_ms) for name, value in traces.items()}
    line = Telemetry(CASE, 1, "nvml", period_ms * MS, traces=made, unavailable=unavailable)
    (found,) = q.besides([process], [line])
    return found


def made_of(value, period_ms=50, until_ms=4000):
    """A trace of a function of the time (s) from 0 on."""
    if isinstance(value, Trace):
        return value
    times_ns = tuple(range(0, until_ms * MS + 1, period_ms * MS))
    return Trace(times_ns, tuple(float(value(t * 1e-9)) for t in times_ns))


def counter(watts, step_ms):
    """An energy counter that takes a step each `step_ms`."""
    return lambda s: watts * step_ms * 1e-3 * math.floor(s * 1e3 / step_ms + 1e-6)


@given(st.floats(1, 1000), st.integers(500, 2000), st.integers(500, 2000))
def test_the_mean_of_a_constant_is_the_constant(value, start_ms, long_ms):
    one = beside({"power": lambda s: value}, start_ms, start_ms + long_ms)
    assert pytest.approx(value) == q.mean([one], "power")


def test_the_mean_is_over_time_and_of_the_window_only():
    one = beside({"power": lambda s: 1000.0 if s < 1 or s > 3 else 100 * s})
    assert pytest.approx(200, rel=0.01) == q.mean([one], "power")


def test_windows_count_by_their_length():
    long = beside({"power": lambda s: 100}, 1000, 3000)
    short = beside({"power": lambda s: 400}, 1000, 2000)
    assert pytest.approx(200) == q.mean([long, short], "power")


def test_points_that_are_averages_count_when_the_time_they_average_lies_in_the_window():
    # 900 W before the window: the average over the last second sees it for one second more
    one = beside({"power": lambda s: 900 if s < 1.99 else 300})
    assert pytest.approx(300) == q.mean([one], "power", q.SECOND_NS)
    short = beside({"power": lambda s: 300}, 1000, 2050)
    with pytest.raises(q.TooShort, match=r"2 samples in 1\.1 s"):
        q.mean([short], "power", q.SECOND_NS)


@pytest.mark.parametrize("until_ms", [900, 2000, 2800])
def test_a_trace_that_ends_in_the_window_gives_the_reason_and_no_figure(until_ms):
    trace = made_of(lambda s: 5, until_ms=until_ms)
    for read in (
        lambda one: q.mean([one], "metric"),
        lambda one: q.largest([one], "metric"),
        lambda one: q.throttled([one], "metric"),
        lambda one: q.counted_power([one], "metric"),
    ):
        with pytest.raises(q.Unknown, match="lost"):
            read(beside({"metric": trace}, metric="lost"))


def test_a_trace_that_begins_in_the_window_gives_no_figure():
    whole = made_of(lambda s: 5)
    late = Trace(whole.t_ns[30:], whole.values[30:])
    with pytest.raises(q.Unknown, match="do not cover"):
        q.mean([beside({"metric": late})], "metric")


def test_one_process_without_a_trace_leaves_the_case_without_a_figure():
    with pytest.raises(q.Unknown, match="denied"):
        q.mean([beside({"m": lambda s: 1}), beside({}, m="denied")], "m")


def test_a_share_counts_what_lies_between_two_points_of_the_window():
    # at 1.2 s: the time since 0.8 s, which is not all in the window
    trace = Trace(
        tuple(ms * MS for ms in (400, 800, 1200, 1600, 2000, 2400, 2800, 3200)),
        (0.0, 0.0, 0.1, 0.5, 0.6, 0.7, 0.8, 0.0),
    )
    value, samples = q.share([beside({"utilization": trace})], "utilization")
    assert (pytest.approx(0.65), 4) == (value, samples)


def test_samples_of_several_processes_count_together():
    trace = Trace((1100 * MS, 1400 * MS, 1700 * MS), (0.9, 0.5, 0.5))
    one = beside({"utilization": trace}, 1000, 1800)
    with pytest.raises(q.TooShort, match="2 samples"):
        q.share([one], "utilization")
    assert (0.5, 4) == q.share([one, one], "utilization")


@given(
    st.floats(20, 700),
    st.integers(20, 110),
    st.integers(0, 400),
    st.sampled_from([2000, 3000, 5000]),
)
def test_power_by_the_counter_is_exact_to_a_tenth_where_it_is_given(watts, step_ms, from_ms, long):
    start_ms = 1000 + from_ms
    trace = made_of(counter(watts, step_ms), until_ms=start_ms + long + 500)
    one = beside({"energy_j": trace}, start_ms, start_ms + long)
    found = q.counted_power([one])
    assert pytest.approx(watts, rel=0.1) == found.watts
    # no finer than the sampling
    assert max(step_ms, 50) * 1e-3 == pytest.approx(found.resolution_s, abs=0.051)


def test_a_counter_with_too_few_steps_is_too_short_to_say():
    with pytest.raises(q.TooShort):
        q.counted_power([beside({"energy_j": counter(300, 100)}, 1000, 1400)])


def test_a_counter_that_stands_still_is_stuck_and_not_0():
    with pytest.raises(q.Unknown, match=r"did not move for 2\.0 s"):
        q.counted_power([beside({"energy_j": lambda s: 77})])


def test_a_counter_that_stops_midway_is_stuck_too():
    stops = counter(300, 100)
    with pytest.raises(q.Unknown, match="did not move"):
        q.counted_power([beside({"energy_j": lambda s: stops(min(s, 1.7))})])


def test_a_counter_that_goes_back_gives_no_energy():
    with pytest.raises(q.Unknown, match="went back"):
        q.counted_power([beside({"energy_j": lambda s: 1000 - s * 10})])


def test_throttling_is_the_share_of_samples_and_idling_is_none():
    one = beside({"clock_event_reasons": lambda s: 0x4 if s < 2 else 0x1})
    share, names = q.throttled([one])
    assert pytest.approx(0.5, abs=0.03) == share
    assert ["power cap"] == names


def test_processor_time_is_a_difference_between_points_by_proportion():
    one = beside({"worker_cpu_s": lambda s: 1.5 * s, "busy_cpu_s": lambda s: 100 + 1.9 * s}, 1010)
    assert pytest.approx(1.5) == q.cores([one], "worker_cpu_s")
    assert pytest.approx(0.4) == q.other_cores([one])


def test_counters_of_the_system_that_stand_still_tell_nothing_of_others():
    one = beside({"worker_cpu_s": lambda s: s, "busy_cpu_s": lambda s: 0})
    with pytest.raises(q.Unknown, match="less than the worker"):
        q.other_cores([one])


def test_processor_time_of_a_short_window_is_too_short_to_say():
    with pytest.raises(q.TooShort):
        q.cores([beside({"worker_cpu_s": lambda s: s}, 1000, 1100)], "worker_cpu_s")


def test_what_is_read_seldom_counts_from_just_beside_the_window():
    trace = Trace((0, 900 * MS, 3100 * MS, 4000 * MS), (9.0, 2.0, 3.0, 9.0))
    assert 3 == q.largest([beside({"m": trace})], "m")


def test_a_record_that_does_not_say_when_the_window_ended_has_its_steps_added_up():
    process = Process(CASE, 1, "ok", "", timings_ns=(5, 6), started_ns=100)
    assert (w.Window(100, 111),) == w.windows_of(process)
    assert () == w.windows_of(Process(CASE, 1, "failed", ""))
