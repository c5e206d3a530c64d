"""Files that somebody else wrote, through every command that reads them: what comes of it is an answer or a sentence,
and nothing in it acts on a terminal, a page or a spreadsheet."""

import contextlib
import gc
import gzip
import json
import math
import re
import shutil
import sqlite3
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from confined import forget_peak, peak_bytes
from dlbench.reports.charts.drawing.fonts import read_fonts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import HOSTILE, NUMBERS, acting, documents, formulas, lines, markup, raw
from record_makers import make_gate_header

from dlbench.cli import main
from dlbench.errors import DlbenchError
from dlbench.execute import runner
from dlbench.gate import schema as gate
from dlbench.history import tables
from dlbench.plugins import HISTORIES, REPORTS, VERDICTS, reporter_names
from dlbench.record.file import Writer

RECORDS = Path(__file__).parents[1] / "record" / "data"
LONGEST_S = 10
MOST_BYTES = 2**30


def whole(name):
    return gzip.decompress((RECORDS / f"{name}.jsonl.gz").read_bytes())


LINES = [whole(name).splitlines(keepends=True) for name in ("cnn-mnist", "sweep-gpu")]
CODES = (0, 1, 2, 3, 4)
TAGS = {"div", "p", "strong", "table", "thead", "tbody", "tr", "th", "td"}


def called(*words, form="table"):
    """What a command printed, once it was seen to keep to the rules."""
    # what the tests hold is not searched for garbage while a command runs, which has less to hold
    gc.freeze()
    before_s = time.process_time()
    shown_as = ["--format", form] if form else []
    done = CliRunner().invoke(main.cli, [*map(str, words), *shown_as])
    assert time.process_time() - before_s < LONGEST_S, words
    assert done.exit_code in CODES, done.output
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert "dlbench itself failed" not in done.stderr, done.stderr
    assert acting(done.stderr) == []
    assert len(done.stderr) < 10_000
    if form not in ("json", "pytest-benchmark", "bencher", "github-action-benchmark", "junit"):
        assert acting(done.stdout) == [], form
    if done.exit_code in (0, 1, 3):
        if form == "json":
            json.loads(done.stdout)
        elif form == "markdown":
            assert markup(done.stdout) == []
        elif form == "html-fragment":
            assert set(re.findall(r"<(\w+)", done.stdout)) <= TAGS
        elif form == "csv":
            assert formulas(done.stdout) == []
    return done


def words_of(group):
    return [
        "table" if name == "terminal" else name for name in reporter_names(group) if name != "plot"
    ]


@pytest.fixture(scope="module", autouse=True)
def _pictures_can_be_drawn():
    """What draws them takes seconds to start, once in a process."""
    read_fonts()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a good record, where nothing is really run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    (tmp_path / "good.jsonl").write_bytes(whole("cnn-mnist"))

    def stopped(*_):
        raise DlbenchError("stopped before anything was run")

    monkeypatch.setattr(runner, "resume", stopped)
    return tmp_path


# the cost of a draw is that of the commands, and one in three of them is enough to see every one of them often
@st.composite
def some(draw, of):
    return draw(st.lists(st.sampled_from(of), min_size=1, max_size=3, unique=True))


READS = [
    *((("report", "bad.jsonl"), form) for form in words_of(REPORTS)),
    (("report", "bad.jsonl", "--cold-start"), "table"),
    (("report", "bad.jsonl", "good.jsonl"), "table"),
    *((("compare", "good.jsonl", "bad.jsonl"), form) for form in words_of(VERDICTS)),
    (("compare", "bad.jsonl", "good.jsonl"), "markdown"),
    (("history", "add", "bad.jsonl", "good.jsonl"), ""),
    (("gate", "--report", "bad.jsonl"), "markdown"),
    (("gate", "--report", "bad.jsonl"), "table"),
    (("run", "--resume", "bad.jsonl"), ""),
]
ONCE = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
    max_examples=8,
)
LONG = settings(ONCE, max_examples=1500)


def try_record(folder, bad, reads):
    (folder / "bad.jsonl").write_bytes(bad)
    in_use_bytes = forget_peak()
    database = folder / "h.sqlite"
    database.unlink(missing_ok=True)
    for words, form in reads:
        if words[0] != "history":
            called(*words, form=form)
            continue
        done = called(*words, "--database", database, form="")
        # the bad one may be a copy of the good one's run, whole or broken off
        taken = ("good.jsonl: added", "good.jsonl: replaced an incomplete", "is in the history")
        assert any(words in " ".join(done.stdout.split()) for words in taken), done.stdout
        for shown in words_of(HISTORIES):
            called("history", "show", "--database", database, form=shown)
        called("history", "show", "cpu", "--database", database)
    assert peak_bytes() - in_use_bytes < MOST_BYTES


@ONCE
@given(bad=lines(LINES), reads=some(READS))
def test_a_record_is_read_or_refused_by_every_command(folder, bad, reads):
    try_record(folder, bad, reads)


@pytest.mark.soak
@LONG
@given(bad=lines(LINES), reads=some(READS))
def test_however_often_a_record_is_changed(folder, bad, reads):
    try_record(folder, bad, reads)


