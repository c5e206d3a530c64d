"""What gates said, kept in a history and shown beside the series of the cases that they are about."""

import re
import sqlite3

import msgspec
import pytest
from click.testing import CliRunner
from record_makers import make_gate_header

from dlbench.cli import main
from dlbench.gate.pairs import order
from dlbench.gate.schema import Beside, End, Half
from dlbench.history.tables import MIGRATIONS, _keep_verdicts
from dlbench.record import schema as r


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DLBENCH_HISTORY", str(tmp_path / "h.sqlite"))
    return lambda *words: CliRunner().invoke(main.cli, list(map(str, words)))


@pytest.fixture
def gate(tmp_path, make):
    """Writes the record of a gate whose new version takes `ratio` times as long; with a `status`, it was not timed."""

    def write(name, day, ratio=1.0, *, status=None, ending="decided", **header):
        case = make.case()
        fields = {
            "suite": "cnn-mnist",
            "workload_digest": make.header().workload_digest,
            "created": f"2026-01-{day:02}T09:00:00+00:00",
        }
        lines = [make_gate_header([case], **(fields | header))]
        if status:
            lines.append(Beside(case.label, status, "its gradients are wrong"))
        for number in range(0 if status else 12):
            for arm in order(number):
                took_ns = round(36e6 * (ratio if arm == "new" else 1) * (1 + number / 10_000))
                lines.append(Half(arm, r.Process(case, number, "ok", "", (took_ns,) * 3)))
        if ending:
            lines.append(End(ending, 20.0))
        path = tmp_path / name
        path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        return path

    return write


def test_verdicts_stand_beside_the_series_of_their_case_and_nowhere_else(invoke, write, gate):
    told = [gate("a.jsonl", 2, 1.1), gate("b.jsonl", 3), gate("c.jsonl", 4, status="failed")]
    other = gate("d.jsonl", 5, 1.1, suite="another")
    done = invoke("history", "add", *(write(day) for day in range(5)), *told, other)
    assert (0, "") == (done.exit_code, done.stderr)
    assert 4 == done.stdout.count("added, 1 verdict\n")
    shown = invoke("history", "show", "numpy").stdout
    assert "gate main (abc) → working tree: SLOWER, +10.0 % [" in shown
    assert "FAILED, its gradients are wrong, on CPU unknown, 1 thread" in " ".join(shown.split())
    assert "2026-01-05 09:00" not in shown
    again = invoke("history", "add", told[0])
    assert "is in the history already; nothing was added" in again.stdout


def test_a_gate_without_verdicts_is_refused_and_keeps_no_other_out(invoke, write, gate):
    wrong = [gate("cut.jsonl", 1, ending=None), gate("same.jsonl", 1, calibration=True)]
    done = invoke("history", "add", *wrong, write(1))
    assert 2 == done.exit_code
    assert "cut.jsonl: the gate was cut off before it had decided" in done.stderr
    assert "same.jsonl: a calibration times the same code twice" in done.stderr
    assert "001.jsonl: added, 1 row" in done.stdout


def test_a_history_from_before_verdicts_were_kept_is_taken_on(invoke, write, gate, tmp_path):
    assert 0 == invoke("history", "add", write(1)).exit_code
    with sqlite3.connect(tmp_path / "h.sqlite") as base:
        base.execute("DROP TABLE verdicts")
        base.execute(f"PRAGMA user_version = {MIGRATIONS.index(_keep_verdicts)}")
    assert 0 == invoke("history", "show").exit_code
    assert "added, 1 verdict" in invoke("history", "add", gate("a.jsonl", 2)).stdout


def test_a_page_draws_verdicts_and_no_row_without_a_result(invoke, write, gate, tmp_path):
    pytest.importorskip("altair")
    records = [write(day) for day in range(3)] + [write(3, status="unverified")]
    invoke("history", "add", *records, gate("a.jsonl", 2, 1.1))
    done = invoke("history", "show", "--format", "html", "--output", "page.html")
    assert (0, "wrote page.html\n") == (done.exit_code, done.stderr)
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "▼ slower" in page
    assert "SLOWER, +10.0 % [" in page
    marks = [tip for tip in re.findall(r"<title>(2026[^<]*)</title>", page) if "gate" not in tip]
    # a mark in each of the two widths; that of the row without a result tells no time
    assert 8 == len(marks)
    assert {True} == {("not verified: why" in tip) != (" ms" in tip) for tip in marks}


def test_the_page_of_a_record_has_its_history_where_one_is_named(invoke, write, tmp_path):
    pytest.importorskip("altair")
    new, *old = write(40, 0.040), *(write(day) for day in range(12))
    invoke("history", "add", *old)
    words = ("report", new, "--format", "html", "--output", "page.html")
    assert 0 == invoke(*words).exit_code
    assert not re.search(r"\d Over time", (tmp_path / "page.html").read_text("utf-8"))
    assert 0 == invoke(*words, "--database", tmp_path / "h.sqlite").exit_code
    page = (tmp_path / "page.html").read_text("utf-8")
    assert re.search(r"\d Over time", page)
    assert "numpy:cpu/train/64 2 threads" in page
    assert "is not in that history" in page
    invoke("history", "add", new)
    invoke(*words, "--database", tmp_path / "h.sqlite")
    assert "is not in that history" not in (tmp_path / "page.html").read_text("utf-8")


def test_a_history_goes_into_a_page_only(invoke, write, tmp_path):
    done = invoke("report", write(1), "--database", tmp_path / "h.sqlite")
    assert 2 == done.exit_code
    assert "add --format html" in done.stderr


@pytest.mark.parametrize("rows", [1, 3, 90])
def test_series_of_every_length_are_the_same_page_each_time_and_small(invoke, write, rows):
    pytest.importorskip("altair")
    invoke("history", "add", *(write(day) for day in range(rows)))
    pages = [invoke("history", "show", "--format", "html").stdout for _ in range(2)]
    assert pages[0] == pages[1]
    assert len(pages[0]) < 150_000
    assert "Data: cnn-mnist · numpy:cpu/train/64 2 threads" in pages[0]
