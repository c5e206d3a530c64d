"""On a GPU with the real libraries, where `pytest -m gpu` chooses them: what the stub cannot show."""

from __future__ import annotations

import dataclasses

import pytest
from dlbench.backends.cudnn.adapter import Adapter
from stub import PLAN
from vectors import check_step, failures, step_of, stop_of

from dlbench.errors import BackendUnavailable, PlanRefused
from dlbench.spec.suite import load_suite
from dlbench.verify.checks.dropout import check_dropout
from dlbench.verify.conformance import trials

pytestmark = pytest.mark.gpu
LAYERS = {trial.name: trial for trial in trials(0, 0) if trial.group == "layer"}


@pytest.fixture(scope="module")
def adapter():
    """The backend's own."""
    found = Adapter()
    try:
        found.info()
    except BackendUnavailable as error:
        pytest.skip(f"needs a GPU: {error}")
    return found


@pytest.mark.parametrize("name", LAYERS)
def test_a_step_with_each_layer_is_the_oracles(adapter, name):
    workload, batch = LAYERS[name].workload.without_dropout(), LAYERS[name].batch
    plan = dataclasses.replace(PLAN, batch=batch)
    try:
        assert [] == check_step(adapter, plan, workload, stop_of(workload, batch))
    except PlanRefused as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("precision", ["fp32", "tf32"])
@pytest.mark.parametrize("name", ["cnn-mnist", "resnet-cifar10", "linear-mse-adam"])
def test_a_training_step_of_a_suite_is_the_oracles(adapter, name, precision, mode):
    plan = dataclasses.replace(PLAN, precision=precision, mode=mode)
    assert [] == check_step(adapter, plan, *step_of(name, precision))


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_the_dropout_of_a_suite_is_the_oracles(adapter, mode):
    plan = dataclasses.replace(PLAN, mode=mode)
    assert [] == failures(check_dropout(adapter, plan, load_suite("smoke").workload))


def after(adapter, mode):
    """Losses and weights of three training steps, as bytes."""
    workload, stop = step_of("resnet-cifar10")
    point = stop.point
    session = adapter.open(dataclasses.replace(PLAN, mode=mode), workload, point.weights)
    batch = session.upload(point.inputs[point.order], point.targets[point.order])
    losses = [session.download(session.train_step(batch)) for _ in range(3)]
    return [array.tobytes() for array in (*losses, *session.weights().values())]


def test_two_runs_and_both_modes_give_the_same_bits(adapter):
    first = after(adapter, "eager")
    assert first == after(adapter, "eager")
    assert first == after(adapter, "graph")
