"""`dlbench env`, and runs that find what it made."""

import json
import sys

import pytest
from click.testing import CliRunner

from dlbench.cli.main import cli
from dlbench.record.file import read_record
from dlbench.record.schema import Verification


@pytest.fixture
def environments(tmp_path, monkeypatch, cache_dir):
    """A folder with the environment of a second row of NumPy, which is this one in truth."""
    folder = tmp_path / "environments"
    monkeypatch.setenv("DLBENCH_ENVIRONMENTS", str(folder))
    monkeypatch.setenv("DLBENCH_CACHE_DIR", str(cache_dir))
    place = folder / "numpy@1.0" / "bin"
    place.mkdir(parents=True)
    (place / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (place / "python").chmod(0o755)
    told = {"python": "3.11.7", "packages": {"numpy": "1.0"}, "made": "2026-01-01T00:00:00+00:00"}
    (place.parent / "dlbench-environment.json").write_text(json.dumps(told))
    return folder


def dlbench(*words):
    return CliRunner().invoke(cli, list(map(str, words)))


def test_a_run_uses_the_environment_of_a_row_by_itself(environments, tiny_file, tmp_path):
    words = ["--suite", tiny_file, "--backend", "numpy", "--backend", "numpy@1.0", "--quiet"]
    done = dlbench("verify", *words, "--output", tmp_path / "record.jsonl")
    assert 0 == done.exit_code, done.output
    lines = read_record(tmp_path / "record.jsonl").lines
    verified = {
        (line.case.backend, line.status) for line in lines if isinstance(line, Verification)
    }
    assert {("numpy", "ok"), ("numpy@1.0", "ok")} == verified


def test_a_row_without_an_environment_is_refused_with_the_command_that_makes_one(
    environments, tiny_file
):
    done = dlbench("verify", "--suite", tiny_file, "--backend", "torch@2.12", "--quiet")
    assert 2 == done.exit_code
    assert "dlbench env create torch==2.12" in done.stderr


def test_environments_are_listed_and_removed(environments):
    listed = dlbench("env", "list")
    assert "numpy@1.0  Python 3.11.7, numpy 1.0  0 MB\n" == listed.stdout
    assert 2 == dlbench("env", "remove", "../numpy@1.0").exit_code
    assert 0 == dlbench("env", "remove", "numpy@1.0").exit_code
    empty = dlbench("env", "list")
    assert ("", True) == (empty.stdout, "dlbench env create" in empty.stderr)
    again = dlbench("env", "remove", "numpy@1.0")
    assert (2, True) == (again.exit_code, "there are: none" in again.stderr)


@pytest.mark.parametrize("word", ["nothing", "numpy==../x", "numpy==1 --pre"])
def test_a_word_of_another_form_makes_nothing(environments, word):
    before = sorted(environments.rglob("*"))
    done = dlbench("env", "create", word)
    assert 2 == done.exit_code
    assert before == sorted(environments.rglob("*"))
