"""In which order processes are measured, and how often: with processes that are made up."""

import dataclasses

import numpy as np
import pytest
from windows import BURNING, CASE, CONFINED, OTHER, QUIET

from dlbench.analyse.statistics import case_estimate
from dlbench.execute.quiet_machine import Patience
from dlbench.execute.scheduler import Measured, Schedule, carry_out, needed
from dlbench.host.cause import Cause, Kind, told
from dlbench.record.facts import Check
from dlbench.record.schema import Process, Telemetry, Trace

START_NS, SECOND_NS = 5_000_000_000, 1_000_000_000
ON_DEVICE = (Cause(Kind.DEVICE_SHARED, 1),)


def shared(case):
    """What was sampled beside a process that had to share its device."""
    times_ns = (START_NS, START_NS + SECOND_NS)
    traces = {"other_processes": Trace(times_ns, (1.0, 1.0))}
    return Telemetry(case, 1, "nvml", SECOND_NS, traces=traces)


class Script:
    """Measures as it is told to, and remembers what was asked."""

    def __init__(
        self,
        surroundings=(),
        medians_s=lambda case, number: 1e-3,
        status="ok",
        beside=(),
        looks_at_device=(),
        late=(),
    ):
        self.asked = []
        self.waits = []
        self._surroundings = iter(surroundings)
        self._medians_s = medians_s
        self._status = status
        self._beside = iter(beside)
        self._late = iter(late)
        self._looks_at_device = iter(looks_at_device)

    def measure(self, turn):
        case, number, attempt = turn
        self.asked.append((case.scenario, number, attempt))
        window = {"started_ns": START_NS, "ended_ns": START_NS + SECOND_NS}
        return Measured(
            Process(
                case,
                number,
                self._status,
                "",
                timings_ns=(round(self._medians_s(case, number) * 1e9),) * 3,
                attempt=attempt,
                during=next(self._surroundings, QUIET),
                canary_ns=(300_000, 300_000),
                seconds={"measure": 1.0},
                settling=Check("time", "", 2.0, 1.0, 1.0, 0.5, 0.0, not next(self._late, False)),
                **window,
            ),
            [line for line in [next(self._beside, None)] if line],
            lambda seconds: next(self._looks_at_device, ()),
        )

    def schedule(self, patience_s=0.0, looks=(), cases=(CASE,), **options):
        looks = iter(looks)

        def look(seconds):
            return dataclasses.replace(next(looks, QUIET), window_s=seconds)

        patience = Patience(patience_s, 2, lambda text: None, look)
        return Schedule(cases, patience, lambda *wait: self.waits.append(wait), **options)

    def rounds(self, rounds, patience_s=0.0, there=(), **options):
        """Carries rounds out; the cases that are well."""
        schedule = self.schedule(patience_s, **options)
        carry_out(schedule.rounds(rounds, there), self.measure)
        return schedule.well

    def narrow(self, target, processes, **options):
        """The same for what narrows intervals."""
        schedule = self.schedule(**options)
        carry_out(schedule.narrow(target, processes), self.measure)
        return schedule.well


def test_each_round_goes_the_other_way():
    script = Script()
    assert [CASE, OTHER] == script.rounds(3, cases=[CASE, OTHER])
    names = [(name, number) for name, number, _ in script.asked]
    assert names == [
        ("train", 1),
        ("infer", 1),
        ("infer", 2),
        ("train", 2),
        ("train", 3),
        ("infer", 3),
    ]


def test_what_the_record_has_is_not_measured_again():
    script = Script()
    script.rounds(2, there={(CASE, 2)}, cases=[CASE, OTHER])
    assert [("train", 1, 0), ("infer", 1, 0), ("infer", 2, 0)] == script.asked


def test_a_case_that_went_wrong_is_not_gone_on_with():
    script = Script(status="failed")
    assert [] == script.rounds(3, 60.0)
    assert [("train", 1, 0)] == script.asked


def test_a_disturbed_process_is_waited_out_and_measured_again():
    script = Script([BURNING])
    script.rounds(2, 10.0, looks=[BURNING, BURNING])
    assert [("train", 1, 0), ("train", 1, 1), ("train", 2, 0)] == script.asked
    ((process, by, waited),) = script.waits
    assert (1, "other processes had 0.9 cores") == (process.round, told(by))
    assert waited.quiet
    assert pytest.approx(0.9) == waited.seen.window_s
    assert pytest.approx((0.9 + 0.9 + 0.03) / 3) == waited.seen.other_cores


def test_a_device_that_others_use_is_waited_out_although_the_cpu_is_at_rest():
    script = Script(beside=[shared(CASE)], looks_at_device=[ON_DEVICE, ON_DEVICE])
    script.rounds(1, 10.0)
    assert [("train", 1, 0), ("train", 1, 1)] == script.asked
    ((_, by, waited),) = script.waits
    assert ON_DEVICE == by
    assert waited.quiet
    # two looks with somebody on the device, one without
    assert pytest.approx(0.9) == waited.seen.window_s


