"""In which order rounds are measured, and how often: with processes that are made up."""

import dataclasses
import math

import msgspec
import numpy as np
import pytest
from windows import BURNING, CASE, CONFINED, OTHER, QUIET

from dlbench.analyse.speedup import baseline_or_none
from dlbench.analyse.statistics import case_estimate
from dlbench.execute.quiet_machine import Patience
from dlbench.execute.scheduler import Measured, Schedule, carry_out, needed, rounds_wanted
from dlbench.host.cause import Cause, Kind, told
from dlbench.record.facts import Check
from dlbench.record.schema import Process, Telemetry, Trace

START_NS, SECOND_NS = 5_000_000_000, 1_000_000_000
ON_DEVICE = (Cause(Kind.DEVICE_SHARED, 1),)
FAR = msgspec.structs.replace(CASE, batch=64)
TORCH = msgspec.structs.replace(CASE, backend="torch")


def shared(case):
    """What was sampled beside a process that had to share its device."""
    times_ns = (START_NS, START_NS + SECOND_NS)
    traces = {"other_processes": Trace(times_ns, (1.0, 1.0))}
    return Telemetry(case, 1, "nvml", SECOND_NS, traces=traces)


def process(case, number, median_s=1e-3, **changes):
    """A process whose steps all took the same time."""
    window = {"started_ns": START_NS, "ended_ns": START_NS + SECOND_NS}
    timings_ns = (round(median_s * 1e9),) * 3
    return Process(
        case,
        number,
        **({"status": "ok", "reason": "", "timings_ns": timings_ns} | window | changes),
    )


