"""The OpenCL kernels, those for processors and those for GPUs, against the oracle; memory begins as no numbers."""

import numpy as np
import pytest
from opencl_devices import PLAN, OnDevice, device_of

from dlbench.contract import Plan
from dlbench.spec.workload import initial_weights, read_workload
from dlbench.verify.conformance import Backend, judge, trials

# every layer is trained here: what is frozen is refused for all backends in one place
EVERY = {trial.label: trial for trial in trials(8, 0) if trial.group != "freeze"}
# what is compiled for one layer alone is compiled for long; on GPUs another compiler optimises it
OF_GPUS = [
    *("layer:conv2d with stride", "layer:conv2d with dilation", "layer:avg_pool in ceil mode"),
    *("layer:batch_norm", "layer:max_pool", "layer:residual, option A", "optimizer:adam"),
    *("layer:group_norm", "layer:conv2d, depthwise", "layer:conv_transpose2d with stride"),
    *("layer:scale by features", "optimizer:adam, gradients clipped by their norm"),
]


@pytest.fixture(scope="module")
def backend():
    return Backend(OnDevice(device_of(optimised=True)))


@pytest.fixture(scope="module")
def gpu():
    return Backend(OnDevice(device_of(is_processor=False)))


def holds(backend, label, cache_dir):
    verdict = judge(backend, PLAN, EVERY[label], cache_dir)
    assert "" == verdict.reason
    assert verdict.checks


@pytest.mark.parametrize("label", EVERY)
def test_a_processor_conforms(label, backend, cache_dir):
    holds(backend, label, cache_dir)


@pytest.mark.parametrize("label", OF_GPUS)
def test_the_kernels_for_gpus_conform(label, gpu, cache_dir):
    holds(gpu, label, cache_dir)


@pytest.mark.parametrize("is_processor", [True, False])
def test_a_first_row_far_from_the_others_costs_a_variance_no_digits(is_processor):
    layers = [{"type": "batch_norm"}, {"type": "linear", "out_features": 1}]
    rule = {"type": "sgd", "learning_rate": 0.1}
    workload = read_workload(
        {
            "input_shape": [16],
            "layers": layers,
            "loss": "mean_squared_error",
            "optimizer": rule,
        }
    )
    rows = 4096
    inputs = np.random.default_rng(0).standard_normal((rows, 16)).astype(np.float32)
    inputs[0] = 100
    weights = initial_weights(workload, 0)
    device = OnDevice(device_of(is_processor=is_processor))
    session = device.open(Plan("opencl", "cpu", rows, 1), workload, weights)
    session.train_step(session.upload(inputs, np.zeros((rows, 1), np.float32)))
    name = "norm1.running_variance"
    wanted = 0.9 * weights[name] + 0.1 * inputs.astype(np.float64).var(0, ddof=1)
    np.testing.assert_allclose(session.weights()[name], wanted, rtol=5e-6)


@pytest.mark.soak
@pytest.mark.parametrize("label", sorted(EVERY.keys() - set(OF_GPUS)))
def test_all_kernels_for_gpus_conform(label, gpu, cache_dir):
    holds(gpu, label, cache_dir)


@pytest.mark.soak
def test_random_networks_conform(backend, cache_dir):
    fresh = int(np.random.default_rng().integers(2**31))
    for trial in trials(200, fresh):
        if trial.group == "freeze":
            continue
        assert "" == judge(backend, PLAN, trial, cache_dir).reason, trial.label
