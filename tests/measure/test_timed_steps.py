import gc
import itertools

import pytest

from dlbench.measure.copies import time_downloads, upload_all
from dlbench.measure.device_events import time_device_steps, time_idle_synchronize
from dlbench.measure.empty_session import EmptySession
from dlbench.measure.first_steps import first_steps
from dlbench.measure.timed_steps import (
    BEAT_NS,
    LEAST_STEPS,
    MIN_TIMINGS,
    STEPS_FROM_INITIAL,
    STEPS_TO_JUDGE,
    WARMUP_SHARE,
    TimedSteps,
    time_steps,
)

MS = 1_000_000


class FakeSession(EmptySession):
    """Advances its own clock: every call costs what it is told to."""

    def __init__(self, step_ns, synchronize_ns=0, load_ns=0):
        self.now_ns = 0
        self.step_ns = step_ns if callable(step_ns) else lambda step: step_ns
        self.synchronize_ns = synchronize_ns
        self.load_ns = load_ns
        self.steps = 0
        self.calls = []
        self.batches = []

    def clock(self):
        return self.now_ns

    def train_step(self, batch):
        self.calls.append("step")
        self.batches.append(batch)
        self.now_ns += self.step_ns(self.steps)
        self.steps += 1

    def infer(self, batch):
        self.train_step(batch)

    def synchronize(self):
        self.calls.append("synchronize")
        self.now_ns += self.synchronize_ns

    def load(self, weights, *, keep_optimizer=False):
        assert not keep_optimizer
        self.calls.append("load")
        self.now_ns += self.load_ns


def timed(session, scenario="train", budget_s=1.0, batches=range(8), on_phase=lambda phase: None):
    return time_steps(
        session, list(batches), scenario, {}, budget_s, clock=session.clock, on_phase=on_phase
    )


def test_a_timing_covers_the_step_and_its_synchronisation_and_nothing_else():
    session = FakeSession(step_ns=3 * MS, synchronize_ns=2 * MS, load_ns=500 * MS)
    times = timed(session, budget_s=3.0)
    assert {5 * MS} == set(times.timings_ns) | set(times.warmup_ns) | {times.first_step_ns}


def test_the_first_step_and_the_warm_up_are_kept_apart_from_the_timings():
    session = FakeSession(lambda step: {0: 900 * MS, 2: 400 * MS}.get(step, 10 * MS))
    times = timed(session)
    assert 900 * MS == times.first_step_ns
    assert 400 * MS in times.warmup_ns
    assert {10 * MS} == set(times.timings_ns)
    assert times.steady is True


def test_sampling_lasts_as_long_as_the_budget():
    times = timed(FakeSession(10 * MS), budget_s=2.0, scenario="infer")
    assert sum(times.timings_ns) == pytest.approx(2e9, rel=0.01)


def test_sampling_starts_where_the_record_says():
    session = FakeSession(10 * MS)
    times = timed(session, scenario="infer")
    (block,) = times.blocks
    assert block.started_ns == times.first_step_ns + sum(times.warmup_ns)
    assert block.ended_ns == block.started_ns + sum(block.timings_ns)


def test_warm_up_that_never_gets_steady_ends_with_its_share_and_says_so():
    times = timed(FakeSession(lambda step: 10 * MS + step * MS), budget_s=2.0)
    assert times.steady is False
    assert sum(times.warmup_ns) <= 1.2 * WARMUP_SHARE * 2e9


@pytest.mark.parametrize(
    ("step_s", "at_least"),
    [(0.2, MIN_TIMINGS), (5, LEAST_STEPS)],
)
def test_slow_steps_are_timed_often_enough(step_s, at_least):
    times = timed(FakeSession(round(step_s * 1e9)), scenario="infer", budget_s=1.0)
    assert len(times.timings_ns) == at_least
    assert times.steady is None


