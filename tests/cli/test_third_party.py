"""A third party's backend and report, installed by entry point and chosen by their own words on the command line."""

import json
import os
import subprocess
import sys

import pytest
from third_party import install, install_abacus

LABELS = ["abacus:abacus/beads/infer/16", "abacus:abacus/rods/infer/16", "numpy:cpu/infer/16"]
CHOSEN = ["--suite", "smoke", "--backend", "abacus", "--backend", "numpy", "--scenario", "infer"]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Runs ``dlbench`` in a folder of its own, where the two distributions are installed."""
    folder = tmp_path_factory.mktemp("third-party")
    places = install_abacus(folder / "backend"), folder / "report"
    points = "[dlbench.reports]\nhaiku = haiku_report:render\n"
    install(places[1], "haiku_report", name="haiku-report", entry_points=points)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, places)),
        "DLBENCH_HISTORY": str(folder / "history.sqlite"),
    }
    script = "from dlbench.cli.main import main; main()"

    def program(*words):
        command = [sys.executable, "-c", script, *words]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)

    return program


@pytest.fixture(scope="module")
def measured(program):
    """The record of both backends, the third party's in both its modes."""
    words = [
        *CHOSEN,
        "--mode",
        "all",
        "--rounds",
        "1",
        "--budget",
        "1",
        "--output",
        "a.jsonl",
        "--quiet",
    ]
    done = program("run", *words, "--format", "haiku")
    assert 0 == done.returncode, done.stderr
    return done.stdout


def test_both_modes_are_verified_and_measured_and_a_report_of_ones_own_shows_them(measured):
    assert [f"{label} is ok" for label in LABELS] == sorted(measured.splitlines())


def test_one_of_its_modes_is_chosen_and_a_wrong_word_gets_the_right_ones(program):
    done = program("run", *CHOSEN, "--mode", "beads", "--dry-run", "--quiet")
    assert "abacus:abacus/beads/infer/16" in done.stdout, done.stdout + done.stderr
    assert "rods" not in done.stdout
    wrong = program("run", *CHOSEN, "--mode", "strings", "--dry-run", "--quiet")
    assert 2 == wrong.returncode
    assert "'strings'" in wrong.stderr
    assert "beads" in wrong.stderr
    wrong = program("report", "a.jsonl", "--format", "sonnet")
    assert 2 == wrong.returncode
    assert "haiku" in wrong.stderr


@pytest.mark.parametrize("baseline", ["abacus:abacus/beads", "numpy:cpu"])
def test_its_rows_have_a_baseline_and_are_one(program, measured, baseline):
    done = program("report", "a.jsonl", "--baseline", baseline, "--format", "json")
    rows = json.loads(done.stdout)["rows"]
    assert 3 == len(rows), done.stderr
    assert {baseline} == {row["baseline"] for row in rows}
    assert all(row["speedup"] > 0 for row in rows)


def test_a_baseline_that_two_modes_share_is_refused_with_both(program, measured):
    done = program("report", "a.jsonl", "--baseline", "abacus:abacus")
    assert 2 == done.returncode
    assert "abacus:abacus/beads, abacus:abacus/rods" in done.stderr


def test_its_modes_are_series_of_the_history(program, measured):
    assert 0 == program("history", "add", "a.jsonl").returncode
    shown = program("history", "show", "--format", "csv").stdout
    assert "beads" in shown
    assert "rods" in shown
