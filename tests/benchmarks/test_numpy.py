"""The NumPy backend against PyTorch eager and against this machine's matrix products, in alternation.

Each round times one step of NumPy (what pytest-benchmark reports), one of PyTorch and one product, one after
the other, so that a change of the machine's speed meets all three. `extra_info` holds the ratios.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import pytest

from dlbench.contract import Plan
from dlbench.plugins import adapter_target, load
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import initial_weights

BATCH, THREADS, ROUNDS, SIZE = 64, 2, 15, 2048
SUITES = [
    "cnn-mnist",
    "cnn-mnist-deep",
    "cnn-mnist-wide",
    "cnn-cifar10",
    "vgg-cifar10",
    "resnet-cifar10",
]


def step_of(backend, workload, scenario, batch, threads=THREADS):
    """A call that runs one step on a resident batch and waits for it."""
    session = load(adapter_target(backend))().open(
        Plan(backend, "cpu", batch, threads), workload, initial_weights(workload, 1)
    )
    # So small that hundreds of steps on one batch stay where they began.
    session.learning_rate = 1e-6
    random = np.random.default_rng(2)
    inputs = random.normal(size=(batch, *workload.input_shape)).astype(np.float32)
    resident = session.upload(inputs, random.integers(0, workload.output_shape[0], batch))
    call = session.train_step if scenario == "train" else session.infer

    def step():
        call(resident)
        session.synchronize()

    return step


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@pytest.mark.parametrize("scenario", ["train", "infer"])
@pytest.mark.parametrize("suite", SUITES)
def test_numpy_beside_pytorch_and_the_matrix_product(benchmark, suite, scenario):
    pytest.importorskip("torch")
    workload = load_suite(suite).workload
    ours = step_of("numpy", workload, scenario, BATCH)
    theirs = step_of("torch", workload, scenario, BATCH)
    square = np.random.default_rng(3).random((SIZE, SIZE), np.float32)
    out = np.empty_like(square)
    torch_s, product_s = [], []

    def others():
        torch_s.append(seconds(theirs))
        product_s.append(seconds(lambda: np.matmul(square, square, out=out)))
        # The caches are ours again before the step that counts.
        ours()

    benchmark.pedantic(ours, setup=others, rounds=ROUNDS, warmup_rounds=2)
    median_s = benchmark.stats.stats.median
    flops = workload.training_flops if scenario == "train" else workload.forward_flops
    peak = 2 * SIZE**3 / statistics.median(product_s)
    benchmark.extra_info.update(
        samples_per_s=BATCH / median_s,
        share_of_peak=flops * BATCH / median_s / peak,
        throughput_against_torch=statistics.median(torch_s) / median_s,
    )


@pytest.mark.parametrize("batch", [64, 256, 1024])
def test_cost_of_a_sample_by_batch(benchmark, batch):
    step = step_of("numpy", load_suite("cnn-mnist").workload, "train", batch)
    benchmark.pedantic(step, rounds=ROUNDS, warmup_rounds=2)
    benchmark.extra_info["microseconds_per_sample"] = benchmark.stats.stats.median / batch * 1e6