def test_training_goes_back_to_the_initial_weights_off_the_clock():
    session = FakeSession(1 * MS, load_ns=70 * MS)
    times = timed(session, budget_s=1.0)
    steps = 1 + len(times.warmup_ns) + len(times.timings_ns)
    assert session.calls.count("load") == (steps - 1) // STEPS_FROM_INITIAL
    assert {1 * MS} == set(times.timings_ns)
    runs = "".join(
        "L" if call == "load" else "s" for call in session.calls if call != "synchronize"
    )
    assert {STEPS_FROM_INITIAL} == {len(run) for run in runs.split("L")[:-1]}
    assert times.steps_since_load == len(runs.split("L")[-1])


@pytest.mark.parametrize("budget_s", [x / 100 for x in range(3, 150, 7)])
def test_training_never_ends_too_close_to_the_initial_weights(budget_s):
    session = FakeSession(1 * MS)
    times = timed(session, budget_s=budget_s)
    assert STEPS_TO_JUDGE <= times.steps_since_load <= STEPS_FROM_INITIAL
    assert list(reversed(session.calls))[: 2 * times.steps_since_load].count("load") == 0


def test_a_training_step_slower_than_the_budget_still_gives_enough_steps_to_judge():
    times = timed(FakeSession(100 * 1000 * MS), budget_s=1.0)
    assert times.steps_since_load == STEPS_TO_JUDGE


def test_inference_never_loads_weights():
    session = FakeSession(1 * MS)
    timed(session, scenario="infer", budget_s=1.0)
    assert "load" not in session.calls


def test_every_step_takes_the_next_resident_batch():
    session = FakeSession(1 * MS)
    timed(session, batches="abcde", budget_s=0.1)
    assert session.batches == [("abcde")[n % 5] for n in range(len(session.batches))]


def test_garbage_is_not_collected_while_sampling_and_is_again_after():
    seen = set()
    session = FakeSession(lambda step: seen.add((step > 40, gc.isenabled())) or MS)
    timed(session, budget_s=0.1)
    assert (True, False) in seen
    assert (True, True) not in seen
    assert gc.isenabled()


def warm(session, scenario="train", budget_s=1.0, **options):
    """The timing of a scenario that is warmed up."""
    steps = TimedSteps(session, list(range(8)), scenario, {}, clock=session.clock, **options)
    steps.warm_up(budget_s)
    return steps


def test_a_block_lasts_for_its_time_by_the_clock():
    session = FakeSession(10 * MS)
    steps = warm(session, "infer")
    began_ns = session.now_ns
    block = steps.block(0.2)
    assert (began_ns, began_ns + 200 * MS) == (block.started_ns, block.ended_ns)
    assert (10 * MS,) * 20 == block.timings_ns


@pytest.mark.parametrize(("least", "steps"), [({}, LEAST_STEPS), ({"least": 7}, 7)])
def test_a_block_of_slow_steps_has_as_many_as_are_asked_for(least, steps):
    block = warm(FakeSession(10 * MS), "infer").block(0.001, **least)
    assert (10 * MS,) * steps == block.timings_ns
    assert block.ended_ns == block.started_ns + 10 * MS * steps


def test_a_block_has_no_more_steps_than_are_asked_for():
    steps = warm(FakeSession(10 * MS), "infer")
    assert (10 * MS,) * 4 == steps.block(0.2, 4, most=4).timings_ns
    assert (10 * MS,) * 4 == steps.block(0.001, 4, most=4).timings_ns


def test_what_happens_between_blocks_is_in_none_of_them():
    session = FakeSession(10 * MS)
    steps = warm(session, "infer")
    first = steps.block(0.1)
    session.now_ns += 5000 * MS
    second = steps.block(0.1)
    times = steps.finish()
    assert (first, second) == times.blocks
    assert first.timings_ns + second.timings_ns == times.timings_ns == (10 * MS,) * 20
    assert 5000 * MS == second.started_ns - first.ended_ns


