import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dlbench.worker import launch as process
from dlbench.worker.launch import Launch, Worker, run_worker, worker_environment
from dlbench.worker.measurements import LOOK, STEPS, VERIFY


@pytest.fixture
def job(request_for, tmp_path):
    """Makes the job that verifies a backend of the fixtures on the tiny network."""
    from dlbench.contract import Plan
    from dlbench.execute.materialise import prepare

    material = prepare(request_for(), tmp_path)

    def job(backend, **options):
        plan = Plan(f"broken_adapters:{backend}", "cpu", 32, 1, mode="eager")
        return material.job(plan, **options)

    return job


def test_a_backend_that_is_well_gives_a_result(job, work):
    ended = work(job("Good"))
    assert ("ok", "") == (ended.status, ended.reason)
    assert all(check.passed for check in ended.result.checks)
    assert len(ended.result.checks) > 0


@pytest.mark.parametrize(
    ("backend", "status", "reason"),
    [
        ("NeedsAnotherMachine", "skipped", "no such device here"),
        ("RefusesToOpen", "skipped", "never on cpu"),
        ("RaisesInInfo", "failed", "ImportError: libmissing.so.1"),
        ("RaisesInOpen", "failed", "ValueError: cannot open (in verify)"),
        ("RaisesInStep", "failed", "RuntimeError: step 3 is bad (in verify)"),
        ("CallsExit", "failed", "SystemExit: 3 (in verify)"),
        ("Vanishes", "failed", "exited with code 5 in verify"),
        ("Segfaults", "failed", "ended by SIGSEGV in verify"),
        ("Interrupts", "failed", "KeyboardInterrupt (in verify)"),
        ("RunsOutOfMemory", "out_of_memory", "MemoryError (in verify)"),
        ("AllocatesTooMuch", "out_of_memory", "Unable to allocate"),
        ("RunsOutOfDeviceMemory", "out_of_memory", "tried to allocate 20 GiB"),
        ("WritesIntoEverySocket", "failed", "protocol error: not a message"),
        ("AnswersWithWhatJsonCannotCarry", "failed", "in import"),
    ],
)
def test_whatever_a_backend_does_is_told_with_its_reason(job, work, backend, status, reason):
    kind = LOOK if "Json" in backend else VERIFY
    ended = work(job(backend, open=False, threads=1), kind)
    assert status == ended.status
    assert reason in ended.reason.replace(" (gradients)", "")
    assert "\n" not in ended.reason
    assert ended.result is None


def test_a_skipped_backend_says_what_would_help(job, work):
    assert "buy one" == work(job("NeedsAnotherMachine")).remedy


def test_a_failure_comes_with_its_traceback(job, work):
    assert "raise RuntimeError(" in work(job("RaisesInStep")).output
    assert "Segmentation fault" in work(job("Segfaults")).output


@pytest.mark.parametrize(
    ("adapter", "missing"),
    [
        ("no_such_module:Adapter", "no_such_module"),
        ("dlbench.no_such_module:Adapter", "dlbench.no_such_module"),
        ("broken_adapters:NoSuchClass", "broken_adapters:NoSuchClass"),
        ("broken_adapters:RaisesInInfo", ""),
    ],
)
def test_what_could_not_be_found_is_told_apart_from_the_words(job, work, adapter, missing):
    ended = work(job("Good") | {"adapter": adapter})
    assert ("failed", missing) == (ended.status, ended.missing)


def test_a_hanging_backend_is_ended_with_all_its_children(job, work):
    ended = work(job("Hangs"), limit_s=8.0)
    assert "timeout" == ended.status
    assert ended.reason.startswith("timed out: no progress for 8 s in phase verify")
    assert wait_for(lambda: not children_named("sleep 1001"))


def test_a_process_that_a_backend_leaves_behind_does_not_hold_the_run_up(job, work):
    ended = work(job("LeavesAProcessBehind", open=True, threads=1), LOOK)
    left_behind = int(ended.output)
    try:
        assert "ok" == ended.status
        assert is_alive(left_behind)
    finally:
        os.kill(left_behind, signal.SIGKILL)


@pytest.mark.parametrize(
    ("kills", "status"),
    [((7, 8), "out_of_memory"), ((7, 7), "failed"), ((None, None), "out_of_memory")],
)
def test_a_killed_worker_ran_out_of_memory_unless_the_system_says_otherwise(
    job, work, monkeypatch, kills, status
):
    counts = iter(kills)
    monkeypatch.setattr(process, "_kills_for_memory", lambda: next(counts))
    ended = work(job("KillsItself"))
    assert status == ended.status
    assert "SIGKILL" in ended.reason
    assert ("probably out of memory" in ended.reason) == (status == "out_of_memory")


def test_rubbish_on_the_output_is_harmless_and_its_end_is_kept(job, work):
    ended = work(job("Chatters"))
    assert "ok" == ended.status
    assert ended.output.endswith("x" * 4096)
    assert len(ended.output) <= 8192 + 100


def test_an_interpreter_that_is_not_there_is_a_failure(job, work):
    ended = work(job("Good"), python="/nowhere/python")
    assert "failed" == ended.status
    assert "/nowhere/python cannot be started: No such file or directory" == ended.reason


def test_an_interpreter_that_is_no_python_is_a_failure(job, work):
    assert "exited with code" in work(job("Good"), python="/bin/false").reason


