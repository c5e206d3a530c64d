"""What the kernel's counters tell, of real processes and of systems that tell less."""

import dataclasses
import os
import subprocess
import sys
import threading
import time

import psutil
import pytest
from disturbers import LEASH, NotPermittedError, burner, quota, stranger

from dlbench.analyse.disturbance import causes
from dlbench.contract import Plan
from dlbench.execute.materialise import prepare
from dlbench.execute.quiet_machine import look
from dlbench.host.interference import Reading, across, between, over, read, threading_facts
from dlbench.host.process_tree import parent, peak_memory_bytes
from dlbench.record.facts import Surroundings
from dlbench.worker.measurements import STEPS

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads Linux's counters")
ROUNDING_S = 1e-6
CORES = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def until(found, look, tries=20):
    """The first of several looks in which something was found; others may use this machine too."""
    seen = None
    for _ in range(tries):
        seen = look()
        if found(seen):
            break
    return seen


@linux
def test_a_process_of_somebody_else_is_seen_with_the_cores_it_has():
    with stranger():
        seen = until(lambda seen: seen.other_cores > 0.8, lambda: look(0.3))
    assert seen.other_cores > 0.8
    assert any("other processes had" in str(cause) for cause in causes(seen, len(CORES)))


def used_s(process):
    """Processor time of a process of its own, whoever started it."""
    times = psutil.Process(process).cpu_times()
    return times.user + times.system


def burnt_s(process):
    """Processor time of a process, once it has had some."""
    return until(lambda seconds: seconds > 0.1, lambda: time.sleep(0.1) or used_s(process), 300)


@linux
def test_what_a_process_has_started_is_its_own_also_when_it_has_ended():
    before = read()
    with burner() as child:
        at_least_s = burnt_s(child)
        running = read()
    ended = read()
    # the kernel's counters, which never go back
    assert running.own_s - before.own_s >= at_least_s - ROUNDING_S > 0
    assert ended.own_s >= running.own_s - ROUNDING_S


@linux
def test_what_a_child_has_started_is_its_own_too():
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    spin = f"{LEASH}\nimport time; print(flush=True); time.sleep(0.05)\nwhile True: pass"
    before = read()
    words = [sys.executable, "-c", script, spin]
    parent = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        parent.stdout.readline()
        (child,) = psutil.Process(parent.pid).children()
        at_least_s = burnt_s(child.pid)
        after = read()
    finally:
        # which ends the child, and so its parent
        parent.communicate()
    assert after.own_s - before.own_s >= at_least_s - ROUNDING_S > 0


@linux
def test_cores_of_a_process_are_its_processor_time_over_the_window():
    first = Reading(0.0, 10.0, 1.0, None, None, None, None, None)
    last = Reading(2.0, 14.0, 4.0, None, None, None, None, None)
    seen = between(first, last)
    assert (1.5, 0.5) == (seen.own_cores, seen.other_cores)


