"""On a GPU: the vectors that the kernels pass on the CPU. Skipped where there is none; `pytest -m gpu` chooses them."""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest
from convolutions import Bench, draw
from dlbench.backends.cupy.adapter import Adapter
from dlbench.backends.cupy.device import cuda_device
from recorded import record, sample, workloads
from test_convolution_kernels import BUILDS, PRODUCTS
from vectors import PLAN, SUITES, check_step, failures, step_of

from dlbench.errors import BackendUnavailable
from dlbench.spec.suite import load_suite
from dlbench.verify.checks.dropout import check_dropout

pytestmark = pytest.mark.gpu

# of the largest number: sums in another order (fp32), factors rounded to 11 bits and shorter sums (tf32)
CLOSE = {"fp32": 1e-5, "tf32": 1e-3}


@pytest.fixture(scope="module")
def device():
    """The first CUDA device."""
    try:
        Adapter().info()
    except BackendUnavailable as error:
        pytest.skip(f"needs a GPU: {error}")
    import cupy

    if os.environ.get("DLBENCH_UNPOOLED"):
        # An allocation of its own for every array, whose end compute-sanitizer knows.
        cupy.cuda.set_allocator(None)
    return cuda_device(cupy, 0)


def skip_without_tensor_cores(device, precision):
    if precision == "tf32" and device.compute_capability < (8, 0):
        pytest.skip("tf32 came with sm 8.0")


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_every_recorded_launch_gives_what_it_gave_on_the_cpu(device, precision):
    skip_without_tensor_cores(device, precision)
    for launch in record(precision=precision):
        for expected, got in zip(launch.expected, launch.again(device), strict=True):
            if expected.dtype.kind == "f":
                close = CLOSE[precision] * np.nanmax(np.abs(expected), initial=0)
                np.testing.assert_allclose(got, expected, 1e-5, close, err_msg=launch.name)
            else:
                np.testing.assert_array_equal(got, expected, launch.name)


@pytest.mark.parametrize("build", BUILDS, ids=str)
def test_the_convolution_kernels_are_the_oracles(device, build):
    skip_without_tensor_cores(device, "tf32" if build.tile.tensor_cores else "fp32")
    padding = tuple(
        0 if dict(build.options).get("POINTWISE") else (k - 1) // 2 for k in build.geometry.kernel
    )
    bench = Bench(device, build.tile, build.geometry, build.loads, **dict(build.options))
    channels, outputs = 5 * build.multiple, 7 * build.multiple
    images = (3, channels, 13, 17)
    problem = draw(build.geometry, padding, images, outputs, 1, build.tile.tensor_cores)
    for product in PRODUCTS:
        product(bench, build, problem, apart=4, shares=2)


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("precision", ["fp32", "tf32"])
@pytest.mark.parametrize("name", SUITES)
def test_a_training_step_of_a_suite_is_the_oracles(device, name, precision, mode):
    skip_without_tensor_cores(device, precision)
    plan = dataclasses.replace(PLAN, precision=precision, mode=mode)
    assert [] == check_step(Adapter(), plan, *step_of(name, precision))


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("name", ["cnn-mnist", "smoke"])
def test_the_dropout_of_a_suite_is_the_oracles(device, name, mode):
    plan = dataclasses.replace(PLAN, mode=mode)
    assert [] == failures(check_dropout(Adapter(), plan, load_suite(name).workload))


def after(number, precision, mode):
    """Losses, output and weights of three training steps, as bytes."""
    plan = dataclasses.replace(PLAN, batch=3, precision=precision, mode=mode)
    workload = workloads()[number]
    weights, inputs, targets = sample(workload, plan.batch)
    session = Adapter().open(plan, workload, weights)
    batch = session.upload(inputs, targets)
    losses = [session.download(session.train_step(batch)) for _ in range(3)]
    output = session.download(session.infer(batch))
    return [array.tobytes() for array in (*losses, output, *session.weights().values())]


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
@pytest.mark.parametrize("number", range(len(workloads())))
def test_two_runs_and_both_modes_give_the_same_bits(device, number, precision):
    skip_without_tensor_cores(device, precision)
    first = after(number, precision, "eager")
    assert first == after(number, precision, "eager")
    assert first == after(number, precision, "graph")