def test_steps_that_lead_a_block_are_taken_and_not_sampled():
    session = FakeSession(lambda step: (90 if led_from <= step < led_from + 2 else 10) * MS)
    led_from = 10**9
    steps = warm(session, "infer")
    led_from, began_ns = session.steps, session.now_ns
    block = steps.block(0.1, lead_s=0.1)
    # the second begins within the time to lead, and ends behind it
    assert began_ns + 180 * MS == block.started_ns
    assert (10 * MS,) * 10 == block.timings_ns
    assert led_from + 12 == session.steps


def test_blocks_go_on_over_the_batches_and_back_to_the_initial_weights_as_one_block_does():
    session = FakeSession(1 * MS, load_ns=70 * MS)
    steps = warm(session)
    for _ in range(7):
        assert {1 * MS} == set(steps.block(0.011, lead_s=0.004).timings_ns)
    times = steps.finish()
    assert session.batches == [n % 8 for n in range(len(session.batches))]
    runs = "".join(
        "L" if call == "load" else "s" for call in session.calls if call != "synchronize"
    )
    assert {STEPS_FROM_INITIAL} == {len(run) for run in runs.split("L")[:-1]}
    assert times.steps_since_load == len(runs.split("L")[-1]) >= STEPS_TO_JUDGE


def test_training_goes_on_behind_the_last_block_until_it_can_be_judged_and_inference_does_not():
    for scenario, further in (("train", 6), ("infer", 0)):
        session = FakeSession(1 * MS)
        steps = warm(session, scenario)
        # two steps behind a reset
        steps.block(0, (2 - session.steps) % STEPS_FROM_INITIAL + STEPS_FROM_INITIAL)
        taken = session.steps
        times = steps.finish()
        assert taken + further == session.steps
        assert taken == 1 + len(times.warmup_ns) + len(times.timings_ns)
        if scenario == "train":
            assert STEPS_TO_JUDGE == times.steps_since_load


def test_garbage_is_collected_between_timings_alone_from_the_first_block_to_the_end(monkeypatch):
    session = FakeSession(1 * MS)
    collected = []

    def collect():
        collected.append(session.steps)
        session.now_ns += 70 * MS

    monkeypatch.setattr(gc, "collect", collect)
    steps = warm(session, "infer")
    assert gc.isenabled()
    blocks = []
    for _ in range(3):
        blocks.append(steps.block(0.2, 20))
        # also while others are on turn
        assert not gc.isenabled()
    times = steps.finish()
    assert gc.isenabled()
    assert {1 * MS} == set(times.timings_ns)
    # before the first block, off its clock, and from then on wherever training would be set back
    warmed = 1 + len(times.warmup_ns)
    pauses = [n for n in range(1, session.steps) if n % STEPS_FROM_INITIAL == 0]
    assert sorted([warmed, *pauses]) == collected
    before = sum(n <= warmed for n in collected)
    assert (warmed + 70 * before) * MS == blocks[0].started_ns


def test_the_typical_step_is_the_median_of_the_warm_up():
    session = FakeSession(lambda step: {0: 900, 3: 400}.get(step, 10) * MS)
    assert pytest.approx(0.01) == warm(session).typical_s


def test_a_beat_is_told_off_the_clock_and_not_more_often_than_needed():
    session, beats = FakeSession(1000 * MS), []

    def beat():
        beats.append(session.now_ns)
        session.now_ns += 7 * MS

    steps = warm(session, "infer", beat=beat)
    block = steps.block(60.0)
    assert {1000 * MS} == set(block.timings_ns)
    assert {BEAT_NS + 7 * MS} == {b - a for a, b in itertools.pairwise(beats[1:])}


def test_the_phases_are_told_as_they_begin():
    phases = []
    timed(FakeSession(MS), on_phase=phases.append)
    assert ["warm-up", "measure"] == phases


