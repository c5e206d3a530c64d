import dataclasses

import msgspec
import pytest
from windows import BURNING, CASE, CONFINED, OTHER, QUIET, UNKNOWN

from dlbench.analyse.disturbance import causes, judge, passes, watched
from dlbench.host.cause import Cause, at_worst
from dlbench.record.schema import Case, Header, Process, Record, Telemetry, Trace, Wait


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ()),
        ({"other_cores": 0.2}, ()),
        ({"other_cores": 0.5}, ("other processes had 0.5 cores",)),
        ({"other_cores": 1.0}, ("other processes had 1 core",)),
        # what others use of cores that are left free counts half
        ({"other_cores": 1.0, "usable_cores": 4, "granted_cores": 4}, ()),
        (
            {"other_cores": 1.5, "usable_cores": 4, "granted_cores": 4},
            ("other processes had 1.5 cores",),
        ),
        ({"stolen_cores": 0.05}, ()),
        ({"stolen_cores": 0.1}, ("the hypervisor took 0.1 cores",)),
        ({"throttled_share": 0.005}, ()),
        ({"throttled_share": 0.3}, ("held back by its quota 30 % of the time",)),
        ({"throttled_share": 1.7}, ("held back by its quota 100 % of the time",)),
        ({"memory_waiting_share": 0.04}, ()),
        ({"memory_waiting_share": 0.5}, ("processes waited for memory 50 % of the time",)),
        ({"quota_cores": 2.0}, ()),
        ({"quota_cores": 1.5}, ("a quota of 1.5 cores for 2 threads",)),
        ({"usable_cores": 1}, ("confined to 1 core for 2 threads",)),
        ({"usable_cores": 2, "granted_cores": 8}, ("confined to 2 of 8 cores",)),
        # one core is left to the harness: as those who pin benchmarks should do it
        ({"usable_cores": 3, "granted_cores": 8}, ()),
        ({"waiting_share": 0.9, "preemptions_per_s": 500.0}, ()),
    ],
)
def test_each_cause_has_its_threshold(changes, told):
    assert told == tuple(map(str, causes(dataclasses.replace(QUIET, **changes), 2)))


def test_what_is_unknown_is_no_cause():
    assert () == causes(None, 2) == causes(UNKNOWN, 2)


@pytest.mark.parametrize(("window_s", "disturbed"), [(0.01, False), (0.05, True), (1.0, True)])
def test_counting_by_ticks_says_little_of_a_short_window(window_s, disturbed):
    seen = dataclasses.replace(QUIET, window_s=window_s, other_cores=0.9)
    assert disturbed == bool(causes(seen, 2))


def test_who_else_is_there_may_go_and_what_is_granted_stays():
    assert passes(causes(BURNING, 2))
    assert not passes(causes(CONFINED, 2))
    assert not passes(causes(dataclasses.replace(QUIET, quota_cores=1.5, throttled_share=0.2), 2))
    assert passes(causes(dataclasses.replace(CONFINED, other_cores=0.9), 2))
    assert not passes(())


def test_rewording_a_message_changes_no_decision(monkeypatch):
    def decided():
        throttled = dataclasses.replace(QUIET, quota_cores=1.5, throttled_share=0.2)
        windows = BURNING, CONFINED, throttled, dataclasses.replace(CONFINED, other_cores=0.9)
        found = judged(timed(1), timed(2, 0, BURNING), timed(2, 1, BURNING), timed(3, 0, CONFINED))
        return [passes(causes(window, 2)) for window in windows], found.kept, found.disturbed

    before = decided()
    monkeypatch.setattr(Cause, "__str__", lambda self: "confined, a quota or held back")
    assert before == decided()


def test_several_processes_are_summed_up_by_kind_whatever_the_words_each_at_its_worst(monkeypatch):
    found = [
        causes(dataclasses.replace(QUIET, **seen), 2)
        for seen in ({"other_cores": 0.5}, {"other_cores": 0.9, "stolen_cores": 0.2}, {})
    ]
    assert "other processes had 0.9 cores, the hypervisor took 0.2 cores" == at_worst(found)
    monkeypatch.setattr(Cause, "__str__", lambda self: f"{self.amount} are gone")
    assert "0.9 are gone, 0.2 are gone" == at_worst(found)


