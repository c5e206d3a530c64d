"""The NumPy backend's worker processes: their failures, deaths and leftovers, with real processes."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from dlbench.backends.numpy import workers
from dlbench.backends.numpy.adapter import Adapter
from dlbench.backends.numpy.workers import Team

from dlbench.contract import Plan
from dlbench.spec.workload import initial_weights, read_workload
from dlbench.verify.check import verify

pytestmark = pytest.mark.skipif(not workers.FORKS, reason="one worker where nothing is forked")

CONV = {"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}
LAYERS = [
    {**CONV, "bias": False},
    {"type": "batch_norm"},
    {"type": "relu"},
    {"type": "max_pool", "kernel": 2},
    {"type": "dropout", "rate": 0.25},
    {"type": "flatten"},
    {"type": "linear", "out_features": 3},
]
BATCH = 8


def workload_of(layers=LAYERS):
    return read_workload(
        {
            "input_shape": [2, 6, 8],
            "layers": layers,
            "loss": "cross_entropy",
            "optimizer": {"type": "sgd", "learning_rate": 0.05, "momentum": 0.9},
        }
    )


def opened(threads=2, layers=LAYERS):
    """A session and a resident batch."""
    workload = workload_of(layers)
    plan = Plan("numpy", "cpu", BATCH, threads, seed=3)
    session = Adapter().open(plan, workload, initial_weights(workload, 1))
    random = np.random.default_rng(2)
    inputs = random.standard_normal((BATCH, 2, 6, 8)).astype(np.float32)
    return session, session.upload(inputs, random.integers(0, 3, BATCH))


def children():
    """The processes forked from this one, zombies among them."""
    tasks = Path(f"/proc/{os.getpid()}/task").iterdir()
    return {int(pid) for task in tasks for pid in (task / "children").read_text().split()}


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def _nothing_left_before_and_after():
    gc.collect()
    before = children()
    yield
    gc.collect()
    assert children() == before


def member_of(action, threads=2):
    """A team and the number of a task that is `action` in its last worker."""
    team = Team(threads, threads, 0)
    return team, team.task(lambda worker: worker.index == threads - 1 and action())


def run(team, task):
    with team.step():
        team.run(task)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_any_number_of_workers_is_within_tolerance_of_the_oracle(threads, cache_dir):
    layers = [LAYERS[0], LAYERS[1], LAYERS[2], {**CONV, "stride": 2}, *LAYERS[2:]]
    plan = Plan("numpy", "cpu", 5, threads)
    outcome = verify(Adapter(), plan, workload_of(layers), cache_dir)
    assert outcome.reason == ""
    assert len(outcome.checks) > 10


def test_every_worker_works_at_its_own_shard_and_sees_what_the_others_wrote():
    team = Team(3, 8, 0)
    pids, images = team.shared((3,), np.int64), team.shared((8,), np.int64)

    def work(worker):
        pids[worker.index] = os.getpid()
        images[slice(*team.shards[worker.index])] += worker.index + 1

    task = team.task(work)
    for _ in range(2):
        run(team, task)
    assert len(set(pids)) == 3
    assert pids[0] == os.getpid()
    assert {*images[:2]} == {2}
    assert {*images[-3:]} == {6}
    assert team.present() == 3


def test_there_are_no_more_workers_than_images():
    assert Team(4, 3, 0).present() == 3


def test_a_killed_worker_is_an_error_in_the_next_step_and_in_all_after():
    session, batch = opened()
    session.train_step(batch)
    pid = session._team._forks[0]._process.pid
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="worker process of the NumPy backend has died: SIGKILL"):
        session.train_step(batch)
    with pytest.raises(RuntimeError, match="this session ended when a step failed"):
        session.infer(batch)
    assert pid not in children()
    assert np.isfinite(session.weights()["linear1.weight"]).all()


def test_a_worker_that_dies_at_its_task_ends_the_wait_for_it():
    team, task = member_of(lambda: os.kill(os.getpid(), signal.SIGKILL), threads=3)
    with pytest.raises(RuntimeError, match="died: SIGKILL"):
        run(team, task)


def test_a_worker_that_exits_at_its_task_is_an_error():
    team, task = member_of(lambda: os._exit(7))
    with pytest.raises(RuntimeError, match="died: exit status 7"):
        run(team, task)


def test_a_workers_exception_comes_with_its_traceback_and_is_the_sessions_last():
    def divide_by_nothing():
        return 1 // 0

    team, task = member_of(divide_by_nothing)
    with pytest.raises(RuntimeError, match="ZeroDivisionError: integer division") as caught:
        run(team, task)
    assert "divide_by_nothing" in str(caught.value)
    assert "ZeroDivisionError" in str(caught.value).splitlines()[0]
    with pytest.raises(RuntimeError, match="open another"):
        run(team, task)
    with pytest.raises(RuntimeError, match="open another"):
        team.present()


def test_a_message_larger_than_any_pipe_does_not_stop_a_worker():
    def fail():
        raise ValueError("x" * 1_000_000)

    team, task = member_of(fail)
    with pytest.raises(RuntimeError, match="ValueError"):
        run(team, task)


def test_a_worker_without_memory_is_a_memory_error():
    team, task = member_of(lambda: np.empty(1 << 60, np.uint8))
    with pytest.raises(MemoryError, match="worker process"):
        run(team, task)


def test_no_memory_to_share_is_a_memory_error():
    with pytest.raises(MemoryError, match="bytes of memory for the workers to share"):
        Team(2, 2, 0).shared((1 << 58,), np.uint8)


def test_an_exception_in_the_first_workers_own_part_ends_the_others_at_once(tmp_path):
    team = Team(2, 2, 0)

    def work(worker):
        if worker.index == 0:
            raise KeyError("mine")
        time.sleep(60)
        (tmp_path / "waited").touch()

    with pytest.raises(KeyError, match="mine"):
        run(team, team.task(work))
    assert not (tmp_path / "waited").exists()
    with pytest.raises(RuntimeError, match="open another"):
        run(team, 0)


def test_an_error_in_the_middle_of_a_step_is_the_sessions_last():
    session, batch = opened()
    wrong = session.upload(np.zeros((BATCH, 2, 6, 8), np.float32), np.full(BATCH, 99))
    with pytest.raises(IndexError):
        session.train_step(wrong)
    with pytest.raises(RuntimeError, match="open another"):
        session.train_step(batch)


def test_a_batch_of_another_size_is_refused_and_harms_nothing():
    session, batch = opened()
    with pytest.raises(ValueError, match="broadcast"):
        session.train_step(session.upload(np.zeros((BATCH, 2, 5, 8)), np.zeros(BATCH, int)))
    assert np.isfinite(session.train_step(batch))


def test_the_buffer_size_of_numpy_is_the_callers_again_after_steps_and_errors():
    before = np.getbufsize()
    session, batch = opened()
    session.train_step(batch)
    assert np.getbufsize() == before
    team, task = member_of(lambda: 1 // 0)
    with pytest.raises(RuntimeError):
        run(team, task)
    assert np.getbufsize() == before


def test_sessions_that_are_dropped_give_back_processes_descriptors_and_memory():
    def shared_maps():
        return Path("/proc/self/maps").read_text().count("/dev/zero")

    opened()
    gc.collect()
    before = children(), descriptors(), shared_maps()
    gc.disable()
    try:
        for _ in range(12):
            session, batch = opened(3)
            session.train_step(batch)
            session.infer(batch)
            during = children(), descriptors(), shared_maps()
            assert all(more > less for more, less in zip(during[1:], before[1:], strict=True))
            del session, batch
            # At once; the memory when Python collects what refers to itself.
            assert (children(), descriptors()) == before[:2]
    finally:
        gc.enable()
    gc.collect()
    assert shared_maps() == before[2]


def test_workers_are_forked_while_other_threads_hold_what_they_like():
    lock, stop = threading.Lock(), threading.Event()

    def hold():
        while not stop.is_set():
            with lock:
                np.ones(1000) @ np.ones(1000)

    others = [threading.Thread(target=hold) for _ in range(3)]
    for thread in others:
        thread.start()
    try:
        for _ in range(5):
            session, batch = opened(3)
            assert np.isfinite(session.train_step(batch))
    finally:
        stop.set()
        for thread in others:
            thread.join()


def test_two_sessions_take_turns_without_disturbing_each_other():
    def losses(sessions):
        return [float(s.train_step(b)) for _ in range(3) for s, b in sessions]

    alone = losses([opened(2)])
    both = losses([opened(2), opened(2)])
    assert both == [loss for loss in alone for _ in range(2)]


def test_workers_forked_anew_draw_new_dropout_masks():
    team = Team(2, 2, 5)
    drawn = team.shared((2, 4), np.uint64)

    def draw(worker):
        drawn[worker.index] = worker.random.random_raw(4)

    task = team.task(draw)
    seen = []
    for _ in range(3):
        run(team, task)
        seen += drawn.ravel().tolist()
        run(team, task)
        seen += drawn.ravel().tolist()
        # Memory that was added later is not known to those who were forked before.
        team.shared((1,))
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_run_with_dropout_and_inference_in_between_repeats_to_the_bit(threads):
    def history():
        session, batch = opened(threads)
        losses = []
        for step in range(6):
            losses.append(float(session.train_step(batch)))
            if step == 2:
                losses += session.infer(batch).ravel().tolist()
        return losses, {name: w.tobytes() for name, w in session.weights().items()}

    assert history() == history()


def test_a_buffer_that_grows_leaves_what_was_bound_before_as_it_was():
    worker = Team(1, 1, 0).workers[0]
    small = worker.buffer("x", (4,))
    small[:] = 7
    large = worker.buffer("x", (4000,))
    large[:] = 1
    assert small.tolist() == [7] * 4
    again = worker.buffer("x", (4,))
    assert np.shares_memory(again, large)


def test_one_worker_where_processes_cannot_be_forked(monkeypatch):
    monkeypatch.setattr(workers, "FORKS", False)
    session, batch = opened(4)
    assert np.isfinite(session.train_step(batch))
    assert session.facts["threads"] == 1
    assert children() == set()