def test_uploads_and_downloads_are_timed_until_the_device_is_done():
    session = FakeSession(7 * MS, synchronize_ns=2 * MS)
    batches, upload_ns = upload_all(session, [1, 2, 3], [4, 5, 6], clock=session.clock)
    assert 3 == len(batches)
    assert (2 * MS,) * 3 == upload_ns
    session.download = lambda result: setattr(session, "now_ns", session.now_ns + 5 * MS)
    assert {5 * MS} == set(time_downloads(session, 0, "infer", clock=session.clock))


def test_an_idle_synchronisation_is_timed_without_a_step():
    session = FakeSession(7 * MS, synchronize_ns=2 * MS)
    assert 2 * MS == time_idle_synchronize(session, clock=session.clock)
    assert {"synchronize"} == set(session.calls)


def test_what_training_gives_is_downloaded_in_training_and_an_output_in_inference():
    for scenario, wanted in (("train", "loss"), ("infer", "output")):
        session = FakeSession(MS)
        session.train_step = lambda batch: "loss"
        session.infer = lambda batch: "output"
        downloaded = []
        session.download = downloaded.append
        time_downloads(session, 0, scenario, clock=session.clock)
        assert {wanted} == set(downloaded)


class FakeDeviceClock:
    """Reads the session's clock, as a device that keeps time with its work."""

    def __init__(self, session):
        self.session = session

    def mark(self):
        self.session.calls.append("mark")
        return self.session.now_ns

    def between_ns(self, begin, end):
        return end - begin


def test_a_session_without_a_clock_of_its_own_has_no_device_times():
    session = FakeSession(MS)
    assert () == time_device_steps(session, [0], "train", {})
    assert [] == session.calls


@pytest.mark.parametrize("scenario", ["train", "infer"])
def test_a_device_time_lies_between_two_marks_around_a_step_on_an_idle_device(scenario):
    session = FakeSession(3 * MS, synchronize_ns=2 * MS, load_ns=50 * MS)
    session.device_clock = FakeDeviceClock(session)
    times = time_device_steps(session, list(range(8)), scenario, {})
    assert {3 * MS} == set(times)
    assert STEPS_FROM_INITIAL - 3 == len(times)
    loads = ["load"] if scenario == "train" else []
    one = ["synchronize", "mark", "step", "mark", "synchronize"]
    assert loads + one * STEPS_FROM_INITIAL == session.calls


def test_a_device_that_takes_seconds_is_not_asked_sixteen_times():
    session = FakeSession(10_000 * MS)
    session.device_clock = FakeDeviceClock(session)
    assert (10_000 * MS,) == time_device_steps(session, [0], "infer", {})


def test_of_an_empty_session_only_the_clock_is_timed():
    looks = itertools.count()
    session = EmptySession()
    times = time_steps(session, [None] * 8, "train", {}, 1e-6, clock=lambda: next(looks))
    assert len(times.timings_ns) > 100
    assert {1} == set(times.timings_ns)


@pytest.mark.parametrize(("seconds", "steps"), [(0.084, 8), (0.086, 9), (0.1, 10), (0.104, 10)])
def test_a_block_ends_where_a_further_step_would_lie_beyond_its_time_by_more_than_half(
    seconds, steps
):
    assert steps == len(warm(FakeSession(10 * MS), "infer").block(seconds).timings_ns)


def first(session, seconds, step="train"):
    return first_steps(session, list(range(8)), step, {}, seconds, clock=session.clock)


def test_first_steps_are_those_behind_the_first_one_and_a_short_warm_up():
    session = FakeSession(lambda step: {0: 900 * MS, 1: 40 * MS}.get(step, 10 * MS), 1 * MS)
    # the warm-up lasts 0.2 s: a step of 41 ms and fifteen of 11 ms
    assert (11 * MS,) * 37 == first(session, 0.4)
    assert 1 + 16 + 37 == session.calls.count("step")


@pytest.mark.parametrize("step", ["train", "infer"])
def test_of_steps_longer_than_their_time_one_is_a_first_step(step):
    session = FakeSession(step_ns=2_000 * MS)
    assert (2_000 * MS,) == first(session, 0.3, step)
    assert 3 == session.calls.count("step")
