"""One whole training step of every suite, through the kernels on the CPU, against the oracle."""

from __future__ import annotations

import dataclasses

import pytest
from dlbench.backends.cupy.adapter import MODES
from host_adapter import HostAdapter
from vectors import PLAN, SUITES, check_step, failures, step_of

from dlbench.spec.suite import load_suite
from dlbench.verify.checks.dropout import check_dropout

# their layers are those of the others, and there are many of them
LARGE = ("densenet-cifar10", "vgg-cifar10", "cnn-mnist-wide")
FAST_FIRST = [
    *(name for name in SUITES if name not in LARGE),
    *(pytest.param(name, marks=pytest.mark.soak) for name in LARGE),
]


@pytest.mark.parametrize("name", FAST_FIRST)
def test_a_training_step_of_a_suite_is_the_oracles(name):
    assert [] == check_step(HostAdapter(), PLAN, *step_of(name))


@pytest.mark.parametrize("name", ["cnn-mnist", "resnet-cifar10", "linear-mse-adam"])
def test_a_training_step_as_a_graph_is_the_oracles(name):
    plan = dataclasses.replace(PLAN, mode="graph")
    assert [] == check_step(HostAdapter(), plan, *step_of(name))


@pytest.mark.parametrize("name", ["ci", "linear-mse", "resnet-cifar10"])
def test_a_training_step_on_tensor_cores_is_the_oracles(name):
    plan = dataclasses.replace(PLAN, precision="tf32")
    assert [] == check_step(HostAdapter(), plan, *step_of(name, "tf32"))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["cnn-mnist", "smoke"])
def test_the_dropout_of_a_suite_is_the_oracles(name, mode):
    plan = dataclasses.replace(PLAN, mode=mode)
    assert [] == failures(check_dropout(HostAdapter(), plan, load_suite(name).workload))
