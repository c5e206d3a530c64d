"""Sweeps, baselines and resumed records from outside: the words, what is refused, and what is shown."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dlbench.api.carrying_out import Work
from dlbench.cli import main
from dlbench.cli import run as run_commands
from dlbench.cli.exit_codes import INTERRUPTED
from dlbench.errors import DataError
from dlbench.record.file import Writer, read_record
from dlbench.record.schema import End, Process, Resumed


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(main.cli, words)


def program(*words: str, folder: Path) -> subprocess.Popen[str]:
    """The program itself."""
    return subprocess.Popen(
        [sys.executable, "-c", "from dlbench.cli.main import main; main()", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--sweep", "batch"], "'batch' is not NAME=LIST, like batch=1,8,64"),
        (["--sweep", "lr=1,2"], "'lr' cannot be varied; known: batch, "),
        (["--sweep", "threads=1,2", "--html", "a.html"], "makes several records; leave out --html"),
        (["--sweep", "batch="], "'' in 'batch=' is not a whole number of 1 or more"),
        (["--sweep", "batch=1,,8"], "'' in 'batch=1,,8' is not a whole number"),
        (["--sweep", "batch=1,x"], "'x' in 'batch=1,x' is not a whole number"),
        (["--sweep", "batch=0,1"], "'0' in 'batch=0,1' is not a whole number"),
        (["--sweep", "batch=1,2", "--batch", "4"], "--sweep batch=… and --batch say the same"),
        (["--baseline", "numpy"], "baseline 'numpy' is not a backend:device, like numpy:cpu"),
        (["--resume", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--resume", "a.jsonl", "--output", "b.jsonl"], "leave out --output"),
        (["--resume", "a.jsonl", "--dry-run"], "leave out --dry-run"),
        (["--resume", "a.jsonl"], "its first line is no header"),
    ],
)
def test_a_mistake_is_told_in_one_line_with_exit_code_2(
    invoke: Callable[..., Result], tmp_path: Path, words: list[str], told: str
) -> None:
    (tmp_path / "a.jsonl").write_text("{")
    done = invoke("run", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert told in done.stderr.strip().splitlines()[-1]
    assert (tmp_path / "a.jsonl").read_text() == "{"


def test_a_sweep_chooses_its_batch_sizes_in_order_and_each_once(
    invoke: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def run(request: Any, writer: Any, observer: Any = None) -> End:
        asked.append(request)
        raise DataError("far enough")

    monkeypatch.setattr("dlbench.execute.runner.run", run)
    invoke("run", "--suite", "smoke", "--sweep", "batch=64, 1,8,8", "--baseline", "torch:cpu")
    (request,) = asked
    assert request.batches == (1, 8, 64)
    assert request.baseline == "torch:cpu"


def test_a_report_refers_to_the_baseline_that_is_asked_for(
    invoke: Callable[..., Result], make: Any, write_record: Any, tmp_path: Path
) -> None:
    write_record(tmp_path / "a.jsonl", make.record())
    done = invoke("report", "a.jsonl", "--baseline", "torch:cpu", "--format", "json")
    rows = [row for row in json.loads(done.stdout)["rows"] if row["speedup"] is not None]
    assert {row["baseline"] for row in rows} == {"torch:cpu/eager"}
    assert {row["backend"] for row in rows if row["speedup"] == 1} == {"torch"}
    missing = invoke("report", "a.jsonl", "--baseline", "jax:cpu")
    assert (missing.exit_code, missing.stdout) == (2, "")
    assert "'jax:cpu' matches no row; the rows are: numpy:cpu, torch:cpu/eager, " in missing.stderr


def test_a_baseline_that_no_case_can_be_ends_a_run_before_it_measures(
    invoke: Callable[..., Result], tmp_path: Path
) -> None:
    words = ["--suite", "linear-mse", "--backend", "numpy", "--baseline", "torch:cpu", "--quiet"]
    done = invoke("run", *words, "--output", "a.jsonl")
    assert done.exit_code == 2
    assert done.stderr.endswith("matches no row; the rows are: numpy:cpu\n")
    assert not (tmp_path / "a.jsonl").exists()


def test_a_record_of_a_suite_file_asks_for_the_file(
    invoke: Callable[..., Result], make: Any, write_record: Any, tmp_path: Path
) -> None:
    record = make.measured([make.case()], [], suite="mine")
    write_record(tmp_path / "a.jsonl", record)
    done = invoke("run", "--resume", "a.jsonl")
    assert done.exit_code == 2
    assert "the suite 'mine' was a file; name it with --suite FILE.toml" in done.stderr


def test_a_record_of_another_machine_is_refused_with_every_difference(
    invoke: Callable[..., Result], make: Any, write_record: Any, tmp_path: Path
) -> None:
    path = write_record(tmp_path / "a.jsonl", make.measured([make.case()], []))
    before = path.read_bytes()
    done = invoke("run", "--resume", "a.jsonl")
    assert done.exit_code == 2
    assert "the CPU is EPYC 9B45 in the record and " in done.stderr
    assert "the workload of cnn-mnist is abababababab in the record and " in done.stderr
    assert path.read_bytes() == before


def test_a_record_that_lacks_nothing_is_shown_wherever_it_comes_from(
    invoke: Callable[..., Result], make: Any, write_record: Any, tmp_path: Path
) -> None:
    case = make.case()
    lines = [make.verification(case), *(make.process(case, number) for number in (1, 2, 3))]
    path = write_record(tmp_path / "a.jsonl", make.measured([case], lines))
    before = path.read_bytes()
    done = invoke("run", "--resume", "a.jsonl")
    assert (done.exit_code, done.stderr) == (0, "nothing is missing in a.jsonl\n")
    assert "cnn-mnist" in done.stdout
    more = invoke("run", "--resume", "a.jsonl", "--rounds", "5", "--data", "stand-in")
    assert more.exit_code == 2
    assert "--rounds is 3 in the record and 5 now" in more.stderr
    assert "--data is mnist in the record and stand-in-mnist now" in more.stderr
    assert path.read_bytes() == before


def test_a_killed_run_is_completed_by_one_option_and_then_lacks_nothing(tmp_path: Path) -> None:
    words = ["run", "--suite", "linear-mse", "--backend", "numpy", "--scenario", "infer"]
    words += [
        "--threads",
        "1",
        "--sweep",
        "batch=1,4",
        "--budget",
        "0.4",
        "--rounds",
        "2",
        "--output",
        "cut.jsonl",
    ]
    with program(*words, folder=tmp_path) as process:
        assert process.stderr is not None
        assert any(" round 1: " in line for line in process.stderr)
        process.send_signal(signal.SIGKILL)
    path = tmp_path / "cut.jsonl"
    with path.open("ab") as file:
        file.write(b'{"kind":"process","case":{"su')
    before = read_record(path)
    assert before.end is None
    with program("run", "--resume", "cut.jsonl", "--format", "json", folder=tmp_path) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    after = read_record(path)
    assert after.lines[: len(before.lines)] == before.lines
    assert isinstance(after.lines[len(before.lines)], Resumed)
    measured = [(line.case.batch, line.round) for line in after.lines if isinstance(line, Process)]
    assert sorted(measured) == [(1, 1), (1, 2), (4, 1), (4, 2)]
    assert {row["interval_over"] for row in json.loads(out)["rows"]} == {"2 processes"}
    assert json.loads(out)["runs"][0]["parts"] == 2
    raw = path.read_bytes()
    with program("run", "--resume", "cut.jsonl", folder=tmp_path) as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "nothing is missing in cut.jsonl\n")
    assert "resumed 1 time" in out
    assert path.read_bytes() == raw


def test_a_framework_without_a_gpu_has_one_skipped_row_with_the_reason(tmp_path: Path) -> None:
    words = ["run", "--suite", "linear-mse", "--backend", "torch", "--scenario", "infer"]
    words += ["--device", "cuda:GPU-00000000", "--format", "json", "--quiet"]
    with program(*words, folder=tmp_path) as process:
        out, err = process.communicate(timeout=120)
    (row,) = json.loads(out)["rows"]
    assert (row["status"], row["device"]) == ("skipped", "cuda:GPU-00000000")
    assert row["reason"].startswith("no CUDA device")
    assert row["remedy"].startswith("this row needs an NVIDIA GPU")
    # nothing was measured
    assert (process.returncode, err) == (4, "")


def test_a_resumed_record_to_which_nothing_was_added_stays(make, tmp_path, request_for):
    path = tmp_path / "a.jsonl"
    writer = Writer(path)
    writer.write(make.record().header)
    writer.close()
    before = path.read_bytes()
    end = End("interrupted", 0.0, {}, None)
    work = Work(request_for(), Writer(path, append=True), lambda _: end)
    code = run_commands._carry_out(work, "table", True, None)
    assert (code, path.read_bytes()) == (INTERRUPTED, before)