def timed(number, attempt=0, during=QUIET, **changes):
    """A process of CASE."""
    fields = {"timings_ns": (1_000_000,) * 3, "canary_ns": (300_000, 300_000), "during": during}
    return Process(CASE, number, "ok", "", attempt=attempt, **(fields | changes))


def taking_turns(case, number, attempt=0, during=QUIET, **changes):
    """A process that took turns, in two blocks."""
    fields = {
        "case": case,
        "block_steps": (2, 1),
        "block_started_ns": (0, 2),
        "block_ended_ns": (1, 3),
    }
    return msgspec.structs.replace(timed(number, attempt, during), **(fields | changes))


def judged(*lines):
    """What the processes of CASE among these lines of a record come to."""
    return judged_all(*lines, cases=(CASE,))[0]


def judged_all(*lines, cases=(CASE, OTHER)):
    """The same of each of several cases."""
    header = Header(1, "", "", "", "", {}, "", 0, 0, 0, None, 0, 1, 1.0, None, cases)
    seen = watched(Record(header, lines))
    processes = [line for line in lines if isinstance(line, Process)]
    return [judge([line for line in processes if line.case == case], seen) for case in cases]


def test_of_each_round_the_first_attempt_that_was_not_disturbed_counts():
    lines = [
        timed(1, 0),
        timed(2, 0, BURNING),
        timed(2, 1, BURNING),
        timed(2, 2),
        timed(3, 0),
        Wait(CASE, 2, (), dataclasses.replace(QUIET, window_s=30.0), True),
    ]
    found = judged(*lines)
    assert [(1, 0), (2, 2), (3, 0)] == [(p.round, p.attempt) for p in found.kept]
    assert found.disturbed is False
    assert "other processes had 0.9 cores in 2 more, measured again" == found.text


def test_a_round_that_stayed_disturbed_has_its_last_attempt_and_its_mark():
    found = judged(timed(1), timed(2, 0, BURNING), timed(2, 1, BURNING), timed(3))
    assert [(1, 0), (2, 1), (3, 0)] == [(p.round, p.attempt) for p in found.kept]
    assert found.disturbed
    assert found.text.startswith("other processes had 0.9 cores in 1 of 3 processes; ")
    assert found.text.endswith("in 1 more, measured again")


def test_of_a_round_whose_processes_took_turns_one_attempt_counts_for_all_of_them():
    def kept(*attempts, alone=""):
        """Which attempt counts for each of two cases, with who was disturbed in each attempt."""
        lines = [
            taking_turns(case, 1, attempt, BURNING if case in disturbed else QUIET, alone=alone)
            for attempt, disturbed in enumerate(attempts)
            for case in (CASE, OTHER)
        ]
        return [found.kept[0].attempt for found in judged_all(*lines)]

    both = (CASE, OTHER)
    assert [1, 1] == kept([CASE], [])
    assert [0, 0] == kept([], [CASE])
    assert [1, 1] == kept(both, [CASE])
    assert [0, 0] == kept([OTHER], both)
    # of as many, the last
    assert [2, 2] == kept([OTHER], both, [CASE])
    assert [1, 0] == kept([CASE], [OTHER], alone="too large to live beside others")


def test_a_process_that_was_measured_again_with_its_neighbours_is_not_called_disturbed_for_it():
    ours, other = judged_all(
        taking_turns(CASE, 1, 0),
        taking_turns(OTHER, 1, 0, BURNING),
        Wait(CASE, 1, (), dataclasses.replace(QUIET, window_s=30.0), True),
        taking_turns(CASE, 1, 1),
        taking_turns(OTHER, 1, 1),
    )
    assert (ours.disturbed, ours.text) == (False, "")
    assert "other processes had 0.9 cores in 1 more, measured again" == other.text


def test_an_attempt_that_was_cut_off_does_not_count_and_a_case_that_went_wrong_decides_nothing():
    cut_off = judged_all(
        taking_turns(CASE, 1, 0), taking_turns(CASE, 1, 1, BURNING), taking_turns(OTHER, 1, 1)
    )
    assert [1, 1] == [found.kept[0].attempt for found in cut_off]
    wrong = judged_all(
        taking_turns(CASE, 1, 0),
        taking_turns(OTHER, 1, 0),
        taking_turns(CASE, 1, 1, BURNING),
        taking_turns(OTHER, 1, 1, BURNING, status="failed"),
    )
    assert 0 == wrong[0].kept[0].attempt
    # only one was missing when the run was gone on with
    resumed = judged_all(taking_turns(CASE, 1, 0, BURNING), taking_turns(OTHER, 1, 1))
    assert [0, 1] == [found.kept[0].attempt for found in resumed]


