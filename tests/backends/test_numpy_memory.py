"""What the NumPy backend allocates, beside the usual NumPy CNN."""

from __future__ import annotations

import functools
import gc
import importlib.util
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from dlbench.backends.numpy import workers
from dlbench.backends.numpy.adapter import Adapter

from dlbench.contract import Plan
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import initial_weights

_spec = importlib.util.spec_from_file_location(
    "plain_im2col", Path(__file__).with_name("plain_im2col.py")
)
plain_im2col = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(plain_im2col)

BATCH = 256


def case(suite):
    workload = load_suite(suite).workload
    random = np.random.default_rng(0)
    inputs = random.standard_normal((BATCH, *workload.input_shape)).astype(np.float32)
    return workload, initial_weights(workload, 1), inputs, random.integers(0, 10, BATCH)


def allocated(work):
    """The most bytes of arrays that were allocated at a time since `work` began, and what it returned."""
    gc.collect()
    tracemalloc.start()
    try:
        kept = work()
        peak = tracemalloc.get_traced_memory()[1]
        elsewhere = tracemalloc.DomainFilter(False, np.lib.tracemalloc_domain)
        objects = tracemalloc.take_snapshot().filter_traces([elsewhere])
        return peak - sum(trace.size for trace in objects.traces), kept
    finally:
        tracemalloc.stop()


@functools.cache
def plain_bytes(suite):
    workload, weights, inputs, labels = case(suite)
    network = plain_im2col.Network(workload, weights)

    def steps():
        return [network.train_step(inputs, labels, np.float32(0.01)) for _ in range(2)]

    used, losses = allocated(steps)
    assert np.isfinite(losses).all()
    return used


def bytes_of_session(suite, threads, monkeypatch):
    """Of all its workers: what tracemalloc sees here, shared pages, and the others' own buffers."""
    workload, weights, inputs, labels = case(suite)
    pages = []
    made = workers._pages
    monkeypatch.setattr(workers, "_pages", lambda size: pages.append(size) or made(size))

    def steps():
        plan = Plan("numpy", "cpu", BATCH, threads)
        session = Adapter().open(plan, workload, weights)
        batch = session.upload(inputs, labels)
        session.train_step(batch)
        session.train_step(batch)
        session.infer(batch)
        return session

    used, session = allocated(steps)
    # The others have buffers for the same chunks as the first.
    own = sum(memory.nbytes for memory in session._team.workers[0]._buffers.values())
    return used + sum(pages) + (threads - 1) * own


def test_the_plain_network_computes_the_same():
    workload, weights, inputs, labels = case("cnn-cifar10")
    small = 8
    session = Adapter().open(Plan("numpy", "cpu", small, 1), workload, weights)
    batch = session.upload(inputs[:small], labels[:small])
    network = plain_im2col.Network(workload, weights)
    ours = float(session.train_step(batch))
    theirs = float(network.train_step(inputs[:small], labels[:small], np.float32(0.001)))
    assert ours == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("suite", ["cnn-mnist", "cnn-cifar10"])
def test_a_session_needs_a_quarter_of_what_unrolling_the_batch_does(suite, threads, monkeypatch):
    plain = plain_bytes(suite)
    ours = bytes_of_session(suite, threads, monkeypatch)
    assert ours <= 0.25 * plain, f"{ours / 1e6:.1f} of {plain / 1e6:.1f} MB, {ours / plain:.3f}"
