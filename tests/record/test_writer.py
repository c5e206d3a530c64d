"""Who may write a record, and when."""

import datetime
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from dlbench.cli import main
from dlbench.errors import DlbenchError
from dlbench.paths import default_outputs
from dlbench.record.file import Writer, create, read_record
from dlbench.record.schema import Resumed


def test_what_a_run_left_empty_that_was_killed_is_written_by_the_next(make, tmp_path):
    path = tmp_path / "record.jsonl"
    Writer(path).close()
    assert b"" == path.read_bytes()
    writer, record = Writer(path), make.record()
    writer.write(record.header)
    writer.close()
    assert record.header == read_record(path).header


def test_a_record_with_something_in_it_is_never_written_anew(tmp_path):
    path = tmp_path / "record.jsonl"
    path.write_bytes(b"{}\n")
    with pytest.raises(FileExistsError):
        Writer(path)
    assert b"{}\n" == path.read_bytes()


def test_runs_of_one_second_choose_different_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    now = datetime.datetime(2026, 11, 20, 14, 5, tzinfo=datetime.UTC)
    # the first has written nothing yet
    writers = [create(default_outputs("ci", now)) for _ in range(3)]
    for writer in writers:
        writer.close()
    assert ["", "-2", "-3"] == [
        writer.path.stem.removeprefix("2026-11-20T14-05-00-ci") for writer in writers
    ]
    assert {Path("results")} == {writer.path.parent for writer in writers}


def test_an_empty_record_is_held_by_the_run_that_is_about_to_write_it(tmp_path):
    writer = Writer(tmp_path / "record.jsonl")
    with pytest.raises(DlbenchError, match="another run is writing"):
        Writer(writer.path)
    writer.close()


def test_resuming_an_empty_record_begins_it(tmp_path):
    path = tmp_path / "record.jsonl"
    path.touch()
    words = ["--suite", "linear-mse", "--backend", "numpy", "--rounds", "1", "--budget", "0.2"]
    done = CliRunner().invoke(main.cli, ["run", "--resume", str(path), *words, "--quiet"])
    assert 0 == done.exit_code, done.output
    assert "linear-mse" == read_record(path).header.suite


def test_a_child_of_a_killed_run_that_shares_its_lock_for_a_moment_is_waited_for(tmp_path):
    writer = Writer(tmp_path / "record.jsonl")
    writer.write(Resumed("now", "0"))
    descriptor = writer._file.fileno()
    script = "import time; print(flush=True); time.sleep(0.5)"
    with subprocess.Popen(
        [sys.executable, "-c", script], pass_fds=(descriptor,), stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        writer.close()
        Writer(writer.path, append=True).close()
