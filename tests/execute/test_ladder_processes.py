"""A ladder that is timed in one process after another, as one line of the record."""

import dataclasses

from record_makers import make_case

from dlbench.execute import results
from dlbench.execute.ladder_turns import LADDER_S, processes_of
from dlbench.record.facts import ProfileResult, RungTimes, Surroundings
from dlbench.worker.supervisor import Ended

UNKNOWN = dict.fromkeys(field.name for field in dataclasses.fields(Surroundings))


def process(first_ns, other_cores):
    return Ended(
        "ok",
        result=ProfileResult(
            rungs=(
                RungTimes("empty", "", "infer", "", (first_ns, first_ns + 1)),
                RungTimes("ceiling", "product", "infer", "", (first_ns + 5,)),
            ),
            round_ended_ns=(first_ns * 10, first_ns * 10 + 1),
            during=Surroundings(**UNKNOWN | {"window_s": 2.0, "other_cores": other_cores}),
            facts={"threads": 2},
            seconds={"open": 1.5},
            version="1.0",
            libraries={},
        ),
    )


def test_rounds_of_all_processes_follow_one_another():
    found = results.profile(make_case(), [process(100, 0.0), process(200, 1.0)])
    assert "ok" == found.status
    assert 2 == found.processes
    assert [(100, 101, 200, 201), (105, 205)] == [rung.blocks_ns for rung in found.rungs]
    assert (1000, 1001, 2000, 2001) == found.round_ended_ns
    assert 0.5 == found.during.other_cores
    assert 4.0 == found.during.window_s
    assert {"open": 3.0} == found.seconds


def test_one_process_that_went_wrong_is_what_is_told():
    wrong = Ended("failed", "killed by signal 9 while timing", output="last words", wall_s=4.0)
    found = results.profile(make_case(), [process(100, 0.0), wrong])
    assert ("failed", "killed by signal 9 while timing") == (found.status, found.reason)
    assert "last words" == found.output
    assert not found.rungs


def test_a_budget_is_shared_by_processes_of_nine_seconds():
    assert [1, 1, 1, 2, 3, 4] == [processes_of(s) for s in (0.1, LADDER_S, 12.0, 18.0, 27.0, 36.0)]
