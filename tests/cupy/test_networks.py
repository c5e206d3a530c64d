"""Sessions of the CuPy backend on the CPU: every layer, loss and optimizer against the oracle, in any order."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from dlbench.backends.cupy.device import source_text
from dlbench.backends.launches import norm, parameters, program
from dlbench.backends.launches import session as launches_session
from host_adapter import HostAdapter, launches
from host_device import HostDevice, Schedule
from recorded import sample, workloads
from vectors import PLAN, check_step, has_kernels, stop_of

from dlbench.errors import PlanRefused
from dlbench.oracle.layers import Pass
from dlbench.oracle.network import Sequence
from dlbench.spec.workload import initial_weights, read_workload
from dlbench.verify.checks.dropout import check_dropout
from dlbench.verify.conformance import Backend, judge, trials

SCHEDULES = [Schedule("forward"), Schedule("reversed"), Schedule("shuffled", 1)]


def networks(count, seed):
    """The trials that are whole verifications, by name, `count` random networks among them."""
    every = (
        trial
        for trial in trials(20 * count, seed)
        if trial.group not in ("session", "freeze") and has_kernels(trial.workload)
    )
    named = {f"{trial.group}: {trial.name}": trial for trial in every}
    drawn = [name for name, trial in named.items() if trial.group == "random network"]
    return {name: trial for name, trial in named.items() if name not in drawn[count:]}


TRIALS, MORE = networks(1, 0), networks(20, 1)


def test_a_layer_without_a_kernel_is_refused_by_its_name():
    for name, trial in {f"{t.group}: {t.name}": t for t in trials(0, 0)}.items():
        if name in TRIALS or trial.group in ("session", "freeze"):
            continue
        with pytest.raises(PlanRefused, match=r"^cupy has no [a-z_0-9]+( for [a-z_0-9]+)?$"):
            HostAdapter().open(PLAN, trial.workload, initial_weights(trial.workload, 0))


@functools.cache
def device(schedule):
    return HostDevice(source_text, schedule)


@pytest.fixture(scope="module", autouse=True)
def _compiling_ahead():
    """The kernels of all networks, on all cores, while the first tests run."""
    for trial in TRIALS.values():
        plan = dataclasses.replace(PLAN, batch=trial.batch)
        weights = initial_weights(trial.workload, 0)
        session = HostAdapter(device(SCHEDULES[0])).open(plan, trial.workload, weights)
        for launch in launches(session):
            device(SCHEDULES[0]).kernel(launch.sources, launch.defines, launch.name)


@functools.cache
def backend():
    """As in a conformance: what depends on a layer or an optimizer alone is found out once."""
    return Backend(HostAdapter(device(SCHEDULES[-1])))


def reason(trial, precision, cache_dir):
    """Why a trial is not verified with its threads in shuffled order; empty where it is."""
    plan = dataclasses.replace(PLAN, precision=precision)
    return judge(backend(), plan, trial, cache_dir).reason


LAYERS = {name: trial for name, trial in TRIALS.items() if trial.group == "layer"}


@pytest.mark.parametrize("name", LAYERS)
def test_a_step_with_each_layer_is_the_oracles_in_shuffled_order(name):
    trial = LAYERS[name]
    plan = dataclasses.replace(PLAN, batch=trial.batch)
    adapter = HostAdapter(device(SCHEDULES[-1]))
    calm = trial.workload.without_dropout()
    assert [] == check_step(adapter, plan, calm, stop_of(calm, plan.batch))
    assert all(check.passed for check in check_dropout(adapter, plan, trial.workload))


@pytest.mark.parametrize("name", sorted(TRIALS.keys() - LAYERS.keys()))
def test_a_network_is_verified_in_shuffled_order(name, cache_dir):
    assert "" == reason(TRIALS[name], "fp32", cache_dir)


@pytest.mark.soak
@pytest.mark.parametrize("precision", ["fp32", "tf32"])
@pytest.mark.parametrize("name", MORE)
def test_more_networks_are_verified_in_either_precision(name, precision, cache_dir):
    assert "" == reason(MORE[name], precision, cache_dir)


def test_a_convolution_of_1x1_takes_a_max_pool_with_it():
    workload = read_workload(
        {
            "input_shape": [3, 4, 6],
            "layers": [
                {"type": "conv2d", "out_channels": 5, "kernel": 1},
                {"type": "relu"},
                {"type": "max_pool", "kernel": 2},
            ],
            "loss": "mean_squared_error",
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )
    adapter = HostAdapter(device(SCHEDULES[0]))
    assert [] == check_step(adapter, PLAN, workload, stop_of(workload, PLAN.batch))


def test_a_batch_normalisation_of_one_row_leaves_the_oracles_running_statistics():
    workload = read_workload(
        {
            "input_shape": [3, 1, 1],
            "layers": [{"type": "batch_norm"}],
            "loss": "mean_squared_error",
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )
    weights, inputs, targets = sample(workload, 1)
    session = HostAdapter(device(SCHEDULES[0])).open(
        dataclasses.replace(PLAN, batch=1), workload, weights
    )
    session.train_step(session.upload(inputs, targets))
    run = Pass(training=True, counts=np.ones(1))
    Sequence(workload.nodes, weights, run).forward(inputs.astype(np.float64))
    left = session.weights()
    for name, expected in run.state.items():
        np.testing.assert_allclose(left[name], expected, rtol=1e-6, err_msg=name)
    assert 2 == len(run.state)


def test_blocks_of_other_sizes_give_what_the_oracle_gives(monkeypatch):
    monkeypatch.setattr(program, "ELEMENTS_PER_BLOCK", 96)
    monkeypatch.setattr(norm, "_THREADS", 64)
    monkeypatch.setattr(parameters, "_THREADS", 32)
    monkeypatch.setattr(parameters, "_PER_BLOCK", 128)
    monkeypatch.setattr(launches_session, "_LOSS_THREADS", 4)
    monkeypatch.setattr(launches_session, "_LOSS_SLOTS", 2)
    plan = dataclasses.replace(PLAN, batch=5)
    for workload in workloads()[:3]:
        calm = workload.without_dropout()
        assert [] == check_step(HostAdapter(device(SCHEDULES[0])), plan, calm, stop_of(calm, 5))


def after(workload, precision, schedule):
    """Output, loss and weights of two training steps."""
    plan = dataclasses.replace(PLAN, batch=3, precision=precision)
    weights, inputs, targets = sample(workload, plan.batch)
    session = HostAdapter(device(schedule)).open(plan, workload, weights)
    batch = session.upload(inputs, targets)
    losses = [session.download(session.train_step(batch)) for _ in range(2)]
    output = session.download(session.infer(batch))
    return [array.tobytes() for array in (*losses, output, *session.weights().values())]


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
@pytest.mark.parametrize("number", range(len(workloads())))
def test_the_order_of_threads_and_blocks_does_not_change_a_bit(number, precision):
    first, *others = (after(workloads()[number], precision, order) for order in SCHEDULES)
    assert all(first == other for other in others)
