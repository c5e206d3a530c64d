"""What shells, batch systems and pipes do to the program: how it is ended, and what becomes of what it prints."""

import contextlib
import errno
import os
import pty
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dlbench import paths
from dlbench.errors import DlbenchError
from dlbench.host.scratch import scratch
from dlbench.record.file import read_record
from dlbench.record.schema import End

PROGRAM = [sys.executable, "-c", "from dlbench.cli.main import main; main()"]
LONG = ["run", "--suite", "smoke", "--backend", "numpy", "--budget", "9", "--rounds", "9"]
LONG += ["--output", "cut.jsonl"]
SHORT = ["run", "--suite", "smoke", "--backend", "numpy", "--budget", "0.2", "--rounds", "1"]
SHORT += ["--output", "whole.jsonl"]


def started(words, folder, *, temporary=None, **options):
    environment = os.environ | ({"TMPDIR": temporary} if temporary else {})
    return subprocess.Popen([*PROGRAM, *words], cwd=folder, env=environment, **options)


def until_measured(stderr):
    assert any(b" round 1: " in line for line in stderr)


def alive(group):
    with contextlib.suppress(ProcessLookupError):
        os.kill(group, 0)
        return True
    return False


def descendants(process):
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(each) for each in listed]


def ignoring(*numbers):
    """What a shell (``&``) or ``nohup`` does before it starts a program."""
    return lambda: [signal.signal(number, signal.SIG_IGN) for number in numbers]


@pytest.mark.parametrize(
    ("ignored", "sent"),
    [
        ((), signal.SIGTERM),
        ((signal.SIGINT, signal.SIGQUIT), signal.SIGTERM),
        ((signal.SIGINT,), signal.SIGHUP),
        ((signal.SIGHUP,), signal.SIGINT),
    ],
    ids=["cancelled", "in the background", "closed in the background", "nohup and Ctrl-C"],
)
def test_who_is_told_to_end_ends_with_130_and_a_record(tmp_path, ignored, sent):
    with started(
        LONG,
        tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=ignoring(*ignored),
    ) as process:
        until_measured(process.stderr)
        workers = descendants(process)
        process.send_signal(sent)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert workers
    assert not any(map(alive, workers))
    end = read_record(tmp_path / "cut.jsonl").lines[-1]
    assert isinstance(end, End)
    assert end.status == "interrupted"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_what_was_ignored_when_it_began_stays_ignored(tmp_path, number):
    with started(
        SHORT, tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=ignoring(number)
    ) as process:
        process.stderr.readline()
        process.send_signal(number)
        process.communicate(timeout=120)
    assert process.returncode == 0


@pytest.mark.parametrize("lines", [0, 1])
def test_a_run_whose_reader_has_gone_goes_on_and_ends_with_its_own_code(tmp_path, lines):
    with started(SHORT, tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        for _ in range(lines):
            process.stdout.readline()
        process.stdout.close()
        process.wait(120)
    assert process.returncode == 0
    assert read_record(tmp_path / "whole.jsonl").lines[-1].status == "complete"


def test_a_run_whose_terminal_is_closed_goes_on(tmp_path):
    ours, theirs = pty.openpty()
    with started(
        SHORT, tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        os.read(ours, 10)
        os.close(ours)
        process.wait(120)
    assert process.returncode == 0
    assert read_record(tmp_path / "whole.jsonl").lines[-1].status == "complete"


@pytest.mark.parametrize("words", [["list", "suites"], ["--help"], ["run", "--help"]])
def test_an_answer_of_which_one_line_was_enough_is_no_failure(tmp_path, words):
    command = " ".join(f"'{word}'" for word in [*PROGRAM, *words])
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} | (read -r line; exec <&-; sleep 0.2)"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_is_still_an_error(tmp_path):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*PROGRAM, "list", "suites"], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 4
    assert done.stderr == b"error: standard output: No space left on device\n"


def test_the_users_home_is_meant_by_a_tilde_wherever_it_stands(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DLBENCH_CACHE_DIR", "~/mine")
    assert paths.cache_dir() == tmp_path / "mine"
    done = subprocess.run(
        [*PROGRAM, *SHORT[:-1], "~/whole.jsonl", "--quiet"],
        cwd=tmp_path,
        env=os.environ | {"DLBENCH_CACHE_DIR": "~/cache"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "whole.jsonl").exists()
    assert (tmp_path / "cache").is_dir()
    assert not (tmp_path / "~").exists()


def test_a_user_without_a_home_has_a_cache_in_the_temporary_folder(tmp_path, monkeypatch):
    for name in ("DLBENCH_CACHE_DIR", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    # what `expanduser` gives where neither HOME nor the password file has one
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    for place in (paths.cache_dir(), paths.history_file()):
        assert place.is_relative_to(tmp_path)


@pytest.mark.parametrize("closed", [">&-", "<&- >&-", "<&- >&- 2>&-"])
def test_who_closes_its_streams_wants_no_answer(tmp_path, closed):
    command = " ".join(f"'{word}'" for word in [*PROGRAM, "list", "suites"])
    done = subprocess.run(["bash", "-c", f"{command} {closed}"], cwd=tmp_path, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_run_with_closed_streams_writes_nothing_but_lines_into_its_record(tmp_path):
    command = " ".join(f"'{word}'" for word in [*PROGRAM, *SHORT])
    shell = ["bash", "-c", f"{command} <&- >&- 2>&-"]
    assert subprocess.run(shell, cwd=tmp_path, timeout=120).returncode == 0
    record = read_record(tmp_path / "whole.jsonl")
    assert record.damaged == ()
    assert record.lines[-1].status == "complete"


@contextlib.contextmanager
def scratch_in(folder):
    """The folder of a run, in a folder for temporary ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        with scratch() as made:
            yield made


def test_a_full_temporary_folder_is_named(tmp_path):
    told = f"^{tmp_path}: No space left on device; .* TMPDIR"
    with pytest.raises(DlbenchError, match=told), scratch_in(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")


def left_of_runs(folder):
    return sorted(path.name for path in folder.glob("dlbench-run-*"))


def test_the_next_run_clears_up_behind_one_that_was_killed(tmp_path):
    with started(LONG, tmp_path, stderr=subprocess.PIPE, temporary=str(tmp_path)) as process:
        until_measured(process.stderr)
        (theirs,) = left_of_runs(tmp_path)
        with scratch_in(tmp_path) as ours:
            # one that lives is left alone
            assert left_of_runs(tmp_path) == sorted([theirs, ours.name])
        process.kill()
        process.wait(60)
    assert left_of_runs(tmp_path) == [theirs]
    with scratch_in(tmp_path) as ours:
        assert left_of_runs(tmp_path) == [ours.name]
    assert left_of_runs(tmp_path) == []


@pytest.mark.parametrize("how", ["deleted", "truncated"])
def test_what_was_measured_is_shown_though_somebody_took_the_record_away(tmp_path, how):
    path = tmp_path / "whole.jsonl"
    with started(SHORT, tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        until_measured(process.stderr)
        if how == "deleted":
            path.unlink()
        else:
            os.truncate(path, 10)
        shown, told = process.communicate(timeout=120)
    assert process.returncode == 0
    assert b"numpy" in shown
    assert b"was taken away or changed while it was written; all of it is in" in told
    assert read_record(tmp_path / "whole-2.jsonl").lines[-1].status == "complete"
