"""The command line from outside: what goes to which stream, which exit code, and what a mistake is
told."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dlbench.cli import main
from dlbench.data.datasets import data_set_of
from dlbench.errors import DataError
from dlbench.record.file import read_record
from dlbench.record.schema import End

FRAMEWORKS = {"torch", "tensorflow", "cupy"}
HEAVY = FRAMEWORKS | {"numpy", "scipy", "pandas", "rich", "psutil", "pynvml", "sklearn"}


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLBENCH_CACHE_DIR", str(tmp_path / "cache"))
    return lambda *words: CliRunner().invoke(main.cli, words)


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def dlbench(*words: str, **more: Any) -> subprocess.Popen[str]:
    """The program itself."""
    command = [sys.executable, "-c", "from dlbench.cli.main import main; main()", *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )


@pytest.fixture
def fake_run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a record in the place of a run: the runner has tests of its own."""

    def put(record: Any, status: str = "complete", fails: BaseException | None = None) -> None:
        def run(request: Any, writer: Any, observer: Any = None) -> End:
            if record is not None:
                for line in (record.header, *record.lines):
                    writer.write(line)
            if fails is not None:
                raise fails
            return End("interrupted" if status == "interrupted" else "complete", 1.0, {}, None)

        monkeypatch.setattr("dlbench.execute.runner.run", run)

    return put


def test_help_and_import_load_nothing_heavy() -> None:
    loaded = "import sys, dlbench.cli.main as c; c.cli(['--help'], standalone_mode=False); print(*sys.modules)"
    modules = {name.partition(".")[0] for name in python(loaded).splitlines()[-1].split()}
    assert "click" in modules
    assert modules & HEAVY == set()
    assert (
        set(python("import sys, dlbench; print(*sys.modules)").split()) & (HEAVY | {"click"})
        == set()
    )


def test_reporting_loads_no_framework(make: Any, write_record: Any, tmp_path: Path) -> None:
    path = write_record(tmp_path / "a.jsonl", make.record())
    code = (
        "import sys, dlbench.cli.main as c;"
        f"c.cli(['report', {str(path)!r}, '--format', 'csv'], standalone_mode=False); print(*sys.modules)"
    )
    assert set(python(code).splitlines()[-1].split()) & FRAMEWORKS == set()


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["run"],
        ["verify"],
        ["report"],
        ["list"],
        ["list", "suites"],
        ["doctor"],
        ["data", "fetch"],
    ],
)
def test_every_command_has_help(invoke: Callable[..., Result], command: list[str]) -> None:
    done = invoke(*command, "--help")
    assert done.exit_code == 0
    assert done.stdout.startswith("Usage: ")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "--batch", "0"], "'--batch'"),
        (["run", "--budget", "nan"], "'--budget'"),
        (["run", "--budget", "-1"], "'--budget'"),
        (["run", "--rounds", "0"], "'--rounds'"),
        (["run", "--rounds", "1" + 400 * "0"], "rounds must be at most"),
        (["run", "--epochs", "1" + 400 * "0"], "epochs must be at most"),
        (["run", "--threads", "1" + 400 * "0"], "'--threads'"),
        (["run", "--batch", "1" + 400 * "0"], "batch an integer of 1,329 bits"),
        (["run", "--sweep", "batch=1" + 5000 * "0"], "'--sweep'"),
        (["run", "--timeout", "1e308"], "'--timeout'"),
        (["run", "--max-wait", "nan"], "'--max-wait'"),
        (["conformance", "numpy", "--networks", "1" + 400 * "0"], "'--networks'"),
        (["history", "show", "--last", "1" + 400 * "0"], "'--last'"),
        (["run", "--scenario", "fly"], "'fly'"),
        (["run", "--format", "xml"], "'xml'"),
        (["run", "--sweet", "x"], "'--sweet'"),
        (["run", "--suite", "cnn-mnits"], "cnn-mnist"),
        (["run", "--suite", "nowhere.toml"], "nowhere.toml"),
        (["run", "--backend", "numpy", "--device", "gpu"], "'gpu'"),
        (["run", "--backend", "touch"], "torch"),
        (["run", "--data-dir", "nowhere"], "'nowhere'"),
        (["run", "--python", "numpy"], "--python 'numpy' is not BACKEND=PATH"),
        (["report"], "FILES"),
        (["report", "nowhere.jsonl"], "nowhere.jsonl"),
        (["frobnicate"], "'frobnicate'"),
        (["data", "fetch", "imagenet"], "'imagenet'"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_that_names_it_with_exit_code_2(
    invoke: Callable[..., Result], tmp_path: Path, words: list[str], told: str
) -> None:
    done = invoke(*words)
    assert done.exit_code == 2
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert told in lines[-1]
    assert len([line for line in lines if line.startswith("error")]) == 1
    assert not list(tmp_path.glob("results/*"))


def test_a_word_that_is_missing_shows_the_help(invoke: Callable[..., Result]) -> None:
    done = invoke()
    assert "Usage: " in done.output
    assert "Commands:" in done.output


@pytest.mark.parametrize("form", ["table", "markdown", "csv", "json"])
def test_a_record_is_reported_in_every_format(
    invoke: Callable[..., Result], make: Any, write_record: Any, tmp_path: Path, form: str
) -> None:
    path = write_record(tmp_path / "a.jsonl", make.record())
    done = invoke("report", str(path), "--format", form)
    assert done.exit_code == 0
    assert "tensorflow" in done.stdout
    assert done.stderr == ""


def test_what_is_no_record_is_a_usage_error(invoke: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"kind": "header"}\n')
    done = invoke("report", "a.jsonl")
    assert done.exit_code == 2
    assert "a.jsonl" in done.stderr


def ok_lines(make: Any, case: Any) -> list[Any]:
    """A case that went well."""
    return [make.verification(case), make.process(case, 1), make.process(case, 2)]


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        (["ok"], 0),
        (["ok", "skipped"], 0),
        (["ok", "unverified"], 1),
        (["ok", "failed", "skipped"], 1),
        (["ok", "timeout"], 1),
        (["ok", "out_of_memory"], 1),
        (["unverified"], 1),
        (["skipped"], 4),
        ([], 4),
    ],
)
def test_exit_codes_tell_how_a_run_ended(
    invoke: Callable[..., Result],
    make: Any,
    fake_run: Callable[..., None],
    statuses: list[Any],
    code: int,
) -> None:
    cases = [make.case(f"b{number}") for number in range(len(statuses))]
    lines: list[Any] = []
    for case, status in zip(cases, statuses, strict=True):
        lines += (
            ok_lines(make, case) if status == "ok" else [make.verification(case, status, "why")]
        )
    fake_run(make.measured(cases, lines))
    done = invoke("run", "--quiet")
    assert done.exit_code == code
    assert done.stderr == ""