@pytest.fixture
def gate_lines(make, folder):
    """A small record of a gate."""
    case = make.case(mode="")
    path = folder / "gate.jsonl"
    writer = Writer(path)
    writer.write(make_gate_header([case]))
    writer.write(gate.Beside("torch:cpu/train/64", "missing", "why", "printed"))
    for arm in ("base", "new"):
        writer.write(gate.Verified(arm, make.verification(case)))
        writer.write(gate.Loaded(arm, "numpy", {"a.py": "00"}, "3.11", "2.4.6", {"blas": "1"}))
    for pair in range(12):
        for arm, step_s in (("base", 0.036), ("new", 0.037)):
            writer.write(gate.Half(arm, make.process(case, pair, step_s)))
    writer.write(gate.Note("a note"))
    writer.write(gate.End("decided", 10.0))
    writer.close()
    return path.read_bytes().splitlines(keepends=True)


GATES = [(("gate", "--report", "bad.jsonl"), form) for form in words_of(VERDICTS)]


@ONCE
@given(data=st.data())
def test_a_record_of_a_gate_is_read_or_refused(folder, gate_lines, data):
    try_record(folder, data.draw(lines([gate_lines])), GATES)


@pytest.mark.soak
@LONG
@given(data=st.data())
def test_however_often_a_record_of_a_gate_is_changed(folder, gate_lines, data):
    try_record(folder, data.draw(lines([gate_lines])), GATES)


BENCHMARKS = {
    "machine_info": {
        "python_version": "3.11",
        "machine": "x86_64",
        "system": "Linux",
        "cpu": {"brand_raw": "EPYC", "count": 2},
    },
    "benchmarks": [
        {"fullname": f"test_{name}", "stats": {"median": 0.01, "data": [0.01]}, "extra_info": {}}
        for name in "ab"
    ],
}


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """A file of pytest-benchmark that dlbench wrote."""
    path = tmp_path_factory.mktemp("ours") / "good.jsonl"
    path.write_bytes(whole("cnn-mnist"))
    return json.loads(called("report", path, form="pytest-benchmark").stdout)


def try_benchmarks(folder, data, ours):
    document = data.draw(documents(data.draw(st.sampled_from([BENCHMARKS, ours]))))
    bad = json.dumps(document).encode()
    if data.draw(st.booleans()):
        bad = data.draw(raw(bad))
    (folder / "bad.json").write_bytes(bad)
    (folder / "good.json").write_text(json.dumps(BENCHMARKS))
    for form in data.draw(some(words_of(VERDICTS))):
        called("compare", "good.json", "bad.json", form=form)
        called("compare", "bad.json", "good.jsonl", form=form)


@ONCE
@given(data=st.data())
def test_a_file_of_pytest_benchmark_is_compared_or_refused(folder, ours, data):
    try_benchmarks(folder, data, ours)


@pytest.mark.soak
@LONG
@given(data=st.data())
def test_however_often_a_file_of_pytest_benchmark_is_changed(folder, ours, data):
    try_benchmarks(folder, data, ours)


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """A history with two records."""
    there = tmp_path_factory.mktemp("history")
    for name in ("cnn-mnist", "sweep-gpu"):
        (there / f"{name}.jsonl").write_bytes(whole(name))
    path = there / "h.sqlite"
    called("history", "add", *there.glob("*.jsonl"), "--database", path, form="")
    with contextlib.closing(sqlite3.connect(path)) as base, base:
        base.execute(
            "INSERT INTO changes SELECT series, record, created, 1.0, 1.1, '[\"numpy 1 → 2\"]' FROM rows"
        )
        base.execute("UPDATE series SET searched = 1")
    return path


COLUMNS = {
    table.name: [column.name for column in table.columns if not column.foreign_keys]
    for table in tables.METADATA.sorted_tables
}
DAMAGED = [
    b"\xff\xfe",
    '{"a": ',
    "[1e999]",
    "[-1]",
    '{"\\u001b[2J": "\\u202e"}',
    "[" * 1100 + "]" * 1100,
]


def try_history(folder, data, history):
    path = folder / "h.sqlite"
    shutil.copy(history, path)
    if data.draw(st.booleans()):
        path.write_bytes(data.draw(raw(path.read_bytes())))
    else:
        table = data.draw(st.sampled_from(sorted(COLUMNS)))
        column = data.draw(st.sampled_from(COLUMNS[table]))
        value = data.draw(
            st.sampled_from([*HOSTILE, *(n for n in NUMBERS if abs(n) < 2**63), *DAMAGED, math.inf])
        )
        with (
            contextlib.suppress(sqlite3.IntegrityError),
            contextlib.closing(sqlite3.connect(path)) as base,
            base,
        ):
            base.execute(f"UPDATE {table} SET {column} = ?", (value,))
    for form in words_of(HISTORIES):
        called("history", "show", "--database", path, form=form)
        called("history", "show", "cpu", "--database", path, form=form)
    called("history", "add", "good.jsonl", "--database", path, form="")
    if data.draw(st.integers(0, 9)) == 0:
        called("history", "plot", "--database", path, form="")


@ONCE
@given(data=st.data())
def test_a_history_is_shown_or_refused(folder, history, data):
    try_history(folder, data, history)


@pytest.mark.parametrize("table", COLUMNS)
def test_what_stands_in_a_column_that_it_does_not_belong_to_is_told(history, table, folder):
    for column in COLUMNS[table]:
        for value in (b"\xff\xfe", "", math.inf):
            path = folder / "h.sqlite"
            shutil.copy(history, path)
            with (
                contextlib.suppress(sqlite3.IntegrityError),
                contextlib.closing(sqlite3.connect(path)) as base,
                base,
            ):
                base.execute(f"UPDATE {table} SET {column} = ?", (value,))
            called("history", "show", "cpu", "--database", path)


@pytest.mark.soak
@LONG
@given(data=st.data())
def test_however_often_a_history_is_changed(folder, history, data):
    try_history(folder, data, history)
