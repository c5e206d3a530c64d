"""A file that holds several records is their files put together, and shows each of them."""

import json

import msgspec
import pytest
from click.testing import CliRunner

from dlbench.analyse.table import build
from dlbench.cli import main
from dlbench.errors import DlbenchError
from dlbench.record.collection import read_records
from dlbench.record.file import read_record
from dlbench.record.schema import SCHEMA


@pytest.fixture
def one(make, write_record, tmp_path):
    return write_record(tmp_path / "one.jsonl", make.record())


@pytest.fixture
def other(make, write_record, tmp_path):
    return write_record(tmp_path / "other.jsonl", make.record(seed=2))


@pytest.fixture
def both(one, other, tmp_path):
    path = tmp_path / "both.jsonl"
    path.write_bytes(one.read_bytes() + other.read_bytes())
    return path


def test_records_put_together_are_read_as_they_were(one, other, both):
    assert (read_record(one), read_record(other)) == read_records(both)
    assert (read_record(one),) == read_records(one)


def test_cut_off_in_the_second_the_first_is_whole(one, other, both):
    both.write_bytes(both.read_bytes()[:-30])
    first, second = read_records(both)
    assert read_record(one) == first
    assert read_record(other).lines[:-1] == second.lines


def test_who_wants_one_record_is_told_that_there_are_several(both):
    with pytest.raises(DlbenchError, match="holds several records; to see them: dlbench report"):
        read_record(both)


def test_lines_without_a_header_are_no_records(one, tmp_path):
    path = tmp_path / "headless.jsonl"
    path.write_bytes(one.read_bytes().partition(b"\n")[2] + one.read_bytes())
    for read in (read_records, read_record):
        with pytest.raises(DlbenchError):
            read(path)


def test_a_record_of_another_schema_is_refused_wherever_it_stands(one, both):
    later = b'"schema":%d,' % (SCHEMA + 1)
    text = one.read_bytes() + both.read_bytes().replace(b'"schema":%d,' % SCHEMA, later)
    both.write_bytes(text)
    with pytest.raises(DlbenchError, match=f"has schema {SCHEMA + 1}"):
        read_records(both)


def test_a_report_shows_each_by_its_number_and_pools_nothing(one, both):
    done = CliRunner().invoke(main.cli, ["report", str(both), "--format", "json"])
    assert 0 == done.exit_code, done.output
    shown = json.loads(done.stdout)
    alone = CliRunner().invoke(main.cli, ["report", str(one), "--format", "json"])
    first = [
        row | {"record": "one.jsonl"} for row in shown["rows"] if row["record"] == "both.jsonl#1"
    ]
    assert json.loads(alone.stdout)["rows"] == first
    assert {"both.jsonl#1", "both.jsonl#2"} == {run["record"] for run in shown["runs"]}
    assert ["one.jsonl"] == [run["record"] for run in json.loads(alone.stdout)["runs"]]


def test_a_report_on_different_suites_does_not_say_that_they_are_different(make, one):
    record = read_record(one)
    header = msgspec.structs.replace(record.header, suite="another", workload_digest="00")
    other = msgspec.structs.replace(record, header=header)
    assert () == build([("a", record), ("b", other)]).notes
    assert build([("a", record), ("b", other), ("c", other)]).notes == ()
    changed = msgspec.structs.replace(header, workload_digest="11")
    (note,) = build([("b", other), ("c", msgspec.structs.replace(other, header=changed))]).notes
    assert "different workloads" in note


def test_a_line_with_the_results_of_gpu_tests_from_an_earlier_version_is_ignored(one, tmp_path):
    header, *lines = one.read_bytes().splitlines(keepends=True)
    path = tmp_path / "with.jsonl"
    path.write_bytes(
        header + b'{"kind":"gpu_tests","finished":true,"passed":1}\n' + b"".join(lines)
    )
    assert read_record(one) == read_record(path)
    path.write_bytes(header + b'{"kind":"gpu_trials"}\n')
    with pytest.raises(DlbenchError, match="line 2: not a line of a dlbench record"):
        read_record(path)