@linux
def test_short_windows_count_as_a_whole_since_ticks_do_not_divide():
    # each of 5 ms, in which the process had its core; the kernel counted a tick in every other one
    windows = [
        (
            Reading(t, b, o, 0.0, None, None, None, 0),
            Reading(t + 0.005, e, o + 0.005, 0.0, None, None, None, 0),
        )
        for n in range(200)
        for t, o, b, e in [(n * 0.01, n * 0.005, n // 2 * 0.01, (n + 1) // 2 * 0.01)]
    ]
    seen = across(windows)
    assert (seen.other_cores, seen.own_cores) == pytest.approx((0.0, 1.0), abs=1e-9)
    assert seen.window_s == pytest.approx(1.0)
    # each by itself, half of them have two cores busy, of which one is somebody else's
    assert over([between(*window) for window in windows]).other_cores > 0.4
    assert across([]) is None


@linux
def test_memory_is_of_a_process_and_of_what_it_has_started():
    hold = f"{LEASH}\nheld = bytearray(1 << 27)\nprint(flush=True)\nthreading.Event().wait()"
    before = peak_memory_bytes()
    words = [sys.executable, "-c", hold]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        with_child = peak_memory_bytes()
        child.communicate()
    assert with_child - before >= 1 << 27
    assert before > 1 << 20


@linux
def test_threads_of_this_process_are_its_own():
    before = read()
    end = time.monotonic() + 0.3
    threads = [threading.Thread(target=_spin, args=(end,)) for _ in range(2)]
    used_before_s = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    used_s = time.process_time() - used_before_s
    assert read().own_s - before.own_s >= used_s > 0


def _spin(end):
    while time.monotonic() < end:
        pass


@pytest.fixture
def measured(request_for, tmp_path, work):
    """The surroundings that a worker tells of itself."""

    def measured(backend, threads, budget_s=0.3):
        material = prepare(request_for(), tmp_path)
        plan = Plan(backend, "cpu", 32, threads, mode="eager")
        ended = work(material.job(plan, scenario="train", budget_s=budget_s), STEPS)
        assert "ok" == ended.status, ended.reason
        return ended.result

    return measured


@linux
@pytest.mark.skipif(len(CORES) < 2, reason="takes two cores")
def test_a_worker_that_is_confined_is_told_so(measured):
    seen = measured("broken_adapters:BindsItself", 2).during
    assert 1 == seen.usable_cores
    assert "confined to 1 core for 2 threads" in map(str, causes(seen, 2))


@linux
@pytest.mark.skipif(len(CORES) < 2, reason="takes two cores")
def test_a_quota_of_a_control_group_is_seen_and_how_long_it_held_back():
    script = (
        "import sys, threading; sys.path[:0] = eval(sys.argv[1])\n"
        "from dlbench.execute.quiet_machine import look\n"
        "import hashlib\n"
        "def work():\n"
        "    while True: hashlib.sha256(bytes(1 << 16))\n"
        "for _ in range(2): threading.Thread(target=work, daemon=True).start()\n"
        "seen = look(1.0)\n"
        "print(seen.quota_cores, seen.throttled_share >= 0)\n"
    )
    try:
        with quota(1.5) as processes:
            words = ["sh", "-c", f'echo $$ > {processes} && exec "$@"', "sh", sys.executable]
            done = subprocess.run(
                [*words, "-c", script, repr(sys.path)], capture_output=True, text=True, timeout=60
            )
    except NotPermittedError as reason:
        pytest.skip(str(reason))
    assert "1.5 True" == done.stdout.strip(), done.stderr


def test_a_system_without_these_files_tells_nothing_and_shows_no_cause(tmp_path):
    seen = between(read(tmp_path), read(tmp_path), tmp_path)
    told = dataclasses.asdict(seen)
    for name in ("window_s", "usable_cores", "granted_cores"):
        told.pop(name)
    assert {None} == set(told.values())
    assert () == causes(seen, 1)


@linux
def test_counters_that_do_not_show_this_process_itself_are_unknown_and_not_zero(tmp_path):
    """Some sandboxes show a machine on which nothing ever runs."""
    (tmp_path / "proc").mkdir()
    lines = [f"cpu{core} 0 0 0 0 0 0 0 0 0 0" for core in CORES]
    (tmp_path / "proc/stat").write_text("\n".join(["cpu 0 0 0 0 0 0 0 0 0 0", *lines, ""]))
    children = tmp_path / f"proc/{os.getpid()}/task/{os.getpid()}/children"
    children.parent.mkdir(parents=True)
    children.write_text("")
    before = read(tmp_path)
    used_s = time.process_time()
    while time.process_time() < used_s + 0.2:
        pass
    assert between(before, read(tmp_path), tmp_path).other_cores is None


@linux
def test_pressure_and_steal_are_read_from_their_files(tmp_path):
    (tmp_path / "proc/pressure").mkdir(parents=True)
    stat, cpu = tmp_path / "proc/stat", tmp_path / "proc/pressure/cpu"

    def write(ticks, waited_us):
        stat.write_text(f"cpu{CORES[0]} 5 0 0 0 0 0 0 {ticks} 0 0\n")
        cpu.write_text(f"some avg10=0.00 avg60=0.00 avg300=0.00 total={waited_us}\nfull avg10=1\n")

    write(10, 1_000_000)
    before = read(tmp_path)
    write(30, 1_500_000)
    after = dataclasses.replace(read(tmp_path), at_s=before.at_s + 2.0)
    seen = between(before, after, tmp_path)
    assert pytest.approx(20 / os.sysconf("SC_CLK_TCK") / 2) == seen.stolen_cores
    assert pytest.approx(0.25) == seen.waiting_share
    assert (None, None) == (seen.other_cores, seen.memory_waiting_share)


def test_a_counter_that_goes_back_is_no_rate_below_zero():
    first = Reading(0.0, 10.0, 1.0, 5.0, 1.0, 1.0, 1.0, 7)
    last = Reading(1.0, 9.0, 1.0, 4.0, 0.0, 0.0, 0.0, 3)
    seen = between(first, last)
    assert (0, 0, 0, 0) == (
        seen.other_cores,
        seen.stolen_cores,
        seen.waiting_share,
        seen.preemptions_per_s,
    )


def test_several_windows_count_by_their_length_as_far_as_they_tell():
    one = Surroundings(1.0, 1.0, None, 0.0, None, None, None, 2, 2, None, None)
    three = dataclasses.replace(
        one, window_s=3.0, other_cores=0.2, stolen_cores=0.4, usable_cores=1
    )
    seen = over([one, three])
    assert (4.0, 1) == (seen.window_s, seen.usable_cores)
    assert pytest.approx((0.4, 0.4)) == (seen.other_cores, seen.stolen_cores)
    assert seen.memory_waiting_share is None
    assert over([]) is None


def test_a_process_tells_how_its_threads_wait(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    (tmp_path / "proc/self").mkdir(parents=True)
    maps = tmp_path / "proc/self/maps"
    maps.write_text("7f00-7f01 r-xp 0 fe:00 1 /usr/lib/libc.so.6\n")
    assert {} == threading_facts(tmp_path)
    maps.write_text("7f00-7f01 r-xp 0 fe:00 1 /site-packages/torch/lib/libgomp-24e2ab19.so.1.0.0\n")
    assert {"openmp": "libgomp"} == threading_facts(tmp_path)
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    assert {"openmp": "libgomp", "omp_wait_policy": "passive"} == threading_facts(tmp_path)


def test_a_process_has_a_parent_as_long_as_there_is_one():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert os.getpid() == parent(child.pid)
    child.communicate(b"\n")
    assert parent(child.pid) is None
