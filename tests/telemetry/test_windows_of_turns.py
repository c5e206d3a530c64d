"""Figures of processes that took turns: what others did in between is in none of them."""

import dataclasses
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlbench.record.schema import Case, Process, Telemetry, Trace
from dlbench.telemetry import quantities as q
from dlbench.telemetry import windows as w

MS = 1_000_000
CASE = Case("s", "train", "b", "cuda", 10, 1, "fp32", "")


def beside(windows_ms, traces, period_ms=50):
    """A process with these windows, and what was read beside it."""
    starts, ends = ([ms * MS for ms in side] for side in zip(*windows_ms, strict=True))
    process = Process(
        CASE,
        1,
        "ok",
        "",
        timings_ns=(MS,) * len(windows_ms),
        started_ns=starts[0],
        ended_ns=ends[-1],
        block_steps=(1,) * len(windows_ms),
        block_started_ns=tuple(starts),
        block_ended_ns=tuple(ends),
    )
    line = Telemetry(CASE, 1, "nvml", period_ms * MS, traces=traces)
    (found,) = q.besides([process], [line])
    return found


def passes_ms(windows_ms, period_ms=50, before_ms=20, after_ms=5):
    """When a sampler reads that is told of turns: a little before each window, at the period, and after it."""
    times = []
    for start, end in windows_ms:
        times += [*range(start - before_ms, end + after_ms, period_ms), end + after_ms]
    return times


def trace(windows_ms, value, **options):
    """What a function of the time (ms) gives when it is read."""
    times = passes_ms(windows_ms, **options)
    return Trace(tuple(ms * MS for ms in times), tuple(float(value(ms)) for ms in times))


def in_a_window(windows_ms, ms):
    return any(start <= ms <= end for start, end in windows_ms)


@st.composite
def turns(draw, shortest_ms=1, longest_ms=3000, most=8):
    """Windows with rests between them in which others may take turns."""
    windows, now = [], draw(st.integers(100, 1000))
    for _ in range(draw(st.integers(1, most))):
        end = now + draw(st.integers(shortest_ms, longest_ms))
        windows.append((now, end))
        now = end + draw(st.integers(100, 4000))
    return windows


FIGURES = {
    "mean": lambda one: q.mean([one], "m"),
    "average of a second": lambda one: q.mean([one], "m", q.SECOND_NS),
    "typical": lambda one: q.typical([one], "m"),
    "largest": lambda one: q.largest([one], "m"),
    "throttled": lambda one: q.throttled([one], "m"),
}


def told(figure, one):
    try:
        return figure(one)
    except q.Unknown as reason:
        return type(reason), str(reason)


@pytest.mark.parametrize("name", FIGURES)
@given(turns(), st.integers(1, 255), st.integers(1, 255))
def test_what_is_read_outside_of_the_windows_is_in_no_figure(name, windows, own, others):
    read = trace(windows, lambda ms: own)
    changed = trace(windows, lambda ms: own if in_a_window(windows, ms) else others)
    expected = told(FIGURES[name], beside(windows, {"m": read}))
    assert expected == told(FIGURES[name], beside(windows, {"m": changed}))
    if name != "throttled" and not isinstance(expected, tuple):
        assert pytest.approx(own) == expected


@given(turns(), st.floats(0.1, 0.9), st.floats(0.1, 0.9))
def test_a_share_of_the_time_since_the_last_reading_lies_in_one_window(windows, own, others):
    starts = [start for start, _ in windows]

    def value(ms):
        # what is told first in a turn is of the rest before it, and the next of the time before the window too
        (start,) = [each for each in starts if each - 20 <= ms][-1:]
        return others if ms < start + 50 or not in_a_window(windows, ms) else own

    one = beside(windows, {"m": trace(windows, value)})
    found = told(lambda one: q.share([one], "m"), one)
    if q.valid_samples([one], "m") < w.LEAST_POINTS:
        assert q.TooShort is found[0]
    else:
        assert (pytest.approx(own), q.valid_samples([one], "m")) == found


