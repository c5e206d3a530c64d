"""Records that somebody else wrote, or that lost bytes: every format shows them or says what is wrong, and nothing of
them acts on a terminal or a spreadsheet."""

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
HOSTILE = [
    "\x1b[2J",
    "\x07",
    "\x9b31m",
    "a\nb",
    "\u202e",
    "=cmd()",
    "+1",
    "-1",
    "@a",
    "x" * 300,
    "",
]
HUGE = [2**63, -(2**63) - 1, 2**64, 10**400, 1e308, 1e-308, -1, 0]


def places(value, path=()):
    """The paths of all that a decoded line holds."""
    yield path
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, each in inner:
        yield from places(each, (*path, key))


def changed(value, path, new):
    if not path:
        return new
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = changed(value[path[0]], path[1:], new)
    return copied


@st.composite
def mutated(draw):
    """A record of which something is not as it was written."""
    lines = list(LINES[draw(st.sampled_from(sorted(LINES)))])
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        how = draw(st.sampled_from(["value", "byte", "cut", "double", "swap", "drop", "glue"]))
        line = lines[at]
        if how == "value":
            try:
                decoded = json.loads(line)
            except ValueError:
                continue
            path = draw(st.sampled_from(list(places(decoded))[:400]))
            new = draw(
                st.sampled_from([*HOSTILE, *HUGE, None, True, [], {}, 0.5, [0], [None], "nan"])
            )
            lines[at] = json.dumps(changed(decoded, path, new)).encode() + b"\n"
        elif how == "byte" and line:
            where = draw(st.integers(0, len(line) - 1))
            lines[at] = line[:where] + bytes([draw(st.integers(0, 255))]) + line[where + 1 :]
        elif how == "cut":
            lines[at] = line[: draw(st.integers(0, len(line)))]
        elif how == "double":
            lines.insert(at, line)
        elif how == "swap":
            other = draw(st.integers(0, len(lines) - 1))
            lines[at], lines[other] = lines[other], line
        elif how == "drop" and len(lines) > 1:
            del lines[at]
        elif how == "glue":
            lines[at] = line.rstrip(b"\n")
    return b"".join(lines)


def acts(text):
    """Whether a text would do more on a terminal than be shown."""
    return any(not (c.isprintable() or c == "\n") for c in text)


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
@given(whole=mutated())
def test_a_changed_record_is_shown_or_refused(tmp_path, whole):
    path = tmp_path / "a.jsonl"
    path.write_bytes(whole)
    shown = shown_or_refused(path)
    for form, text in shown.items():
        assert form == "json" or not acts(text), form
    json.loads(shown.get("json", "{}"))
    for row in csv.reader(io.StringIO(shown.get("csv", ""))):
        for cell in row:
            number = cell.lstrip("+-").replace(".", "").replace("e", "").replace("-", "").isdigit()
            assert number or not cell.startswith(("=", "+", "-", "@"))


def test_a_byte_that_is_no_text_costs_its_line_and_is_told(tmp_path):
    path, lines = tmp_path / "a.jsonl", list(LINES["cnn-mnist"])
    lines[3] = lines[3][:40] + b"\xff" + lines[3][41:]
    path.write_bytes(b"".join(lines))
    record = read_record(path)
    assert record.damaged == (4,)
    assert len(record.lines) == len(lines) - 1
    shown = load_reporter("terminal")(build([(str(path), record)]), width=200)
    assert "! 1 line of this record cannot be read and is left out: 4" in shown


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("round", 2**70, "64 bits"),
        ("timings_ns", [0], "timings_ns has a duration of 0"),
        ("block_steps", [1], "blocks do not add up"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(tmp_path, field, value, told):
    path, lines = tmp_path / "a.jsonl", list(LINES["cnn-mnist"])
    at = next(n for n, line in enumerate(lines) if b'"kind":"process"' in line)
    lines[at] = json.dumps(json.loads(lines[at]) | {field: value}).encode() + b"\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(
        DlbenchError, match=rf"line {at + 1}: not a line of a dlbench record: .*{told}"
    ):
        read_record(path)


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
