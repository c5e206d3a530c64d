"""Which batch sizes a scenario has, and who can carry it out."""

import dataclasses

import pytest

from dlbench.api.asking import request_of
from dlbench.contract import Device
from dlbench.errors import UsageError
from dlbench.plan.backend_status import Found
from dlbench.plan.cases import check, plan
from dlbench.plan.sizes import needs, swept_batches
from dlbench.spec.scenarios import KINDS, SCENARIOS
from dlbench.spec.suite import Matrix

CPU = Found("ok", devices=(Device("cpu", "a CPU"),))
INFERS = dataclasses.replace(CPU, scenarios=("infer",))


@pytest.fixture
def wide(request_for, tiny):
    """A request for a suite of batch 64."""
    suite = dataclasses.replace(tiny, matrix=Matrix(backends=("numpy",), devices=("cpu",)))
    return lambda **choices: request_for(suite=suite, **choices)


def rows(request, seen=CPU):
    return [(case.scenario, case.batch) for case in plan(request, {"numpy": seen}, 800).cases]


def test_latency_is_of_single_samples_unless_a_batch_is_asked_for(wide):
    assert [("latency", 1)] == rows(wide(scenarios=("latency",)))
    assert [("latency", 4)] == rows(wide(scenarios=("latency",), batches=(4,)))
    assert [("multi-stream", 8)] == rows(wide(scenarios=("multi-stream",)))


def test_scenarios_keep_their_batches_beside_each_other(wide):
    chosen = wide(scenarios=("train", "infer", "latency"))
    assert [("train", 64), ("infer", 64), ("latency", 1)] == rows(chosen)
    assert (64, 1) == chosen.chosen_batches


def test_a_suite_that_says_nothing_trains_and_infers(wide):
    assert [("train", 64), ("infer", 64)] == rows(wide())


def test_who_infers_alone_answers_queries(wide):
    chosen = wide(scenarios=("train", "latency"), batches=(1,), backends=("numpy", "torch"))
    planned = plan(chosen, {"numpy": CPU, "torch": INFERS}, 800)
    assert [("torch", "train")] == [(case.backend, case.scenario) for case in planned.problems]
    (found,) = planned.problems.values()
    assert found.reason == "this backend has no scenario 'train'; it has infer"


def test_a_session_of_queries_is_asked_to_infer(wide):
    planned = plan(wide(scenarios=SCENARIOS, batches=(1,)), {"numpy": CPU}, 800)
    assert {case.scenario: case.plan(0).scenario for case in planned.cases} == {
        name: kind.step for name, kind in KINDS.items()
    }


def test_scenarios_of_one_batch_are_verified_once(wide):
    planned = plan(wide(scenarios=("infer", "latency"), batches=(1,)), {"numpy": CPU}, 800)
    assert 1 == len({case.configuration for case in planned.cases})


def test_a_scenario_that_there_is_not_is_refused_with_what_there_is(wide):
    with pytest.raises(UsageError, match="scenario 'latncy' is unknown; did you mean 'latency'"):
        check(wide(scenarios=("latncy",)))


def test_shards_are_of_batches_that_all_scenarios_have():
    chosen = {"scenarios": ("infer", "latency"), "backends": ("numpy",)}
    with pytest.raises(UsageError, match="name them with --batch"):
        request_of("smoke", None, shard="1/2", **chosen)
    assert request_of("smoke", None, shard="1/2", batches=(1, 2), **chosen).shard is not None


def test_offline_goes_through_powers_of_two_as_far_as_memory_goes(wide, tiny):
    batches = wide(scenarios=("offline",)).chosen_batches
    assert [2**n for n in range(10)] == list(batches)
    sizes = [sum(each.size_bytes for each in needs(tiny.workload, batch)) for batch in batches]
    for most, size in zip(batches[:-1], sizes[:-1], strict=True):
        found = swept_batches(tiny.workload, 8 * size)
        assert found[-1] == most


def test_offline_takes_the_batches_that_are_asked_for(wide):
    assert [("offline", 3), ("offline", 64)] == rows(wide(scenarios=("offline",), batches=(3, 64)))


def test_offline_beside_training_leaves_its_batches_alone(wide):
    chosen = wide(scenarios=("train", "offline"))
    assert [64] == [batch for scenario, batch in rows(chosen) if scenario == "train"]
    assert 10 == sum(scenario == "offline" for scenario, _ in rows(chosen))