def test_figures_are_there_in_turns_of_a_fifth_of_a_second():
    windows = [(1000 * i, 1000 * i + 200) for i in range(1, 11)]
    one = beside(windows, {"m": trace(windows, lambda ms: 4)})
    for name in ("mean", "typical", "largest"):
        assert pytest.approx(4) == FIGURES[name](one)
    assert (1.0, ["power cap"]) == FIGURES["throttled"](one)
    assert (4.0, 30) == q.share([one], "m")
    assert pytest.approx(2.0) == q.seconds([one])


def test_samples_of_all_windows_count_together_and_windows_without_one_are_left_out():
    windows = [(1000, 1010), (2000, 2010), (3000, 3010)]
    times, values = (1005, 2005, 3005), (1.0, 2.0, 6.0)
    whole = Trace(tuple(ms * MS for ms in times), values)
    assert pytest.approx(3.0) == q.mean([beside(windows, {"m": whole})], "m")
    fewer = Trace(whole.t_ns[::2], whole.values[::2])
    with pytest.raises(q.TooShort, match=r"2 samples in 0\.03 s"):
        q.mean([beside(windows, {"m": fewer})], "m")
    # the second one was missed
    more = [(1000, 1010), (1500, 1520), *windows[1:]]
    assert pytest.approx(3.0) == q.mean([beside(more, {"m": whole})], "m")


def test_windows_of_different_lengths_count_by_them():
    windows = [(1000, 1400), (3000, 3200)]
    one = beside(windows, {"m": trace(windows, lambda ms: 100 if ms < 2000 else 400)})
    assert pytest.approx(200) == q.mean([one], "m")


def test_an_average_of_a_second_needs_windows_that_are_longer():
    short = [(1000 * i, 1000 * i + 900) for i in range(1, 20)]
    with pytest.raises(q.TooShort, match="0 samples in 17 s"):
        FIGURES["average of a second"](beside(short, {"m": trace(short, lambda ms: 300)}))
    # others drew 900 W until the window began: it is seen for a second more
    long = [(2000, 4000), (6000, 8000)]
    read = trace(long, lambda ms: 900 if ms < 3000 or 5000 < ms < 7000 else 300)
    assert pytest.approx(300) == FIGURES["average of a second"](beside(long, {"m": read}))


def test_sampling_that_ended_before_the_last_window_gives_no_figure():
    windows = [(1000, 1200), (2000, 2200), (3000, 3200)]
    read = trace(windows[:2], lambda ms: 5)
    for figure in FIGURES.values():
        with pytest.raises(q.Unknown, match="do not cover"):
            figure(beside(windows, {"m": read}))


def energy(windows, own_w, others_w, step_ms=100, **options):
    """The counter of a device that draws one power in windows and another beside them, read as a sampler does."""

    def joules(ms):
        stepped = step_ms * math.floor(ms / step_ms)
        own_ms = w.time_in([w.Window(*each) for each in windows], stepped)
        return (own_ms * own_w + (stepped - own_ms) * others_w) * 1e-3

    return trace(windows, joules, **options)


@given(turns(1, 4000), st.floats(50, 700), st.floats(0, 700), st.integers(20, 110))
def test_power_by_the_counter_is_exact_to_a_tenth_where_it_is_given(windows, own, others, step_ms):
    # the first step that is seen in a window is the first that ends in it, so what is before it is left out
    one = beside(windows, {"energy_j": energy(windows, own, others, step_ms)})
    try:
        found = q.counted_power([one])
    except q.TooShort:
        assert min(end - start for start, end in windows) < 1000
        return
    assert pytest.approx(own, rel=0.1) == found.watts


def test_steps_of_the_counter_are_added_up_over_windows():
    # 0.7 s each: six or seven steps, no window by itself has enough
    windows = [(2000 * i, 2000 * i + 700) for i in range(1, 6)]
    found = q.counted_power([beside(windows, {"energy_j": energy(windows, 300, 80)})])
    assert pytest.approx(300, rel=0.1) == found.watts


def test_turns_of_a_fifth_of_a_second_are_too_short_for_the_counter_however_many_there_are():
    windows = [(1000 * i, 1000 * i + 200) for i in range(1, 100)]
    with pytest.raises(q.TooShort, match="of the counter in 20 s"):
        q.counted_power([beside(windows, {"energy_j": energy(windows, 300, 80)})])