def test_a_device_that_others_keep_is_not_measured_on_again():
    script = Script(beside=[shared(CASE)] * 9, looks_at_device=[ON_DEVICE] * 99)
    script.rounds(1, 1.2)
    assert [("train", 1, 0)] == script.asked
    ((_, _, waited),) = script.waits
    assert not waited.quiet


def test_a_process_is_measured_three_times_at_most():
    script = Script([BURNING] * 9)
    script.rounds(1, 60.0)
    assert [("train", 1, 0), ("train", 1, 1), ("train", 1, 2)] == script.asked


def test_patience_is_for_the_whole_run_and_measuring_again_is_taken_from_it():
    script = Script([BURNING] * 9)
    # 0.3 s of waiting, 1 s of measuring again
    script.rounds(2, 1.2)
    assert [("train", 1, 0), ("train", 1, 1), ("train", 2, 0)] == script.asked


def test_a_machine_that_does_not_come_to_rest_is_waited_for_once_and_not_measured_again():
    script = Script([BURNING] * 9)
    script.rounds(3, 2.0, looks=[BURNING] * 99)
    assert [("train", 1, 0), ("train", 2, 0), ("train", 3, 0)] == script.asked
    ((_, _, waited),) = script.waits
    assert not waited.quiet
    assert 2.0 <= waited.seen.window_s < 2.5


def test_what_no_wait_can_end_is_not_waited_for():
    script = Script([CONFINED] * 9)
    script.rounds(2, 60.0)
    assert [("train", 1, 0), ("train", 2, 0)] == script.asked
    assert [] == script.waits


def test_without_patience_nothing_is_measured_again():
    script = Script([BURNING] * 9)
    script.rounds(2, 0.0)
    assert [("train", 1, 0), ("train", 2, 0)] == script.asked


def test_a_process_whose_steps_were_not_finished_is_measured_again_without_patience():
    script = Script(late=[True])
    assert [CASE] == script.rounds(2)
    assert [("train", 1, 0), ("train", 1, 1), ("train", 2, 0)] == script.asked
    assert [] == script.waits


def test_a_backend_whose_steps_are_never_finished_has_failed():
    script = Script(late=[True] * 9)
    assert [] == script.rounds(2)
    assert [("train", 1, 0), ("train", 1, 1), ("train", 1, 2)] == script.asked


def test_on_a_disturbed_machine_steps_that_are_not_finished_prove_nothing():
    script = Script([BURNING] * 9, late=[True] * 9)
    assert [CASE] == script.rounds(1)
    assert [CASE] == script.rounds(1, 60.0)
    # at rest once, late once: it has not repeated
    script = Script([BURNING, QUIET, BURNING], late=[True] * 9)
    assert [CASE] == script.rounds(1, 60.0)


def test_the_first_rounds_say_how_many_processes_more_each_case_gets():
    scatter = {"train": 0.02, "infer": 0.001}

    def median_s(case, number):
        return 1e-3 * (1 + (scatter[case.scenario] if number <= 6 else 0.0) * (-1) ** number)

    script = Script(medians_s=median_s)
    schedule = script.schedule(cases=[CASE, OTHER])
    carry_out(schedule.rounds(6), script.measure)
    carry_out(schedule.narrow(0.01, 1000), script.measure)
    assert [CASE, OTHER] == schedule.well
    further = script.asked[12:]
    assert [("train", 7 + n, 0) for n in range(len(further))] == further
    # whatever the later ones look like
    assert needed([median_s(CASE, number) for number in range(1, 7)], 0.01) == 6 + len(further)
    assert 30 < len(further) < 80


@pytest.mark.parametrize("draw", ["normal", "skewed"])
def test_intervals_whose_processes_were_counted_beforehand_cover_the_truth(draw):
    random = np.random.default_rng(7)

    def medians_s(count, scatter):
        if draw == "normal":
            return list(np.exp(scatter * random.standard_normal(count)))
        return list(np.exp(scatter * (random.exponential(size=count) - np.log(2))))

    for scatter in (0.005, 0.01, 0.02):
        covered, runs = 0, 1000
        for _ in range(runs):
            pilot = medians_s(6, scatter)
            rest = medians_s(min(needed(pilot, 0.01), 60) - 6, scatter)
            interval = case_estimate(pilot + rest).interval
            covered += interval.low <= 1 <= interval.high
        assert covered / runs > 0.93


def test_narrowing_ends_with_its_budget_of_processes():
    script = Script(medians_s=lambda case, number: 1e-3 * (1 + number % 5))
    schedule = script.schedule()
    carry_out(schedule.rounds(6), script.measure)
    carry_out(schedule.narrow(0.01, 4), script.measure)
    assert 10 == len(script.asked)


def test_narrowing_goes_on_from_what_an_earlier_part_of_the_run_measured():
    held = {CASE: {number: 1e-3 * (1 + number % 2) for number in range(1, 9)}}
    script = Script()
    script.narrow(0.01, 1, held=held)
    assert [("train", 9, 0)] == script.asked


def test_a_case_that_goes_wrong_when_its_interval_is_narrowed_is_not_gone_on_with():
    script = Script(status="failed")
    held = {CASE: {number: 1e-3 * number for number in range(1, 7)}}
    assert [] == script.narrow(0.01, 5, held=held)
    assert 1 == len(script.asked)