def test_an_interpreter_with_nothing_but_numpy_runs_the_numpy_backend(job, work, tmp_path):
    import numpy as np

    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    (packages,) = bare.glob("lib/python*/site-packages")
    installed = Path(np.__file__).parents[1]
    for name in ("numpy", "numpy.libs"):
        if (installed / name).exists():
            (packages / name).symlink_to(installed / name)
    python = str(bare / "bin" / "python")
    probe = "import importlib.util as u; print([u.find_spec(n) for n in ('msgspec', 'dlbench')])"
    found = subprocess.run([python, "-P", "-c", probe], check=True, capture_output=True, text=True)
    assert "[None, None]" == found.stdout.strip()
    numpy = job("Good") | {"adapter": "dlbench.backends.numpy.adapter:Adapter"}
    assert "ok" == work(numpy, python=python).status
    timed = work(numpy | {"scenario": "train", "budget_s": 0.01}, STEPS, python=python)
    assert ("ok", "") == (timed.status, timed.reason)
    assert len(timed.result.timings_ns) > 0


def test_the_phases_are_told_in_their_order(job, work):
    phases = []
    work(job("Good", scenario="infer", budget_s=0.01), STEPS, on_phase=phases.append)
    wanted = "interpreter import open upload warm-up measure check copy"
    assert wanted.split() == phases


@pytest.mark.parametrize("by_itself", [True, False])
def test_a_start_beside_others_of_the_run_is_no_part_of_what_strangers_did(work, job, by_itself):
    found = work(job("Good", scenario="infer", budget_s=0.2, by_itself=by_itself), STEPS).result
    started_s = sum(found.start_seconds[phase] for phase in ("import", "open"))
    # windows are cut a moment beside the phases, which a busy neighbour makes longer
    assert (found.before.window_s >= started_s / 2 + found.seconds["warm-up"]) == by_itself


def test_the_seconds_of_the_phases_add_up_to_the_life_of_the_worker(job, work):
    ended = work(job("Good", scenario="infer", budget_s=0.2), STEPS)
    assert 0.2 < sum(ended.result.seconds.values()) <= ended.wall_s


def test_a_workers_libraries_have_the_threads_of_the_plan_and_no_device_is_hidden_from_it():
    environment = worker_environment(3, {"OMP_NUM_THREADS": "9", "KEPT": "1"})
    assert "3" == environment["OMP_NUM_THREADS"] == environment["OPENBLAS_NUM_THREADS"]
    assert "1" == environment["KEPT"]
    assert "CUDA_VISIBLE_DEVICES" not in environment
    assert "OMP_NUM_THREADS" not in worker_environment(None, {})


def test_home_folders_are_hidden(monkeypatch):
    monkeypatch.setenv("HOME", "/users/somebody")
    assert 'File "~/x.py"' == process.hide_home('File "/users/somebody/x.py"')
    assert "in ~, in ~." == process.hide_home("in /users/somebody, in /users/somebody.")


def test_a_folder_that_only_begins_like_the_home_folder_is_left_alone(monkeypatch):
    monkeypatch.setenv("HOME", "/users/al")
    for other in ("/users/alice/x", "/users/al.old/x", "/users/al-2"):
        assert other == process.hide_home(other)


def test_a_worker_ends_when_its_runner_is_killed(tmp_path):
    (tmp_path / "sleeper.py").write_text(
        "import os, time\n"
        "class Adapter:\n"
        "    def info(self):\n"
        f"        open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
        "        time.sleep(1000)\n"
        "    def open(self, plan, workload, weights):\n"
        "        raise AssertionError\n"
    )
    script = 'from dlbench.execute.probe import look; look("sleeper:Adapter", 1, False, 1000.0)'
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", script], env=environment) as runner:
        worker = int(
            wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
        )
        assert is_alive(worker)
        runner.send_signal(signal.SIGKILL)
    assert wait_for(lambda: not is_alive(worker))


def test_a_worker_that_is_closed_asleep_ends_by_itself_and_is_not_waited_for_until_it_is_killed(
    job,
):
    worker = Worker(Launch(worker_environment(1), 60.0))
    assert "ok" == worker.ask(LOOK, job("Good", open=False, threads=1)).status
    child = worker._child
    worker.sleep()
    worker.close()
    assert worker.pid is None
    assert 0 == child.returncode


def test_an_interrupt_ends_the_worker_and_passes_on(job):
    def interrupt(phase):
        if phase.startswith("verify"):
            raise KeyboardInterrupt

    launch = Launch(worker_environment(1), 60.0)
    with pytest.raises(KeyboardInterrupt):
        run_worker(VERIFY, job("Hangs"), launch, interrupt)
    assert wait_for(lambda: not children_named("dlbench.worker.entry", orphans=False))


def is_alive(pid):
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def children_named(text, orphans=True):
    """Living processes whose command line holds `text` and that this process started, or somebody who has ended."""
    parents = (1, os.getpid()) if orphans else (os.getpid(),)
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if text in command and parent in parents and is_alive(int(folder.name)):
            found.append(command)
    return found


def wait_for(condition, limit_s=30.0):
    """The condition's value as soon as it is true."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


class InterruptedWhileItLeaves(subprocess.Popen):
    """Waiting for it with a limit is interrupted; not before, which would end the test and not the wait."""

    def wait(self, timeout=None):
        if timeout is not None:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
        return super().wait(timeout)


def test_an_interrupt_while_a_worker_leaves_ends_what_it_started_too():
    def interrupt(number, frame):
        raise KeyboardInterrupt

    # the shell and what it started are one group
    command = ["sh", "-c", "sleep 1000 & echo $!; wait"]
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with InterruptedWhileItLeaves(
            command, stdout=subprocess.PIPE, start_new_session=True
        ) as child:
            grandchild = int(child.stdout.readline())
            with pytest.raises(KeyboardInterrupt):
                process._end(child, leaves=True)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert wait_for(lambda: not is_alive(grandchild))
