"""Several ranks are held to what data-parallel training is, and what is planted is told by its name."""

import dataclasses

import numpy as np
import pytest
from ranked import RankedAdapter

from dlbench.contract import Plan
from dlbench.errors import ContractError
from dlbench.spec.workload import initial_weights, read_workload
from dlbench.verify.check import verify
from dlbench.verify.checks.rank_agreement import check_ranks
from dlbench.verify.sessions.guard import Guarded

SGD = {"type": "sgd", "learning_rate": 0.05, "momentum": 0.9}
SMALL = {
    "input_shape": [6],
    "layers": [
        {"type": "linear", "out_features": 8},
        {"type": "relu"},
        {"type": "linear", "out_features": 3},
    ],
    "optimizer": SGD,
}
DROPPING = {
    **SMALL,
    "layers": [*SMALL["layers"][:2], {"type": "dropout", "rate": 0.4}, *SMALL["layers"][2:]],
}
NORMALISING = {
    **SMALL,
    "layers": [SMALL["layers"][0], {"type": "batch_norm"}, *SMALL["layers"][1:]],
}
TOLD = {
    "sum": "gradients are summed over ranks, not averaged",
    "same samples": "every rank has the samples of rank 0",
    "own gradients": "each rank steps by its own gradient, which is not averaged",
    "bfloat16": "gradients are averaged in bfloat16, not in float32",
    "batch before": "one step behind: it has its part of the batch before",
    "update behind": "is one step behind rank 0",
    "no update": "does not take the step",
}


def plan(world, batch=8, **changes):
    return Plan("ranked", "cpu", batch, 1, world=world, **changes)


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("table", [SMALL, DROPPING, NORMALISING], ids=["plain", "dropout", "norm"])
def test_ranks_that_are_right_agree_with_the_oracle_of_one_process(table, world, cache_dir):
    found = verify(RankedAdapter(), plan(world, 16), read_workload(table), cache_dir)
    assert "" == found.reason
    names = " ".join(check.name for check in found.checks)
    assert "rank 0's parameters after each step" in names
    assert "every rank has the same parameters, after a step" in names


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("fault", TOLD)
def test_a_planted_fault_is_caught_by_the_check_that_is_meant_for_it(fault, world):
    checks = check_ranks(Guarded(RankedAdapter(fault)), plan(world))
    failed = [check.sentence() for check in checks if not check.passed]
    assert any(TOLD[fault] in sentence for sentence in failed), failed


@pytest.mark.parametrize("fault", TOLD)
def test_a_verification_ends_with_the_fault_as_its_reason(fault, cache_dir):
    found = verify(RankedAdapter(fault), plan(2), read_workload(SMALL), cache_dir)
    assert TOLD[fault] in found.reason


def test_ranks_that_draw_the_same_masks_are_found_where_they_drop_out(cache_dir):
    found = verify(RankedAdapter("same masks"), plan(2), read_workload(DROPPING), cache_dir)
    assert "on two ranks" in found.reason
    assert (
        "" == verify(RankedAdapter("same masks"), plan(2), read_workload(SMALL), cache_dir).reason
    )


def test_statistics_that_are_synchronised_where_they_must_not_be_are_found(cache_dir):
    for world in (2, 4):
        found = verify(
            RankedAdapter("synchronised"), plan(world, 16), read_workload(NORMALISING), cache_dir
        )
        assert "that of the whole batch: statistics are synchronised over ranks" in found.reason


def test_one_process_is_asked_nothing_about_ranks(cache_dir):
    found = verify(RankedAdapter("sum"), plan(1), read_workload(SMALL), cache_dir)
    assert "" == found.reason
    assert not any("rank" in check.name for check in found.checks)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda found: found[:1], "rank_weights() gives 1 of them, should give those of 2 ranks"),
        (lambda found: [found[0], {}], "rank_weights()[1]['linear1.weight'] is missing"),
        (
            lambda found: [found[0], {n: a.astype(np.float64) for n, a in found[1].items()}],
            "rank_weights()[1]['linear1.weight'] is an array of float64",
        ),
    ],
)
def test_weights_of_ranks_are_held_against_the_contract(given, said):
    class Odd(RankedAdapter):
        def open(self, plan, workload, weights):
            session = super().open(plan, workload, weights)
            right = session.rank_weights
            session.rank_weights = lambda: given(right())
            return session

    workload = read_workload(SMALL)
    session = Guarded(Odd()).open(plan(2), workload, initial_weights(workload, 0))
    with pytest.raises(ContractError) as told:
        session.rank_weights()
    assert said in str(told.value)


def test_a_session_of_several_ranks_has_to_offer_what_is_asked_of_them():
    class Lacks(RankedAdapter):
        def open(self, plan, workload, weights):
            session = super().open(plan, workload, weights)
            session.alone_ns = None
            return session

    workload = read_workload(SMALL)
    initial = initial_weights(workload, 0)
    Guarded(Lacks()).open(plan(1), workload, initial)
    with pytest.raises(ContractError, match=r"alone_ns\(batch, steps\) of session RankedSession"):
        Guarded(Lacks()).open(plan(2), workload, initial)


def test_threads_are_shared_by_ranks_and_each_has_one():
    assert [4, 2, 1, 1] == [
        dataclasses.replace(plan(world), threads=4).rank_threads for world in (1, 2, 4, 8)
    ]