def test_with_a_shorter_period_the_counter_tells_of_turns_of_a_fifth_of_a_second():
    windows = [(1003 * i, 1003 * i + 200) for i in range(1, 20)]
    read = energy(windows, 300, 80, period_ms=5)
    found = q.counted_power([beside(windows, {"energy_j": read}, period_ms=5)])
    assert pytest.approx(300, rel=0.1) == found.watts


def test_a_step_that_is_seen_after_a_rest_was_taken_at_any_time_in_it():
    windows = [(1000, 3000), (9000, 11000)]
    read = energy(windows, 300, 80, step_ms=500)
    # the sampler was late: its first reading in the second turn lies in the window, long after a step
    kept = [i for i, t in enumerate(read.t_ns) if not 8900 < t / MS < 9350]
    late = Trace(tuple(read.t_ns[i] for i in kept), tuple(read.values[i] for i in kept))
    found = q.counted_power([beside(windows, {"energy_j": late})])
    assert pytest.approx(300, rel=0.03) == found.watts


def test_a_counter_that_stands_still_over_all_turns_is_stuck():
    windows = [(1000 * i, 1000 * i + 200) for i in range(1, 11)]
    with pytest.raises(q.Unknown, match=r"did not move for 2\.0 s"):
        q.counted_power([beside(windows, {"energy_j": trace(windows, lambda ms: 77)})])


@given(turns(1, 30, most=60))
def test_a_counter_that_moves_between_short_turns_is_not_stuck(windows):
    with pytest.raises(q.TooShort):
        q.counted_power([beside(windows, {"energy_j": energy(windows, 300, 80)})])


@given(turns(), st.floats(0, 2), st.floats(0, 2))
def test_a_rise_is_of_the_windows_alone(windows, own, others):
    whole = [w.Window(*each) for each in windows]

    def used(ms):
        # the reading before a window is a moment too early: what is used in that moment is as in the window
        near = [w.Window(start - 20, end + 5) for start, end in windows]
        return own * w.time_in(near, ms) + others * (ms - w.time_in(near, ms))

    one = beside(windows, {"m": trace(windows, used)})
    length_ms = w.time_in(whole, windows[-1][1])
    if length_ms < 1000 * q.LEAST_HOST_S:
        with pytest.raises(q.TooShort):
            q.cores([one], "m")
    else:
        assert pytest.approx(1000 * own, rel=1e-6, abs=1e-6) == q.cores([one], "m")


def test_a_rise_between_readings_of_two_turns_is_none():
    windows = [(1000, 2000), (5000, 6000)]
    read = trace(windows, lambda ms: ms)
    kept = [i for i, t in enumerate(read.t_ns) if not 4000 < t / MS < 5100]
    late = Trace(tuple(read.t_ns[i] for i in kept), tuple(read.values[i] for i in kept))
    with pytest.raises(q.Unknown, match="do not cover"):
        q.cores([beside(windows, {"m": late})], "m")


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=6), st.integers(0, 3000))
def test_windows_that_adjoin_have_the_time_of_the_whole(lengths, at):
    ends = [sum(lengths[: i + 1]) for i in range(len(lengths))]
    parts = [w.Window(end - length, end) for end, length in zip(ends, lengths, strict=True)]
    assert w.time_in([w.Window(0, ends[-1])], at) == w.time_in(parts, at)


def test_a_process_without_blocks_keeps_its_one_window():
    one = beside([(1000, 2000), (3000, 4000)], {})
    assert (w.Window(1000 * MS, 2000 * MS), w.Window(3000 * MS, 4000 * MS)) == one.windows
    earlier = msgspec.structs.replace(
        one.process, block_steps=(), block_started_ns=(), block_ended_ns=()
    )
    assert (w.Window(1000 * MS, 4000 * MS),) == w.windows_of(earlier)
    # and what is read just beside it counts
    line = dataclasses.replace(one, process=earlier, windows=w.windows_of(earlier))
    read = Trace((900 * MS, 4100 * MS), (2.0, 3.0))
    seen = Telemetry(CASE, 1, "nvml", 50 * MS, traces={"m": read})
    assert 3 == q.largest([dataclasses.replace(line, telemetry=seen)], "m")
