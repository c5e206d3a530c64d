"""Resident batches of the NumPy backend: a step reads them where they lie, in every worker."""

import os
from pathlib import Path

import numpy as np
import pytest
from dlbench.backends.numpy.adapter import Adapter

from dlbench.contract import Plan
from dlbench.spec.workload import initial_weights, read_workload

BATCH = 5
CONV = {"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}
FIRST = {
    "convolution": [CONV],
    "strided": [{**CONV, "stride": 2}],
    "linear": [{"type": "flatten"}, {"type": "linear", "out_features": 3}],
    "norm": [{"type": "batch_norm"}],
    "relu": [{"type": "relu"}, CONV],
    "leaky_relu": [{"type": "leaky_relu"}, CONV],
    "sigmoid": [{"type": "sigmoid"}, CONV],
    "tanh": [{"type": "tanh"}, CONV],
    "dropout": [{"type": "dropout", "rate": 0.5}],
    "max_pool": [{"type": "relu"}, {"type": "max_pool", "kernel": 2}, CONV],
    "avg_pool": [{"type": "avg_pool", "kernel": 2}],
    "global_avg_pool": [{"type": "global_avg_pool"}],
    "residual": [{"type": "residual", "body": [{**CONV, "out_channels": 2}]}, {"type": "relu"}],
    "option_a": [{"type": "residual", "body": [CONV], "shortcut": "option_a"}],
    "concat": [{"type": "concat", "body": [CONV]}, {"type": "tanh"}],
}


def opened(layers, threads=2, shape=(2, 6, 8)):
    workload = read_workload(
        {
            "input_shape": list(shape),
            "layers": layers,
            "loss": "mean_squared_error",
            "optimizer": {"type": "sgd", "learning_rate": 0.01},
        }
    )
    plan = Plan("numpy", "cpu", BATCH, threads)
    return workload, Adapter().open(plan, workload, initial_weights(workload, 0))


def drawn(workload, seed):
    random = np.random.default_rng(seed)
    shapes = (workload.input_shape, workload.output_shape)
    return [random.standard_normal((BATCH, *shape)).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("first", FIRST)
def test_no_step_changes_the_batch_that_it_reads(first, threads):
    workload, session = opened(FIRST[first], threads)
    batches = [session.upload(*drawn(workload, seed)) for seed in range(2)]
    start = session.weights()

    def outputs():
        session.load(start)
        return [session.infer(batch).tobytes() for batch in batches]

    before = outputs()
    for batch in batches:
        session.train_step(batch)
    assert before == outputs()
    assert before[0] != before[1]


@pytest.mark.parametrize("shape", [(6,), (2, 6, 8)])
def test_a_network_that_changes_nothing_gives_each_batch_back(shape):
    workload, session = opened([{"type": "dropout", "rate": 0.5}], shape=shape)
    given = [drawn(workload, seed) for seed in range(3)]
    batches = [session.upload(*each) for each in given]
    for batch, (inputs, _) in zip(batches, given, strict=True):
        session.train_step(batch)
        np.testing.assert_array_equal(inputs, session.infer(batch))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_batch_that_comes_when_the_workers_are_at_work_is_read_like_the_first(threads):
    def history(early):
        workload, session = opened(FIRST["convolution"], threads)
        batches = [session.upload(*drawn(workload, seed)) for seed in range(early)]
        losses = []
        for seed in range(early, 6):
            losses += [float(session.train_step(batch)) for batch in batches[:1]]
            batches.append(session.upload(*drawn(workload, seed)))
        session.load(initial_weights(workload, 0))
        return [float(session.train_step(batch)) for batch in batches]

    assert history(6) == history(1)


def shared_maps():
    return Path("/proc/self/maps").read_text().count("/dev/zero")


def test_thousands_of_batches_take_no_more_memory_than_those_that_are_held():
    workload, session = opened(FIRST["convolution"])
    first, second = drawn(workload, 0), drawn(workload, 1)
    batch = session.upload(*first)
    batch = session.upload(*second)
    session.infer(batch)
    maps, files = shared_maps(), len(os.listdir("/proc/self/fd"))
    workers = [fork._process.pid for fork in session._team._forks]
    for _ in range(2000):
        batch = session.upload(*second)
    of_second = session.infer(batch)
    batch = session.upload(*first)
    assert not np.array_equal(of_second, session.infer(batch))
    assert (maps, files) == (shared_maps(), len(os.listdir("/proc/self/fd")))
    assert workers == [fork._process.pid for fork in session._team._forks]


def test_a_batch_that_is_refused_takes_no_memory():
    workload, session = opened(FIRST["convolution"])
    inputs, targets = drawn(workload, 0)
    for _ in range(9):
        with pytest.raises(ValueError, match="broadcast"):
            session.upload(inputs[:, :, 1:], targets)
    assert len(session._input._stores) == 1
