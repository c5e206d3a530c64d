import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from disturbers import burner

from dlbench.analyse.outcomes import outcomes
from dlbench.errors import UsageError
from dlbench.execute import side_by_side
from dlbench.execute.runner import plan_run, run
from dlbench.record.file import Writer, read_record
from dlbench.record.schema import End, Peak, Process, Skip, Training, Verification


@pytest.fixture(scope="module")
def whole(request_for, carry_out):
    """A run with all that there is in one."""
    return carry_out(request_for(rounds=3, epochs=2, budget_s=0.9))


def test_cases_are_measured_in_interleaved_rounds(whole):
    assert ["infer", "train"] * 3 == [line.case.scenario for line in whole.of(Process)]
    assert [1, 1, 2, 2, 3, 3] == [line.round for line in whole.of(Process)]


def test_a_process_leaves_everything_that_it_measured(whole):
    for process in whole.of(Process):
        assert "ok" == process.status
        assert len(process.timings_ns) >= 10
        assert 8 == len(process.upload_ns)
        assert {"warm-up", "measure", "check", "copy"} <= set(process.seconds)
        assert process.checks
        assert process.version
        assert 1 == process.facts["threads"]


def test_every_scenario_of_a_process_tells_what_its_start_took(whole):
    for process in whole.of(Process):
        assert {"interpreter", "import", "open"} <= set(process.seconds)
        assert process.first_step_ns > 0


def test_inference_is_timed_first_and_a_peak_is_told_by_who_made_it(whole):
    for process in whole.of(Process):
        assert process.scenarios_before == (process.case.scenario == "train")
        if process.case.scenario == "infer":
            assert process.peak_memory_bytes > 1e6


def test_a_process_tells_what_was_watched_beside_its_blocks(whole):
    for process in whole.of(Process):
        assert all(seen.window_s > 0 for seen in (process.before, process.during, process.after))
        assert process.during.window_s >= 1e-9 * sum(
            ended - started
            for started, ended in zip(process.block_started_ns, process.block_ended_ns, strict=True)
        )
        assert 2 == len(process.canary_ns)


def test_train_and_infer_share_one_verification(whole):
    assert ["ok"] == [line.status for line in whole.of(Verification)]


def test_a_verification_tells_first_steps_of_every_scenario_that_will_be_timed(whole):
    (verification,) = whole.of(Verification)
    assert ["infer", "train"] == list(verification.first_steps)
    assert all(steps.timings_ns for steps in verification.first_steps.values())
    assert ("numpy", None, "first figures") in whole.observer.phases


def test_the_matrix_product_rate_is_measured_in_the_same_run(whole):
    (peak,) = whole.of(Peak)
    assert min(peak.flops_per_s) > 0
    assert 1 == peak.threads


def test_a_training_over_epochs_learns(whole):
    (training,) = whole.of(Training)
    assert ("ok", 2) == (training.status, training.epochs)
    assert len(training.losses) % 2 == 0
    assert training.losses[-1] < training.losses[0]
    assert training.test_loss < training.losses[0]


def test_the_observer_hears_every_line_once_it_is_written(whole):
    assert whole.record.lines[-1] == whole.end
    assert whole.observer.lines == [whole.record.header, *whole.record.lines]


def test_the_observer_hears_the_phases_of_every_worker(whole):
    start, steps = ["interpreter", "import", "open", "upload"], ["warm-up", "measure", "check"]
    told = [phase for _, number, phase in whole.observer.phases if number == 1]
    # a job begins in the phase that the one before it ended in
    wanted = [*start, *steps, "copy", *steps, "copy"]
    assert wanted == [phase for phase, _ in itertools.groupby(told)]
    assert {"numpy"} == {backend for backend, number, _ in whole.observer.phases if number}
    assert whole.observer.estimate_s > 0


def test_the_account_of_the_wall_time_adds_up(whole):
    end = whole.end
    assert sum(end.seconds.values()) == pytest.approx(end.wall_s, rel=0.01)
    sampled_s = sum(sum(line.timings_ns) for line in whole.of(Process)) * 1e-9
    assert end.seconds["measured"] >= sampled_s
    assert all(end.seconds[part] > 0 for part in ("import", "verify", "warm-up", "training"))
    assert 0 < end.null_timing_ns


def test_the_sampling_time_of_a_row_is_shared_by_its_processes_and_theirs_by_their_blocks(whole):
    for process in whole.of(Process):
        blocks = process.blocks_ns
        assert len(blocks) >= side_by_side.LEAST_BLOCKS
        for block in blocks:
            # the last step is the one that the time ends in
            assert sum(block[:-1]) <= 0.9e9 / 3 / len(blocks)