class Script:
    """Measures as it is told to, and remembers what was asked: of each round its cases, its number and its attempt."""

    def __init__(
        self,
        surroundings=(),
        medians_s=lambda case, number: 1e-3,
        status=lambda case: "ok",
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
        names = "+".join(case.scenario for case in turn.cases)
        self.asked.append((names, turn.number, turn.attempt))
        return [self._one(case, turn) for case in turn.cases]

    def _one(self, case, turn):
        late = next(self._late, False)
        return Measured(
            process(
                case,
                turn.number,
                self._medians_s(case, turn.number),
                status=self._status(case),
                attempt=turn.attempt,
                during=next(self._surroundings, QUIET),
                canary_ns=(300_000, 300_000),
                seconds={"measure": 1.0},
                settling=Check("time", "", 2.0, 1.0, 1.0, 0.5, 0.0, not late),
            ),
            [line for line in [next(self._beside, None)] if line],
            lambda seconds: next(self._looks_at_device, ()),
        )

    def schedule(self, patience_s=0.0, looks=(), cases=(CASE,), **options):
        looks = iter(looks)

        def look(seconds):
            return dataclasses.replace(next(looks, QUIET), window_s=seconds)

        patience = Patience(patience_s, 2, lambda text: None, look)
        baseline = baseline_or_none(None, cases)
        return Schedule(cases, baseline, patience, lambda *wait: self.waits.append(wait), **options)

    def rounds(self, rounds, patience_s=0.0, **options):
        """Carries rounds out; the cases that are well."""
        schedule = self.schedule(patience_s, **options)
        carry_out(schedule.rounds(rounds), self.measure)
        return schedule.well

    def narrow(self, target, **options):
        """The same for what narrows intervals."""
        schedule = self.schedule(**options)
        carry_out(schedule.narrow(target), self.measure)
        return schedule.well


def held_of(cases, numbers, **changes):
    """What an earlier part of a run has measured of cases in these rounds."""
    return {
        case: {number: process(case, number, **changes) for number in numbers} for case in cases
    }


def test_the_cases_of_one_batch_size_are_measured_together_and_each_round_goes_the_other_way():
    script = Script()
    cases = [CASE, OTHER, FAR]
    assert cases == script.rounds(3, cases=cases)
    both, far = "train+infer", "train"
    assert [(both, 1, 0), (far, 1, 0), (far, 2, 0), (both, 2, 0), (both, 3, 0), (far, 3, 0)] == (
        script.asked
    )


def test_a_round_that_is_there_as_a_whole_is_not_measured_again():
    script = Script()
    script.rounds(3, held=held_of([CASE, OTHER], [2]), cases=[CASE, OTHER])
    assert [("train+infer", 1, 0), ("train+infer", 3, 0)] == script.asked


def test_a_round_of_which_a_part_is_there_is_measured_anew_as_a_whole_one_attempt_further():
    script = Script()
    held = held_of([CASE, OTHER, FAR], [1]) | held_of([CASE], [1, 2], attempt=1)
    script.rounds(2, held=held, cases=[CASE, OTHER, FAR])
    assert [("train", 2, 0), ("train+infer", 2, 2)] == script.asked


def test_a_case_that_went_wrong_makes_no_round_whole_for_others():
    script = Script(status=lambda case: "failed" if case == CASE else "ok")
    held = held_of([CASE, OTHER], [1]) | held_of([CASE], [1, 2, 3])
    assert [OTHER] == script.rounds(3, held=held, cases=[CASE, OTHER])
    assert [("infer", 3, 1)] == script.asked[1:]


def test_a_case_that_went_wrong_is_not_gone_on_with():
    script = Script(status=lambda case: "failed")
    assert [] == script.rounds(3, 60.0)
    assert [("train", 1, 0)] == script.asked


def test_a_case_that_went_wrong_leaves_the_others_of_its_round():
    script = Script(status=lambda case: "failed" if case == CASE else "ok")
    assert [OTHER] == script.rounds(2, cases=[CASE, OTHER])
    assert [("train+infer", 1, 0), ("infer", 2, 0)] == script.asked


def test_a_round_of_which_one_process_was_disturbed_is_measured_again_as_a_whole():
    script = Script([QUIET, BURNING])
    script.rounds(1, 10.0, cases=[CASE, OTHER])
    assert [("train+infer", 1, 0), ("train+infer", 1, 1)] == script.asked
    ((waited_for, _, _),) = script.waits
    assert OTHER == waited_for.case


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


def scattered_s(case, number):
    """Medians whose scatter is worth nine rounds of ± 1 % in training, and nothing later."""
    scatter = {"train": 0.008, "infer": 0.001}[case.scenario] if number <= 6 else 0.0
    return 1e-3 * (1 + scatter * (-1) ** number)


def test_the_first_rounds_say_how_many_more_there_are_of_all_that_are_measured_together():
    script = Script(medians_s=scattered_s)
    schedule = script.schedule(cases=[CASE, OTHER, FAR])
    carry_out(schedule.rounds(6), script.measure)
    del script.asked[:]
    carry_out(schedule.narrow(0.01), script.measure)
    assert [CASE, OTHER, FAR] == schedule.well
    logs = [math.log(scattered_s(CASE, number)) for number in range(1, 7)]
    assert 9 == needed(logs, 0.01, math.sqrt(math.pi / 2))
    further = [(cases, number, 0) for cases in ("train+infer", "train") for number in (7, 8, 9)]
    assert further == script.asked


def test_a_row_with_a_baseline_is_counted_by_its_ratio_to_it():
    def processes(own, base):
        lines = {TORCH: own, CASE: base}
        return {
            case: {
                number: process(case, number, 1e-3 * (1 + (-1) ** number * scatter))
                for number in range(1, 7)
            }
            for case, scatter in lines.items()
        }

    def wanted(cases, *scatter):
        baseline = baseline_or_none(None, [CASE, TORCH])
        return rounds_wanted(cases, baseline, processes(*scatter), 0.01, 6)

    # what both have in common is in no ratio
    assert 6 == wanted([TORCH], 0.008, 0.008)
    assert 9 == wanted([CASE], 0.008, 0.008) == wanted([CASE, TORCH], 0.008, 0.008)
    logs = [math.log1p(0.009 * (-1) ** number) for number in range(1, 7)]
    assert 6 < needed(logs, 0.01) == wanted([TORCH], 0.009, 0.0) <= 12
    # each against the other
    assert 12 == wanted([TORCH], 0.02, -0.02)


def test_a_case_with_too_few_rounds_in_common_with_its_baseline_wants_the_least():
    baseline = baseline_or_none(None, [CASE, TORCH])
    held = held_of([TORCH], range(1, 7)) | held_of([CASE], range(1, 4))
    assert 6 == rounds_wanted([TORCH], baseline, held, 0.01, 6)


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


def test_narrowing_measures_at_most_as_many_rounds_again():
    script = Script(medians_s=lambda case, number: 1e-3 * (1 + number % 5))
    schedule = script.schedule()
    carry_out(schedule.rounds(6), script.measure)
    carry_out(schedule.narrow(0.01), script.measure)
    assert [("train", number, 0) for number in range(1, 13)] == script.asked


def test_narrowing_goes_on_from_what_an_earlier_part_of_the_run_measured():
    held = {CASE: {n: process(CASE, n, scattered_s(CASE, n)) for n in range(1, 9)}}
    script = Script()
    script.narrow(0.01, held=held)
    assert [("train", 9, 0)] == script.asked


def test_a_case_that_goes_wrong_when_its_interval_is_narrowed_is_not_gone_on_with():
    script = Script(status=lambda case: "failed")
    held = {CASE: {number: process(CASE, number, 1e-3 * number) for number in range(1, 7)}}
    assert [] == script.narrow(0.01, held=held)
    assert [("train", 7, 0)] == script.asked