def test_results_go_to_stdout_and_the_record_to_a_new_file(
    invoke: Callable[..., Result], make: Any, fake_run: Callable[..., None], tmp_path: Path
) -> None:
    fake_run(make.record())
    names = []
    for _ in range(2):
        done = invoke("run", "--format", "json", "--quiet")
        names.append(json.loads(done.stdout)["rows"][0]["record"])
    assert len(set(names)) == 2
    for name in names:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-cnn-mnist(-2)?\.jsonl", name)
        assert read_record(tmp_path / "results" / name) == make.record()


def test_a_record_is_never_overwritten(
    invoke: Callable[..., Result], make: Any, fake_run: Callable[..., None], tmp_path: Path
) -> None:
    fake_run(make.record())
    (tmp_path / "mine.jsonl").write_text("precious")
    done = invoke("run", "--output", "mine.jsonl")
    assert done.exit_code == 2
    assert "exists" in done.stderr
    assert (tmp_path / "mine.jsonl").read_text() == "precious"


def test_an_interrupted_run_says_what_is_kept_and_how_to_see_it(
    invoke: Callable[..., Result], make: Any, fake_run: Callable[..., None]
) -> None:
    case, other = make.case(), make.case("torch")
    fake_run(make.measured([case, other], ok_lines(make, case)), status="interrupted")
    done = invoke("run", "--output", "cut.jsonl", "--quiet")
    assert done.exit_code == 130
    assert done.stdout == ""
    assert "1 case" in done.stderr
    assert "dlbench report cut.jsonl" in done.stderr


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (DataError("train.gz: truncated"), 4, "error: train.gz: truncated\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (
            OSError(28, "No space left on device", "x.jsonl"),
            4,
            "error: x.jsonl: No space left on device\n",
        ),
    ],
)
def test_a_run_that_could_not_begin_leaves_no_empty_file(
    invoke: Callable[..., Result],
    fake_run: Callable[..., None],
    tmp_path: Path,
    error: BaseException,
    code: int,
    told: str,
) -> None:
    fake_run(None, fails=error)
    done = invoke("run", "--output", "x.jsonl", "--quiet")
    assert (done.exit_code, done.stderr.lstrip()) == (code, told)
    assert not (tmp_path / "x.jsonl").exists()