def test_no_rounds_verify_and_time_nothing(request_for, carry_out):
    ran = carry_out(request_for(rounds=0))
    assert ["ok"] == [line.status for line in ran.of(Verification)]
    assert [Verification, End] == [type(line) for line in ran.record.lines]
    assert [{}] == [line.first_steps for line in ran.of(Verification)]
    assert ran.end.null_timing_ns is None


def test_a_backend_that_fails_in_its_first_steps_is_verified_and_fails_where_it_is_timed(
    request_for, carry_out
):
    ran = carry_out(request_for(backends=("broken_adapters:FailsWhenTimed",), rounds=2))
    (verification,) = ran.of(Verification)
    assert ("ok", {}) == (verification.status, verification.first_steps)
    assert "failed" in {line.status for line in ran.of(Process)}


def test_weights_that_stop_changing_make_a_case_unverified(request_for, carry_out):
    backend = "broken_adapters:StopsLearning"
    ran = carry_out(request_for(backends=(backend,), rounds=3, scenarios=("train",), epochs=1))
    assert ["ok"] == [line.status for line in ran.of(Verification)]
    # one such process is enough to know
    assert ["unverified"] == [line.status for line in ran.of(Process)]
    assert [] == ran.of(Training)


def late(ran):
    return [line.late for line in ran.of(Process)]


def test_a_backend_that_puts_its_steps_off_is_found_out_unless_the_machine_is_disturbed(
    request_for, carry_out
):
    backend = "broken_adapters:PutsStepsOff"
    ran = carry_out(request_for(backends=(backend,), rounds=2, scenarios=("infer",)))
    assert all(late(ran))
    assert ["ok"] == [line.status for line in ran.of(Verification)]
    (outcome,) = outcomes(ran.record)
    proven = outcome.status == "unverified" and "until its outcome is read" in outcome.reason
    not_told = (
        outcome.disturbed and "not finished when they were synchronised" in outcome.disturbance
    )
    # others may use this machine too
    assert proven or not_told


@pytest.mark.parametrize("patience_s", [0.0, 1.0])
def test_a_backend_that_is_slow_beside_a_burner_is_disturbed_and_never_wrong(
    request_for, carry_out, monkeypatch, patience_s
):
    threads = len(os.sched_getaffinity(0))
    with burner() as pid:
        monkeypatch.setenv("BURNER", str(pid))
        ran = carry_out(
            request_for(
                backends=("broken_adapters:IsSlowBesideABurner",),
                rounds=1,
                scenarios=("infer",),
                threads=threads,
                patience_s=patience_s,
            )
        )
    assert all(late(ran))
    (outcome,) = outcomes(ran.record)
    assert ("ok", True) == (outcome.status, outcome.disturbed)
    assert "other processes had" in outcome.disturbance


def test_a_backend_that_fails_while_it_is_timed_keeps_its_other_scenario(request_for, carry_out):
    ran = carry_out(request_for(backends=("broken_adapters:FailsWhenTimed",), rounds=2))
    seen = [(line.case.scenario, line.status) for line in ran.of(Process)]
    assert [("infer", "ok"), ("train", "failed"), ("infer", "ok")] == seen
    assert "RuntimeError: worn out (in " in ran.of(Process)[1].reason


def test_a_run_with_nothing_that_runs_is_complete_and_measures_nothing(request_for, carry_out):
    ran = carry_out(request_for(backends=("broken_adapters:NeedsAnotherMachine",)))
    assert [Skip, Skip, End] == [type(line) for line in ran.record.lines]
    assert {"cuda"} == {line.case.device for line in ran.of(Skip)}
    assert {"buy one"} == {line.remedy for line in ran.of(Skip)}


def test_a_request_that_cannot_be_carried_out_writes_nothing(request_for, tmp_path):
    writer = Writer(tmp_path / "record.jsonl")
    for wrong in ({"backends": ("nunpy",)}, {"batches": (10_000,)}, {"data": "mnits"}):
        with pytest.raises(UsageError):
            run(request_for(**wrong), writer)
    writer.close()
    assert b"" == writer.path.read_bytes()


@pytest.mark.parametrize("data", ["digits", "stand-in-mnist"])
def test_data_that_does_not_fit_the_network_is_refused_with_both_shapes(request_for, data):
    with pytest.raises(UsageError, match="gives inputs of 1 × 28 × 28, but suite 'tiny' takes 10"):
        plan_run(request_for(data=data))


