import csv
import io

import pytest
from click.testing import CliRunner

from dlbench import paths
from dlbench.cli import main
from dlbench.history import change_points


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLBENCH_HISTORY", str(tmp_path / "h.sqlite"))
    return lambda *words: CliRunner().invoke(main.cli, ["history", *map(str, words)])


@pytest.fixture
def filled(invoke, write):
    pytest.importorskip("ruptures")
    paths = [write(day, 0.036 if day < 15 else 0.040) for day in range(30)]
    paths.append(write(30, status="unverified"))
    done = invoke("add", *paths)
    assert (0, "") == (done.exit_code, done.stderr)
    return invoke


def test_what_became_of_each_file_is_told_and_a_wrong_one_keeps_no_other_out(
    invoke, write, tmp_path
):
    (tmp_path / "wrong.jsonl").write_text("{}\n")
    done = invoke("add", write(1), "wrong.jsonl", write(1, name="again.jsonl"), write(2))
    assert 2 == done.exit_code
    said = [line.rpartition("/")[2] for line in done.stdout.splitlines()]
    assert [
        "001.jsonl: added, 1 row",
        "again.jsonl: is in the history already; nothing was added",
        "002.jsonl: added, 1 row",
    ] == said
    assert "wrong.jsonl" in done.stderr


def test_the_list_has_a_line_a_series_with_its_last_change(filled):
    done = filled("show")
    assert 0 == done.exit_code
    (line,) = [line for line in done.stdout.splitlines() if "numpy:cpu/train/64" in line]
    assert "31 rows" in line
    assert "+11." in line or "+10." in line
    assert "since 2026-01-16" in line


def test_a_chosen_series_has_a_line_a_row_and_a_sentence_a_change(filled):
    done = filled("show", "NUMPY", "epyc", "--last", "18")
    assert 18 == sum(line.endswith(".jsonl") for line in done.stdout.splitlines())
    assert "the last 18 of 31 rows" in done.stdout
    assert "! not verified: why" in done.stdout
    assert "→ from 2026-01-16 06:00 on +1" in done.stdout
    assert "no recorded version differs" in done.stdout


def test_csv_has_every_row_with_what_counts_and_where_a_level_begins(filled):
    rows = list(csv.DictReader(io.StringIO(filled("show", "--format", "csv").stdout)))
    assert 31 == len(rows)
    assert [15] == [number for number, row in enumerate(rows) if row["change"]]
    assert ("unverified", "False", "") == tuple(
        rows[-1][name] for name in ("status", "counts", "median_s")
    )


def test_words_that_no_series_has_are_a_usage_error(filled):
    done = filled("show", "jax")
    assert (2, "") == (done.exit_code, done.stdout)
    assert "no series has 'jax'" in done.stderr


@pytest.mark.parametrize(("form", "begins"), [("svg", b"<svg"), ("png", b"\x89PNG")])
def test_a_picture_is_written_and_the_same_history_gives_the_same_one(
    filled, tmp_path, form, begins
):
    pytest.importorskip("altair")
    pictures = []
    for number in (1, 2):
        done = filled("plot", "numpy", "--output", f"{number}.{form}")
        assert (0, f"{number}.{form}\n") == (done.exit_code, done.stdout)
        pictures.append((tmp_path / f"{number}.{form}").read_bytes())
    assert pictures[0].startswith(begins)
    assert pictures[0] == pictures[1]


def test_a_picture_of_another_kind_is_refused(filled):
    done = filled("plot", "--output", "a.gif")
    assert 2 == done.exit_code
    assert "ends with .svg, .png or .pdf" in done.stderr


def test_without_the_library_everything_but_change_points_is_there(invoke, write, monkeypatch):
    monkeypatch.setattr(change_points, "available", lambda: False)
    added = invoke("add", write(1))
    shown = invoke("show")
    assert (0, 0) == (added.exit_code, shown.exit_code)
    assert "pip install 'dlbench[history]'" in added.stderr
    assert "numpy:cpu/train/64" in shown.stdout
    assert "no change-point detection: pip install 'dlbench[history]'" in shown.stdout


def test_the_history_lies_in_the_users_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert tmp_path / "dlbench" / "history.sqlite" == paths.history_file()


def test_a_history_is_a_page_that_says_what_changed(filled):
    pytest.importorskip("altair")
    done = filled("show", "numpy", "--format", "html")
    assert 0 == done.exit_code
    assert done.stdout.startswith("<!doctype html>")
    assert "<b>Found</b>" in done.stdout
    assert "from 2026-01-16 06:00 on +1" in done.stdout
    assert "not verified: why" in done.stdout
