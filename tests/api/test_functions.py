"""The functions carry out what the commands do: the same requests by the same code, with results as objects."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import dlbench
from dlbench.cli import main
from dlbench.record.schema import Process

INTERRUPTED_IN_ROUNDS = """
import os, signal, sys
import dlbench

def interrupt(progress):
    if progress.kind == "result" and progress.round == 1:
        os.kill(os.getpid(), signal.SIGINT)

try:
    dlbench.run(sys.argv[1], budget=0.2, rounds=30, threads=1, max_wait=0, progress=interrupt)
except dlbench.Interrupted as stopped:
    print(stopped)
    print(len(stopped.results), stopped.path)
    print(isinstance(stopped, KeyboardInterrupt), isinstance(stopped, Exception))
"""


def test_a_run_gives_the_rows_that_the_command_line_shows_of_its_record(ran):
    results, _ = ran
    (path,) = results.paths
    shown = CliRunner().invoke(main.cli, ["report", path, "--format", "json"])
    assert json.loads(shown.stdout)["rows"] == json.loads(results.report("json"))["rows"]
    assert {"ok"} == {each.status for each in results}
    assert all(each.verified and each.step.value > 0 for each in results)


def test_a_run_prints_nothing_unless_it_is_asked_to(here, tiny, capfd):
    dlbench.verify(tiny, threads=1)
    assert ("", "") == capfd.readouterr()
    dlbench.verify(tiny, threads=1, progress=print)
    out, err = capfd.readouterr()
    assert "✓ numpy:cpu at batch 32 verified" in out
    assert "" == err


def test_progress_tells_what_there_is_to_do_what_begins_and_what_came_of_it(ran):
    _, told = ran
    kinds = [each.kind for each in told]
    assert "2 cases, about" in next(each.text for each in told if each.kind == "plan")
    assert kinds.index("plan") < kinds.index("result")
    assert "numpy:cpu/train/32 · round 1 · measure" in [str(each) for each in told]
    measured = [each for each in told if isinstance(each.line, Process)]
    assert {(1, "train"), (2, "train"), (1, "infer"), (2, "infer")} == {
        (each.round, each.case.scenario) for each in measured
    }
    assert all(0 <= each.share_done <= 1 and each.left_s >= 0 for each in measured)


def test_what_a_callback_raises_ends_the_run_and_is_raised(here, tiny):
    def fail(progress):
        if progress.kind == "result":
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        dlbench.verify(tiny, threads=1, progress=fail)


def test_a_run_may_be_called_where_an_event_loop_is_running(here, tiny):
    async def notebook():
        return dlbench.verify(tiny, threads=1)

    assert [True, True] == [each.verified for each in asyncio.run(notebook())]


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("run", ("run", {})),
        ("verify", ("verify", {})),
        ("profile", ("profile", {})),
        (
            (
                "run --suite smoke --backend numpy --backend torch --device cpu --scenario train --mode all"
                " --batch 8 --batch 16 --precision bf16 --threads 1 --budget 2.5 --rounds 2 --epochs 3"
                " --data stand-in --seed 7 --data-dir . --baseline numpy:cpu --best --target-interval 5%"
                " --max-wait 1.5 --timeout 20 --telemetry-period 20ms"
            ),
            (
                "run",
                {
                    "suite": "smoke",
                    "backends": ["numpy", "torch"],
                    "devices": "cpu",
                    "scenarios": ["train"],
                    "modes": "all",
                    "batches": [8, 16],
                    "precisions": ("bf16",),
                    "threads": 1,
                    "budget": 2.5,
                    "rounds": 2,
                    "epochs": 3,
                    "data": "stand-in",
                    "seed": 7,
                    "data_dir": ".",
                    "baseline": "numpy:cpu",
                    "best": True,
                    "target_interval": 0.05,
                    "max_wait": 1.5,
                    "timeout": 20,
                    "telemetry_period": 0.02,
                },
            ),
        ),
        (
            "profile --suite smoke --backend numpy --budget 3",
            ("profile", {"suite": "smoke", "backends": "numpy", "budget": 3}),
        ),
        (
            (
                "run --suite smoke --scenario server --scenario offline --rate 50 --latency-bound 20"
                " --latency-percentile 90"
            ),
            (
                "run",
                {
                    "suite": "smoke",
                    "scenarios": ["server", "offline"],
                    "rate": 50,
                    "latency_bound": 0.02,
                    "latency_percentile": 90,
                },
            ),
        ),
    ],
    ids=["run", "verify", "profile", "everything", "budget of a profile", "a server"],
)
def test_a_function_asks_for_exactly_what_its_command_asks_for(here, monkeypatch, words, arguments):
    asked = []

    def run(request, writer, observer=None):
        asked.append(request)
        raise dlbench.DataError("far enough")

    monkeypatch.setattr("dlbench.execute.runner.run", run)
    CliRunner().invoke(main.cli, [*words.split(), "--quiet"])
    name, given = arguments
    with pytest.raises(dlbench.DataError, match="far enough"):
        getattr(dlbench, name)(**given)
    by_command, by_function = asked
    assert by_command == by_function
    assert [] == list(here.rglob("*.jsonl"))


@pytest.mark.parametrize(
    ("call", "words", "told"),
    [
        (lambda: dlbench.run("smok"), "run --suite smok", "did you mean 'smoke'?"),
        (lambda: dlbench.run(backends="numpi"), "run --backend numpi", "did you mean 'numpy'?"),
        (lambda: dlbench.run("no.toml"), "run --suite no.toml", "no.toml: cannot be read"),
        (lambda: dlbench.load("no.jsonl"), None, "no.jsonl: cannot be read"),
        (
            lambda: dlbench.run(output="there.jsonl"),
            "run --output there.jsonl",
            "never overwritten",
        ),
        (lambda: dlbench.run(data="minst"), None, "minst"),
        (lambda: dlbench.run(batches="64"), None, "batches = '64' is not a whole number"),
        (lambda: dlbench.run(batches=[64, 1.5]), None, "batches = 1.5 is not a whole number"),
        (lambda: dlbench.run(backends=[7]), None, "backends = 7 is not a word"),
        (lambda: dlbench.run(budget=float("nan")), None, "budget = nan is not a number"),
        (lambda: dlbench.run(budget=0), None, "budget 0.0 must be a number of seconds greater"),
        (lambda: dlbench.run(rounds=True), None, "rounds = True is not a whole number"),
        (lambda: dlbench.run(seed=-1), None, "seed must be 0 or more"),
        (lambda: dlbench.run(telemetry_period=0.001), None, "telemetry-period 0.001 must be"),
        (lambda: dlbench.run(max_wait=-1), None, "max-wait -1.0 must be a number of seconds"),
        (lambda: dlbench.run(suite=7), None, "suite = 7 is not a path"),
        (
            lambda: dlbench.run("smoke", scenarios="server"),
            "run --suite smoke --scenario server",
            "--scenario server takes --rate, queries a second, or --latency-bound",
        ),
        (
            lambda: dlbench.run("smoke", rate=5),
            "run --suite smoke --rate 5",
            "are of --scenario server: name that too",
        ),
        (dlbench.load, None, "no record is named"),
        (lambda: dlbench.compare("a.jsonl", "b.jsonl", -1), None, "a.jsonl: cannot be read"),
    ],
)
def test_a_mistake_is_an_error_of_dlbench_in_the_words_of_the_command_line(here, call, words, told):
    Path("there.jsonl").write_text("taken\n")
    with pytest.raises(dlbench.DlbenchError) as error:
        call()
    assert told in str(error.value)
    if words:
        done = CliRunner().invoke(main.cli, [*words.split(), "--quiet"])
        assert f"error: {error.value}" == done.stderr.strip()
    assert ["there.jsonl"] == [path.name for path in here.rglob("*.jsonl")]


def test_an_interrupt_keeps_what_was_measured_and_is_raised(here, tiny_file, cache_dir):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IN_ROUNDS, str(tiny_file)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (0, "") == (done.returncode, done.stderr)
    said, counts, kinds = done.stdout.splitlines()
    assert said.startswith("interrupted; ")
    assert "to go on: dlbench.resume(" in said
    path = counts.split()[1]
    assert "2" == counts.split()[0]
    assert "True False" == kinds
    assert dlbench.load(path)


def test_a_run_that_was_cut_off_is_completed_and_a_complete_one_only_read(here, tiny, ran):
    results, _ = ran
    (path,) = results.paths
    whole = Path(path).read_bytes()
    cut = here / "cut.jsonl"
    cut.write_bytes(b"\n".join(whole.split(b"\n")[:3]) + b"\n")
    with pytest.raises(dlbench.UsageError, match="the suite 'tiny' was a file"):
        dlbench.resume(cut)
    completed = dlbench.resume(cut, suite=tiny, max_wait=0)
    assert ["ok", "ok"] == [each.status for each in completed]
    told = []
    assert dlbench.resume(cut, suite=tiny, progress=told.append)
    assert [] == told


def test_the_two_sides_of_a_comparison_are_records_or_results(here, ran, make, write_record):
    results, _ = ran
    both = dlbench.compare(results, results.paths[0], 0.5)
    assert 2 == len(both)
    assert {"same", "inconclusive"} >= {each.status for each in both}
    assert both.exit_code in (0, 3)
    assert [each.case for each in both] == list(both.to_pandas()["case"])
    shown = CliRunner().invoke(main.cli, ["compare", *2 * results.paths, "--threshold", "50%"])
    assert shown.stdout.rstrip("\n") == str(both)
    assert both.conclusion in repr(both)


def test_signals_are_what_they_were_after_a_run(ran):
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
