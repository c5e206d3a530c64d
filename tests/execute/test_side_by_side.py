"""Rounds of real processes that live side by side and take turns."""

import dataclasses
import itertools

import msgspec
import neighbours
import pytest

from dlbench.analyse.outcomes import outcomes
from dlbench.execute.side_by_side import LEAST_BLOCKS, blocks_of
from dlbench.record.schema import Process


@pytest.fixture(scope="module")
def two(request_for, carry_out):
    """Two well-behaved backends, two rounds, on two cores."""
    request = request_for(
        backends=("numpy", "broken_adapters:Good"), rounds=2, budget_s=0.3, epochs=0, threads=1
    )
    machine = msgspec.structs.replace(request.machine, usable_cores=2)
    return carry_out(dataclasses.replace(request, machine=machine))


def turns_of(processes):
    """The windows of all blocks in the order of time, each with whose it is."""
    return sorted(
        (started, ended, process.case.backend)
        for process in processes
        for started, ended in zip(process.block_started_ns, process.block_ended_ns, strict=True)
    )


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("scenario", ["train", "infer"])
def test_the_processes_of_a_round_take_turns_and_nobody_follows_upon_itself(two, number, scenario):
    processes = [p for p in two.of(Process) if (p.round, p.case.scenario) == (number, scenario)]
    turns = turns_of(processes)
    names = [name for _, _, name in turns]
    order = ["numpy", "broken_adapters:Good"][:: 1 if number == 1 else -1]
    assert len(turns) >= 2 * LEAST_BLOCKS
    assert names == order * (len(turns) // 2)
    for (_, ended, _), (started, _, _) in itertools.pairwise(turns):
        assert ended <= started


def test_inference_comes_first_and_each_line_says_so(two):
    for process in two.of(Process):
        assert process.scenarios_before == (0 if process.case.scenario == "infer" else 1)
        assert process.first_step_ns > 0
        assert "" == process.alone
        assert sum(process.block_steps) == len(process.timings_ns)


def test_the_first_round_tells_what_a_start_takes_since_each_starts_by_itself_there(two):
    start = {"interpreter", "import", "open"}
    for process in two.of(Process):
        assert start & set(process.seconds) == (start if process.round == 1 else set())


def test_who_computes_while_others_are_on_turn_is_put_to_sleep(request_for, carry_out):
    ran = carry_out(
        request_for(backends=("numpy", "neighbours:Spins"), rounds=1, budget_s=1.0, epochs=0)
    )
    spins, beside = (ran.of(Process, name) for name in ("neighbours:Spins", "numpy"))
    assert {"ok"} == {process.status for process in (*spins, *beside)}
    assert all(process.stopped for process in spins)
    assert not any(process.stopped for process in beside)


def test_who_computes_out_of_reach_is_named_and_its_neighbours_are_marked(request_for, carry_out):
    ran = carry_out(
        request_for(
            backends=("numpy", "neighbours:SpinsElsewhere"), rounds=1, budget_s=1.0, epochs=0
        )
    )
    (own, *_) = ran.of(Process, "neighbours:SpinsElsewhere")
    assert own.idle_cores > 0.15
    found = {each.case.backend: each for each in outcomes(ran.record)}
    assert found["numpy"].disturbed


@pytest.mark.parametrize("backend", ["TakesTheMemory", "TakesTheDevice"])
def test_where_there_is_no_room_one_process_follows_the_other(
    request_for, carry_out, tmp_path, monkeypatch, backend
):
    monkeypatch.setenv(neighbours.LIVING, str(tmp_path))
    names = (f"neighbours:{backend}", f"neighbours:{backend}Too")
    ran = carry_out(request_for(backends=names, rounds=2, epochs=0, own_device=True))
    processes = ran.of(Process)
    assert 8 == len(processes)
    assert {"ok"} == {process.status for process in processes}
    assert all("does not fit beside the others" in process.alone for process in processes)
    for number in (1, 2):
        of_round = [process for process in processes if process.round == number]
        names_in_time = [name for _, _, name in turns_of(of_round)]
        # no turns: one backend, then the other
        assert 2 == len(list(itertools.groupby(names_in_time)))
    assert 1 == sum("one process after the other from here on" in m for m in ran.observer.messages)


def test_what_goes_wrong_in_one_scenario_leaves_the_other_and_the_neighbours_alone(
    request_for, carry_out
):
    ran = carry_out(
        request_for(
            backends=("numpy", "neighbours:CrashesInInference"), rounds=2, budget_s=0.3, epochs=0
        )
    )
    assert {"ok"} == {process.status for process in ran.of(Process, "numpy")}
    assert 4 == len(ran.of(Process, "numpy"))
    crashed = {
        (p.case.scenario, p.round): p for p in ran.of(Process, "neighbours:CrashesInInference")
    }
    assert "exited with code 7" in crashed["infer", 1].reason
    # in a fresh process, which had not timed anything before
    assert ("ok", 0) == (crashed["train", 1].status, crashed["train", 1].scenarios_before)
    assert "ok" == crashed["train", 2].status
    assert ("infer", 2) not in crashed


@pytest.mark.parametrize(
    ("share_s", "slowest_s", "blocks"),
    [
        (2.0, 0.001, 10),
        (2.0, 0.11, 6),
        (0.1, 0.001, 4),
        (0.5, 0.2, 4),
        (0.5, 0.5, 1),
        (1.0, 9.0, 1),
    ],
)
def test_blocks_are_short_but_have_steps_enough(share_s, slowest_s, blocks):
    assert blocks == blocks_of(share_s, slowest_s)