def test_a_round_of_another_batch_size_is_measured_again_by_itself():
    larger = msgspec.structs.replace(OTHER, batch=64)
    ours, others = judged_all(
        taking_turns(CASE, 1, 0),
        taking_turns(larger, 1, 0, BURNING),
        taking_turns(CASE, 1, 1, BURNING),
        taking_turns(larger, 1, 1),
        cases=(CASE, larger),
    )
    assert (0, 1) == (ours.kept[0].attempt, others.kept[0].attempt)


def test_no_row_counts_as_undisturbed_where_nothing_could_be_watched():
    assert judged(timed(1, during=UNKNOWN)).disturbed is None
    assert judged(timed(1, during=None)).disturbed is None
    assert judged(timed(1)).disturbed is False
    slower = timed(2, during=UNKNOWN, canary_ns=(600_000, 620_000))
    assert judged(timed(1, during=UNKNOWN), slower).disturbed


def test_a_reference_load_that_slows_down_is_a_cause_beside_its_own_backend_only():
    assert judged(timed(1), timed(2, canary_ns=(310_000, 600_000))).disturbed is False
    found = judged(timed(1), timed(2, canary_ns=(600_000, 610_000)))
    assert found.disturbed
    assert "the reference load took 2.0 times as long as at best in 1 of 2 processes" == found.text
    # torch's threads spin beside the load, all of the time
    torch = Case("tiny", "train", "torch", "cpu", 32, 2, "fp32", "eager")
    beside = Process(torch, 1, "ok", "", timings_ns=(1,), canary_ns=(600_000,), during=QUIET)
    assert judged(timed(1), timed(2), beside).disturbed is False


def test_others_that_come_and_go_between_the_timings_disturb_the_run_as_a_whole():
    often = dataclasses.replace(QUIET, other_cores=0.97)
    found = judged(timed(1, before=often), timed(2, after=often))
    assert found.disturbed
    assert "other processes had 0.5 cores on average over the whole run" == found.text
    waited = Wait(OTHER, 1, (), dataclasses.replace(BURNING, window_s=3.0), False)
    assert judged(timed(1), timed(2), waited).disturbed


def test_others_on_the_device_and_clocks_held_down_are_causes():
    def line(**traces):
        times = (0, 400_000_000, 900_000_000, 1_100_000_000)
        made = {name: Trace(times, tuple(map(float, values))) for name, values in traces.items()}
        return Telemetry(CASE, 1, "nvml", 500_000_000, traces=made)

    process = timed(1, started_ns=100_000_000, ended_ns=1_000_000_000)
    at_rest = line(other_processes=(0, 0, 0, 0), clock_event_reasons=(1, 1, 0, 0))
    assert judged(process, at_rest).disturbed is False
    shared = judged(process, line(other_processes=(0, 0, 2, 2)))
    assert "2 other processes on the device in 1 of 1 process" == shared.text
    capped = judged(process, line(clock_event_reasons=(0, 4, 4, 0)))
    assert "power cap held the clocks down 50 % of the time in 1 of 1 process" == capped.text
    # what was sampled beside another attempt says nothing of this one
    other = msgspec.structs.replace(line(clock_event_reasons=(0, 4, 4, 0)), attempt=1)
    assert judged(process, other).disturbed is False


@pytest.mark.parametrize(
    ("facts", "advised"),
    [
        ({"openmp": "libgomp"}, True),
        ({"openmp": "libgomp", "omp_wait_policy": "ACTIVE"}, True),
        ({"openmp": "libgomp", "omp_wait_policy": "PASSIVE"}, False),
        ({"threads": 2}, False),
    ],
)
def test_who_disturbs_threads_that_spin_is_told_what_helps(facts, advised):
    advice = "OMP_WAIT_POLICY=passive"
    assert advised == (advice in judged(timed(1, during=BURNING, facts=facts)).text)
    assert advice not in judged(timed(1, facts=facts)).text
