"""Sessions over the stub, against the oracle: every layer, loss and optimizer that cuDNN has, suites and networks."""

from __future__ import annotations

import dataclasses
import functools

import pytest
from dlbench.backends.cupy.adapter import MODES
from stub import PLAN, StubAdapter, StubDevice, verdict_of
from vectors import check_step, failures, step_of, stop_of

from dlbench.errors import PlanRefused
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import initial_weights
from dlbench.verify.checks.dropout import check_dropout
from dlbench.verify.conformance import trials


@functools.cache
def adapter():
    return StubAdapter(StubDevice())


def refusal(trial):
    """Why a trial is refused; empty where it is not."""
    plan = dataclasses.replace(PLAN, batch=trial.batch)
    try:
        adapter().open(plan, trial.workload, initial_weights(trial.workload, 0))
    except PlanRefused as error:
        return str(error)
    return ""


# what is frozen is refused for all backends in one place, before cuDNN is asked
TRIALS = {trial.label: trial for trial in trials(1, 0) if trial.group != "freeze"}
LAYERS = {name: trial for name, trial in TRIALS.items() if trial.group == "layer"}
WHOLE = ("layer:dropout before a linear layer", "optimizer:adam", "random network:seed 0")
"""What is verified as a run verifies it, in `make test`."""


@pytest.mark.parametrize("name", LAYERS)
def test_a_step_with_each_layer_is_the_oracles_or_is_refused(name):
    trial = LAYERS[name]
    if why := refusal(trial):
        assert why.startswith("cudnn ")
        return
    calm = trial.workload.without_dropout()
    plan = dataclasses.replace(PLAN, batch=trial.batch)
    assert [] == check_step(adapter(), plan, calm, stop_of(calm, plan.batch))


def test_only_what_cudnn_lacks_is_refused():
    words = {
        why.removeprefix("cudnn ").partition(" for ")[0] for why in map(refusal, LAYERS.values())
    }
    kinds = {*("conv_transpose2d", "group_norm", "layer_norm", "local_response_norm", "silu")}
    kinds |= {*("hard_sigmoid", "hard_swish", "gelu", "adaptive_avg_pool", "scale")}
    assert {f"has no {kind}" for kind in kinds} == {
        word for word in words if word.startswith("has no ") and "," not in word
    }
    others = {word.partition(", and ")[0] for word in words if ", and " in word}
    assert {"pads both sides alike", "has no ceil_mode"} == others


def parts(whole):
    return [
        pytest.param(name, marks=() if name in WHOLE else pytest.mark.soak)
        for name in whole
        if TRIALS[name].group != "layer" or name in WHOLE or "dropout" in name
    ]


@pytest.mark.parametrize("name", parts(TRIALS))
def test_a_network_is_verified(name, cache_dir):
    verdict = verdict_of(adapter(), TRIALS[name], cache_dir)
    if verdict.refused:
        assert verdict.reason == refusal(TRIALS[name])
        return
    assert "" == verdict.reason


@pytest.mark.soak
@pytest.mark.parametrize("trial", list(trials(30, 100)), ids=lambda trial: trial.name)
def test_more_random_networks_are_verified(trial, cache_dir):
    if trial.group == "random network" and not refusal(trial):
        assert "" == verdict_of(adapter(), trial, cache_dir).reason


SUITES = [
    *(("cnn-mnist", mode) for mode in MODES),
    ("resnet-cifar10", "eager"),
    *(
        pytest.param(name, "graph", marks=pytest.mark.soak)
        for name in ("resnet-cifar10", "vgg-cifar10")
    ),
    pytest.param("densenet-cifar10", "eager", marks=pytest.mark.soak),
]


@pytest.mark.parametrize(("name", "mode"), SUITES)
def test_a_training_step_of_a_suite_is_the_oracles(name, mode):
    plan = dataclasses.replace(PLAN, mode=mode)
    assert [] == check_step(adapter(), plan, *step_of(name))


def test_a_training_step_in_tf32_is_the_oracles_and_says_so():
    plan = dataclasses.replace(PLAN, precision="tf32")
    workload, stop = step_of("ci", "tf32")
    assert [] == check_step(adapter(), plan, workload, stop)
    session = adapter().open(plan, workload, stop.point.weights)
    assert "on" == session.facts["tf32"]


def test_a_session_in_fp32_was_seen_not_to_round():
    workload, stop = step_of("ci")
    assert "off" == adapter().open(PLAN, workload, stop.point.weights).facts["tf32"]


@pytest.mark.parametrize("mode", MODES)
def test_the_dropout_of_a_suite_is_the_oracles(mode):
    plan = dataclasses.replace(PLAN, mode=mode)
    assert [] == failures(check_dropout(adapter(), plan, load_suite("smoke").workload))
