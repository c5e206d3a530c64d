"""The NumPy backend against PyTorch eager and against this machine's matrix products, in alternation.

Each round takes some steps of NumPy, of PyTorch and of the product, one after the other and each in a process
of its own, so that a change of the machine's speed meets all three. pytest-benchmark reports the step of
NumPy as its process measured it; `extra_info` holds the ratios.
"""

from __future__ import annotations

import contextlib
import importlib.util
import statistics
from pathlib import Path

import pytest

from dlbench.spec.suite import load_suite

_spec = importlib.util.spec_from_file_location("arm", Path(__file__).with_name("arm.py"))
arm = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(arm)

BATCH, THREADS, ROUNDS = 64, 2, 7
SUITES = [
    "cnn-mnist",
    "cnn-mnist-deep",
    "cnn-mnist-wide",
    "cnn-cifar10",
    "vgg-cifar10",
    "resnet-cifar10",
]


class Clock:
    """Time that passes only while an arm takes the step that counts."""

    now_s = 0.0

    def __call__(self):
        return self.now_s


CLOCK = Clock()


def taking_turns(benchmark, arms):
    """Runs the first of the arms for the benchmark, the others before it each time; their medians in seconds."""
    times = [[] for _ in arms]

    def turn(index):
        times[index].append(arms[index].seconds())
        return times[index][-1]

    def ours():
        CLOCK.now_s += turn(0)

    def others():
        for index in range(1, len(arms)):
            turn(index)

    for index in range(len(arms)):
        turn(index)
        times[index].clear()
    benchmark.pedantic(ours, setup=others, rounds=ROUNDS)
    return [statistics.median(each) for each in times]


@pytest.mark.benchmark(timer=CLOCK)
@pytest.mark.parametrize("scenario", ["train", "infer"])
@pytest.mark.parametrize("suite", SUITES)
def test_numpy_beside_pytorch_and_the_matrix_product(benchmark, suite, scenario):
    pytest.importorskip("torch")
    with contextlib.ExitStack() as opened:
        arms = [
            opened.enter_context(arm.Arm(what, suite, scenario, BATCH, THREADS))
            for what in ("numpy", "torch", "product")
        ]
        ours_s, torch_s, product_s = taking_turns(benchmark, arms)
    workload = load_suite(suite).workload
    flops = workload.training_flops if scenario == "train" else workload.forward_flops
    benchmark.extra_info.update(
        samples_per_s=BATCH / ours_s,
        share_of_peak=flops * BATCH / ours_s / (2 * arm.SIZE**3 / product_s),
        throughput_against_torch=torch_s / ours_s,
    )


@pytest.mark.benchmark(timer=CLOCK)
def test_cost_of_a_sample_by_batch(benchmark):
    batches = [64, 256, 1024]
    with contextlib.ExitStack() as opened:
        arms = [
            opened.enter_context(arm.Arm("numpy", "cnn-mnist", "train", batch, THREADS))
            for batch in batches
        ]
        medians = taking_turns(benchmark, arms)
    each = [seconds / batch for seconds, batch in zip(medians, batches, strict=True)]
    benchmark.extra_info.update(
        {f"microseconds_per_sample_at_{b}": s * 1e6 for s, b in zip(each, batches, strict=True)},
        cost_at_1024_over_64=each[-1] / each[0],
    )
