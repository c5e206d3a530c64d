"""Records that somebody else wrote, or that lost bytes: every format shows them or says what is wrong, and nothing of
them acts on a terminal or a spreadsheet."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from mutations import acting, formulas, lines, markup, nested

from dlbench.analyse.table import ColdStart, build
from dlbench.compare.from_record import side_of_records
from dlbench.errors import DlbenchError
from dlbench.plugins import load_reporter
from dlbench.record.collection import named
from dlbench.record.file import read_record

DATA = Path(__file__).parent / "data"
LINES = {
    name: gzip.decompress((DATA / f"{name}.jsonl.gz").read_bytes()).splitlines(keepends=True)
    for name in ("cnn-mnist", "sweep-gpu")
}
FORMATS = ("terminal", "markdown", "csv", "json")


def shown_or_refused(path):
    """What each format makes of a file; the reason where it is refused."""
    try:
        records = named(path)
        report = build(records, None, ColdStart())
        side_of_records("a", [record for _, record in records])
        return {form: load_reporter(form)(report) for form in FORMATS}
    except DlbenchError as error:
        return {"error": str(error)}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(whole=lines(list(LINES.values())))
def test_a_changed_record_is_shown_or_refused(tmp_path, whole):
    path = tmp_path / "a.jsonl"
    path.write_bytes(whole)
    shown = shown_or_refused(path)
    for form, text in shown.items():
        assert form == "json" or not acting(text), form
    json.loads(shown.get("json", "{}"))
    assert markup(shown.get("markdown", "")) == []
    assert formulas(shown.get("csv", "")) == []


def test_a_byte_that_is_no_text_costs_its_line_and_is_told(tmp_path):
    path, lines = tmp_path / "a.jsonl", list(LINES["cnn-mnist"])
    lines[3] = lines[3][:40] + b"\xff" + lines[3][41:]
    path.write_bytes(b"".join(lines))
    record = read_record(path)
    assert record.damaged == (4,)
    assert len(record.lines) == len(lines) - 1
    shown = load_reporter("terminal")(build([(str(path), record)]), width=200)
    assert "! 1 line of this record cannot be read and is left out: 4" in shown


def with_change(tmp_path, name, kind, change):
    """A record with a line of a kind of which something was changed: its path, and the number of the line."""
    path, found = tmp_path / "a.jsonl", list(LINES[name])
    at = next(n for n, line in enumerate(found) if json.loads(line)["kind"] == kind)
    decoded = json.loads(found[at])
    change(decoded)
    found[at] = json.dumps(decoded).encode() + b"\n"
    path.write_bytes(b"".join(found))
    return path, at + 1


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        ("process", lambda line: line.update(round=2**70), "round"),
        ("process", lambda line: line.update(timings_ns=[0]), "timings_ns has a duration of 0"),
        ("process", lambda line: line.update(timings_ns=[46 * 10**17]), "timings_ns"),
        ("process", lambda line: line.update(block_steps=[1]), "blocks do not add up"),
        ("process", lambda line: line.update(started_ns=2, ended_ns=1), "ended before it started"),
        ("process", lambda line: line.update(canary_ns=[-1]), "canary_ns"),
        ("process", lambda line: line.update(peak_memory_bytes=-1), "peak_memory_bytes"),
        ("process", lambda line: line["facts"].update(threads=-5), "'threads' is negative"),
        ("process", lambda line: line["during"].update(other_cores=-1.0), "other_cores"),
        ("process", lambda line: line["case"].update(batch=0), "batch"),
        ("process", lambda line: line["case"].update(threads=-1), "threads"),
        ("process", lambda line: line["case"].update(batch=2**63), "64 bits"),
        ("process", lambda line: line["case"].update(backend="a\nb"), "cannot be printed"),
        ("process", lambda line: line["case"].update(device="x" * 301), "300 characters"),
        ("end", lambda line: line.update(wall_s=-1e308), "wall_s"),
        ("end", lambda line: line["seconds"].update(verify=-1.0), "seconds"),
        ("header", lambda line: line.update(created="yesterday"), "is no time"),
        ("header", lambda line: line.update(created="0001-01-01T00:00:00+23:59"), "is no time"),
        ("header", lambda line: line["machine"].update(memory_bytes=-1), "memory_bytes"),
        ("header", lambda line: line.update(kind="\x1b[2J" + "x" * 200_000), "Invalid value"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(tmp_path, kind, change, told):
    path, number = with_change(tmp_path, "cnn-mnist", kind, change)
    with pytest.raises(DlbenchError) as raised:
        read_record(path)
    message = str(raised.value)
    assert f"line {number}: not a line of a dlbench record: " in message
    assert told in message
    assert len(message) < 600
    assert acting(message) == []


@pytest.mark.parametrize("depth", [1100, 100_000])
def test_what_is_nested_too_deeply_costs_its_line(tmp_path, depth):
    path, found = tmp_path / "a.jsonl", list(LINES["cnn-mnist"])
    path.write_bytes(b"".join([*found[:3], nested(depth) + b"\n", *found[3:]]))
    assert read_record(path).damaged == (4,)


def test_traces_have_a_time_for_each_value(tmp_path):
    path, lines = tmp_path / "a.jsonl", list(LINES["sweep-gpu"])
    at = next(
        n for n, line in enumerate(lines) if b'"kind":"telemetry"' in line and b'"t_ns"' in line
    )
    decoded = json.loads(lines[at])
    for change in ([], [1], "x"):
        broken = json.loads(lines[at])
        name = next(iter(decoded["traces"]))
        broken["traces"][name]["t_ns"] = change
        path.write_bytes(
            b"".join([*lines[:at], json.dumps(broken).encode() + b"\n", *lines[at + 1 :]])
        )
        with pytest.raises(DlbenchError, match=rf"line {at + 1}"):
            named(path)
