"""A worker that does one job after the other, sleeps between them, and never outlives its runner."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from dlbench.contract import Plan
from dlbench.execute.materialise import prepare
from dlbench.worker.launch import Launch, Worker, worker_environment
from dlbench.worker.measurements import (
    BLOCK,
    FINISH,
    FIRST,
    FITS,
    LOOK,
    OPEN,
    REST,
    VERIFY,
    WARM_UP,
)


@pytest.fixture
def job(request_for, tmp_path):
    """Makes jobs for a backend on the tiny network."""
    material = prepare(request_for(), tmp_path)

    def job(backend="broken_adapters:Good", **options):
        return material.job(Plan(backend, "cpu", 32, 1), **options)

    return job


@pytest.fixture
def worker():
    with Worker(Launch(worker_environment(1), 60.0)) as worker:
        yield worker


def open_and_warm(worker, job):
    assert "ok" == worker.ask(OPEN, job).status
    assert "ok" == worker.ask(WARM_UP, {"scenario": "infer", "budget_s": 0.05}).status


def test_the_process_that_looked_at_a_backend_verifies_it(worker, job):
    looked = worker.ask(LOOK, job(open=False, threads=1))
    pid = worker.pid
    assert "ok" == looked.status
    assert worker.ask(FITS, job()).result.fits
    verified = worker.ask(VERIFY, job())
    assert ("ok", pid) == (verified.status, worker.pid)
    # the import belongs to the look
    assert "interpreter" not in verified.result.seconds


def test_the_process_that_verified_a_backend_takes_first_steps_and_can_go_on(worker, job):
    assert "ok" == worker.ask(VERIFY, job()).status
    pid = worker.pid
    first = worker.ask(FIRST, job(scenarios=["infer", "train"], seconds=0.02)).result
    assert ["infer", "train"] == list(first.steps)
    for steps in first.steps.values():
        assert min(steps.timings_ns) > 0
        # the warm-up is watched too
        assert steps.during.window_s * 1e9 >= sum(steps.timings_ns)
    assert {"first figures", "open"} <= first.seconds.keys()
    assert ("ok", pid) == (worker.ask(VERIFY, job()).status, worker.pid)


def test_time_between_jobs_is_no_part_of_a_phase(worker, job):
    open_and_warm(worker, job())
    worker.ask(BLOCK, {"seconds": 0.01})
    time.sleep(1.0)
    worker.ask(BLOCK, {"seconds": 0.01})
    finished = worker.ask(FINISH, job(scenario="infer")).result
    assert finished.seconds["measure"] < 1.0
    assert 2 == len(finished.block_steps)


def test_after_a_job_that_went_wrong_the_worker_is_gone(worker, job):
    assert "failed" == worker.ask(VERIFY, job("broken_adapters:RaisesInOpen")).status
    assert worker.pid is None
    again = worker.ask(VERIFY, job())
    assert ("failed", True) == (again.status, again.reason.startswith("it has ended in"))


def used_s(pid):
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def test_a_sleeping_worker_does_nothing_and_goes_on_when_it_is_woken(worker, job):
    open_and_warm(worker, job("neighbours:Spins"))
    assert worker.ask(REST, {}).status == "ok"
    worker.sleep()
    before_s = used_s(worker.pid)
    time.sleep(0.5)
    assert used_s(worker.pid) - before_s <= 0.02
    worker.wake()
    assert "ok" == worker.ask(BLOCK, {"seconds": 0.01}).status
    worker.sleep()
    # and it is closed as it is


def test_a_sleeping_worker_is_gone_when_its_runner_is_killed(tmp_path, tiny_file, cache_dir):
    script = textwrap.dedent(f"""
        import os, signal
        from pathlib import Path
        from dlbench.contract import Plan
        from dlbench.execute.materialise import prepare
        from dlbench.plan.request import Request
        from dlbench.record.schema import Machine
        from dlbench.spec.suite import load_suite
        from dlbench.worker.launch import Launch, Worker, worker_environment
        from dlbench.worker.measurements import OPEN, REST

        machine = Machine("test", None, None, 1, None, (), "test", "3", {{}})
        request = Request(suite=load_suite({str(tiny_file)!r}), machine=machine,
                          cache_dir=Path({str(cache_dir)!r}))
        material = prepare(request, Path({str(tmp_path)!r}))
        worker = Worker(Launch(worker_environment(1), 60.0))
        assert worker.ask(OPEN, material.job(Plan("numpy", "cpu", 32, 1))).status == "ok"
        assert worker.ask(REST, {{}}).status == "ok"
        worker.sleep()
        print(worker.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    killed = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=False)
    assert -signal.SIGKILL == killed.returncode
    pid = int(killed.stdout)
    deadline_s = time.monotonic() + 20
    while is_alive(pid) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not is_alive(pid)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
