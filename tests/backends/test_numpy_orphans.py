"""Workers of the NumPy backend never outlive the process that forked them, however that ends."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from orphans import ends

SCRIPT = """
    import os, sys, signal
    sys.path.insert(0, {tests!r})
    from test_numpy_team import opened
    session, batch = opened(3)
    session.train_step(batch)
    print(*[fork._process.pid for fork in session._team._forks], flush=True)
"""


@contextlib.contextmanager
def script(rest):
    """A process with a session of three workers; it does not outlive the test."""
    code = textwrap.dedent(SCRIPT.format(tests=str(Path(__file__).parent)) + rest)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("doing", ["sys.stdin.read()", "while True: session.train_step(batch)"])
def test_no_worker_outlives_a_process_that_is_killed(doing):
    with script(f"\n    {doing}") as process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 2
        process.kill()
    assert all(ends(pid) for pid in pids)


def test_no_worker_outlives_a_process_that_is_killed_while_all_are_held():
    with script("\n    sys.stdin.read()") as process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        for pid in (*pids, process.pid):
            os.kill(pid, signal.SIGSTOP)
        process.kill()
    assert all(ends(pid) for pid in pids)


def test_a_worker_outlives_the_thread_that_forked_it():
    rest = """
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(1) as pool:
        session, batch = pool.submit(opened, 2).result()
    session.train_step(batch)
    print("well", flush=True)
    """
    with script(rest) as process:
        process.stdout.readline()
        assert process.stdout.readline() == "well\n"


def test_no_worker_outlives_a_process_of_two_sessions_that_is_killed():
    rest = """
    other, other_batch = opened(2)
    other.train_step(other_batch)
    session.infer(batch)
    print(*[fork._process.pid for s in (session, other) for fork in s._team._forks], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    """
    with script(rest) as process:
        process.stdout.readline()
        pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 3
    assert all(ends(pid) for pid in pids)


def test_no_worker_outlives_a_process_that_ends_by_itself():
    with script("") as process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert process.wait(30) == 0
        assert process.stderr.read() == ""
    assert all(ends(pid) for pid in pids)


def test_ctrl_c_interrupts_a_step_and_leaves_no_worker():
    rest = """
    try:
        while True: session.train_step(batch)
    except KeyboardInterrupt:
        import multiprocessing
        print("interrupted", len(multiprocessing.active_children()), flush=True)
    """
    with script(rest) as process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        time.sleep(0.3)
        # To all of them, as a terminal does.
        for pid in (*pids, process.pid):
            os.kill(pid, signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stdout.read().split()[0] == "interrupted"
        assert process.stderr.read() == ""
    assert all(ends(pid) for pid in pids)
