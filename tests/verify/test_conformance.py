"""That conformance finds what is planted, though each trial is of one network at one batch and sessions are shared."""

import pytest

pytest.importorskip("torch")

import small
from faulty import FaultyAdapter, known_faults

from dlbench.spec.training import Sgd
from dlbench.verify.conformance import Backend, chosen_trials, judge, trials


def first_failed(fault, only, cache_dir):
    """The label of the first trial that finds a fault; None where none does."""
    backend = Backend(FaultyAdapter(fault))
    chosen = chosen_trials(0, 0, only)
    failed = (t for t in chosen if judge(backend, small.plan(), t, cache_dir).reason)
    return next((trial.label for trial in failed), None)


@pytest.mark.parametrize(
    ("fault", "trial"),
    [
        ("concatenation along height", "layer:concat"),
        ("what lies beyond the padding counts too", "layer:avg_pool that counts padding, in ceil mode"),
        ("option A's zeros in front", "layer:residual, option A"),
        ("option A's zeros on both sides", "layer:residual, option A"),
        ("max pool's padding is zeros", "layer:max_pool"),
        ("bias gradient missing above batch 4", "loss:cross_entropy"),
        ("load keeps the optimizer's state", "optimizer:sgd with momentum"),
        ("learning rate is not settable", "optimizer:sgd"),
        ("norms decay all the same", "optimizer:sgd, biases and norms without decay"),
    ],
)  # fmt: skip
def test_a_trial_finds_what_it_is_for_and_agrees_where_all_is_right(fault, trial, cache_dir):
    assert trial == first_failed(fault, [trial], cache_dir)
    assert None is first_failed(None, [trial], cache_dir)


@pytest.mark.soak
@pytest.mark.parametrize("fault", dict.fromkeys(known_faults()))
def test_every_fault_is_found(fault, cache_dir):
    assert first_failed(fault, [], cache_dir)


def test_optimizers_share_a_network_and_one_with_every_role_where_roles_make_a_difference():
    tried = [trial for trial in trials(0, 0) if trial.group == "optimizer"]
    shared = {}
    for trial in tried:
        by_role = not trial.workload.optimizer.decay_biases_and_norms
        shared.setdefault(by_role, set()).add((trial.workload.nodes, trial.batch))
    assert {False: 1, True: 1} == {by_role: len(networks) for by_role, networks in shared.items()}
    ((nodes, _),) = shared[True]
    roles = {
        parameter.role for node in nodes for parameter in node.parameters if parameter.trainable
    }
    assert {"weight", "bias", "scale", "shift"} == roles
    layers = [trial.workload for trial in trials(0, 0) if trial.group == "layer"]
    assert {Sgd(learning_rate=0.1)} == {workload.optimizer for workload in layers}