def test_planning_runs_nothing_and_knows_what_will_not_run(request_for):
    planned = plan_run(request_for(backends=("numpy", "broken_adapters:NeedsAnotherMachine")))
    assert ["numpy", "numpy"] == [c.backend for c in planned.cases if c not in planned.problems]
    assert 2 == len(planned.problems)


TELLS_ITS_PID = """
import os
from dlbench.backends.numpy.adapter import Adapter as Numpy

class Adapter(Numpy):
    def open(self, plan, workload, weights):
        with open("pid", "w") as file:
            file.write(str(os.getpid()))
        return super().open(plan, workload, weights)
"""


def test_an_interrupt_keeps_what_was_measured_and_ends_the_worker(tmp_path, cache_dir, tiny_file):
    record = tmp_path / "record.jsonl"
    script = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from dlbench.plan.request import Request
        from dlbench.record.schema import Machine
        from dlbench.record.file import Writer
        from dlbench.execute.runner import Observer, run
        from dlbench.spec.suite import load_suite

        class Tell(Observer):
            def phase(self, case, round, phase):
                if round == 2 and phase == "measure":
                    print("second round", flush=True)

        machine = Machine("", None, None, 1, None, (), "", "", {{}})
        suite = load_suite({str(tiny_file)!r})
        request = Request(
            suite=suite, machine=machine, cache_dir=Path({str(cache_dir)!r}),
            scenarios=("infer",), rounds=2, budget_s=4.0, backends=("tells:Adapter",),
            patience_s=0.0,
        )
        print(run(request, Writer(Path({str(record)!r})), Tell()).status, flush=True)
    """)
    (tmp_path / "tells.py").write_text(TELLS_ITS_PID)
    # the adapter is found in the current folder, without any search path
    with subprocess.Popen(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        assert "second round\n" == process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert "interrupted\n" == process.stdout.readline()
    assert 0 == process.returncode
    lines = read_record(record).lines
    assert ["ok"] == [line.status for line in lines if isinstance(line, Process)]
    assert "interrupted" == lines[-1].status
    worker = int((tmp_path / "pid").read_text())
    end = time.monotonic() + 30
    while os.path.exists(f"/proc/{worker}") and time.monotonic() < end:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{worker}")


TELL_THEIR_PIDS = """
import hashlib, os, threading
from dlbench.backends.numpy.adapter import Adapter as Numpy

def spin():
    # without the interpreter's lock, so that the session beside it is not held up
    data = bytes(1 << 24)
    while True:
        hashlib.sha256(data)

class Rests(Numpy):
    def open(self, plan, workload, weights):
        with open("pids", "a") as file:
            file.write(f"{os.getpid()}\\n")
        return super().open(plan, workload, weights)

class Spins(Rests):
    def open(self, plan, workload, weights):
        threading.Thread(target=spin, daemon=True).start()
        return super().open(plan, workload, weights)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_ended_in_a_block_leaves_no_process_behind(
    tmp_path, cache_dir, tiny_file, number
):
    """Neither the one on turn, nor one that waits for its turn, nor one that was put to sleep until then."""
    script = textwrap.dedent(f"""
        from pathlib import Path
        from dlbench.plan.request import Request
        from dlbench.record.schema import Machine
        from dlbench.record.file import Writer
        from dlbench.execute.runner import Observer, run
        from dlbench.spec.suite import load_suite

        class Tell(Observer):
            def phase(self, case, round, phase):
                if round and phase == "measure":
                    print(case.backend, flush=True)

        request = Request(
            suite=load_suite({str(tiny_file)!r}), machine=Machine("", None, None, 1, None, (), "", "", {{}}),
            cache_dir=Path({str(cache_dir)!r}), scenarios=("infer",), rounds=1, budget_s=20.0,
            backends=("tell:Rests", "tell:Spins"), patience_s=0.0,
        )
        run(request, Writer(Path("record.jsonl")), Tell())
    """)
    (tmp_path / "tell.py").write_text(TELL_THEIR_PIDS)
    with subprocess.Popen(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        for turn in iter(process.stdout.readline, ""):
            pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
            living = [pid for pid in pids if state(pid)]
            if turn == "tell:Rests\n" and "T" in map(state, living):
                break
        process.send_signal(number)
    assert 2 == len(living)
    end = time.monotonic() + 30
    while any(map(state, living)) and time.monotonic() < end:
        time.sleep(0.05)
    assert [] == list(filter(state, living))


def state(pid):
    """What a process does, as the system's letter; empty for one that has ended."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return status.rpartition(")")[2].split()[0].strip("ZX")