def test_an_interruption_before_the_first_line_is_told(
    invoke: Callable[..., Result], fake_run: Callable[..., None], tmp_path: Path
) -> None:
    fake_run(None, status="interrupted")
    done = invoke("run", "--output", "x.jsonl", "--quiet")
    assert (done.exit_code, "interrupted" in done.stderr) == (130, True)
    assert not (tmp_path / "x.jsonl").exists()


def test_a_defect_is_a_short_line_and_a_traceback_only_on_request(
    invoke: Callable[..., Result], fake_run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_run(None, fails=ZeroDivisionError("a defect"))
    short = invoke("run", "--quiet")
    monkeypatch.setenv("DLBENCH_DEBUG", "1")
    long = invoke("run", "--quiet")
    assert short.exit_code == long.exit_code == 4
    assert len(short.stderr.splitlines()) == 1
    assert "ZeroDivisionError: a defect" in short.stderr
    assert "DLBENCH_DEBUG=1" in short.stderr
    assert "Traceback" in long.stderr


def test_options_reach_the_run_as_they_were_given(
    invoke: Callable[..., Result], make: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Any] = []

    def run(request: Any, writer: Any, observer: Any = None) -> End:
        asked.append(request)
        raise DataError("far enough")

    monkeypatch.setattr("dlbench.execute.runner.run", run)
    words = "--suite smoke --backend numpy --backend torch --device cpu --scenario train --batch 8 --batch 16"
    words += " --threads 1 --budget 2.5 --rounds 2 --epochs 3 --data stand-in --data-dir . --seed 7"
    invoke("run", *words.split(), "--quiet")
    invoke("verify", "--data", "digits", "--quiet")
    run_request, verify_request = asked
    assert run_request.suite.name == "smoke"
    assert (run_request.backends, run_request.devices) == (("numpy", "torch"), ("cpu",))
    assert (run_request.scenarios, run_request.batches) == (("train",), (8, 16))
    assert (run_request.threads, run_request.budget_s, run_request.rounds) == (1, 2.5, 2)
    assert (run_request.epochs, run_request.seed) == (3, 7)
    assert (run_request.data, run_request.data_dir) == ("stand-in-mnist", Path())
    assert run_request.cache_dir == tmp_path / "cache"
    assert (verify_request.rounds, verify_request.data) == (0, "digits")


def test_words_that_name_no_stand_in_are_refused() -> None:
    assert data_set_of(None, "mnist") is None
    assert data_set_of("stand-in", "stand-in-cifar10") == "stand-in-cifar10"
    with pytest.raises(Exception, match="digits, has no stand-in"):
        data_set_of("stand-in", "digits")


def test_suites_are_listed_with_what_they_measure(invoke: Callable[..., Result]) -> None:
    done = invoke("list", "suites")
    assert done.exit_code == 0
    assert "cnn-mnist: " in done.stdout
    assert "1,199,882 parameters" in done.stdout


def test_a_reader_that_has_seen_enough_causes_no_complaint(
    make: Any, write_record: Any, tmp_path: Path
) -> None:
    path = write_record(tmp_path / "a.jsonl", make.record())
    with dlbench("report", *[str(path)] * 200, "--format", "csv") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 0


def test_the_program_runs_from_words_to_a_report(tmp_path: Path) -> None:
    words = ["run", "--suite", "smoke", "--backend", "numpy", "--backend", "cupy"]
    words += ["--budget", "0.5", "--rounds", "2", "--format", "json"]
    process = dlbench(*words, cwd=tmp_path)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    rows = json.loads(out)["rows"]
    status = {(row["backend"], row["scenario"]): row["status"] for row in rows}
    assert status[("numpy", "train")] == status[("numpy", "infer")] == "ok"
    assert all(row["verified"] and row["speedup"] == 1 for row in rows if row["backend"] == "numpy")
    assert "numpy:cpu at batch 16 verified" in err
    assert "\x1b" not in err


def test_ctrl_c_keeps_what_was_measured_and_says_how_to_go_on(tmp_path: Path) -> None:
    words = ["run", "--suite", "smoke", "--backend", "numpy", "--budget", "9"]
    words += ["--rounds", "9", "--output", "cut.jsonl"]
    with dlbench(*words, cwd=tmp_path) as process:
        assert process.stderr is not None
        assert any(" round 1: " in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "dlbench report cut.jsonl" in err
    record = read_record(tmp_path / "cut.jsonl")
    assert isinstance(record.lines[-1], End)
    assert record.lines[-1].status == "interrupted"
