import multiprocessing
import re
import sqlite3

import pytest

from dlbench.errors import DlbenchError
from dlbench.history import database as module
from dlbench.history import store
from dlbench.history.rows import read_entries
from dlbench.history.store import Store
from dlbench.history.tables import SCHEMA
from dlbench.record import schema as r
from dlbench.record.case import AXES


@pytest.fixture
def database(tmp_path):
    return tmp_path / "folder" / "history.sqlite"


def added(database, *paths):
    with Store(database, create=True) as store:
        return [store.add(entry) for path in paths for entry in read_entries(path)]


def rows(database):
    with Store(database) as store:
        return [point for one in store.series() for point in store.points([one.id])[one.id]]


def test_a_record_comes_back_with_its_figures_versions_and_name(database, write):
    assert ["added"] == added(database, write(1, 0.036))
    (point,) = rows(database)
    assert 0.036 == pytest.approx(point.row.median_s, rel=0.02)
    assert point.row.low_s < point.row.median_s < point.row.high_s
    assert 3 == len(point.row.processes_s)
    assert ("001.jsonl", "2026-01-02T06:00:00+00:00") == (point.name, point.created)
    assert "2.4.6" == point.versions["numpy"]
    assert point.counts


def test_the_same_record_twice_is_there_once_whatever_its_file_is_called(database, write):
    first, copy = write(1), write(1, name="copy.jsonl")
    assert ["added", "there"] == added(database, first, copy)
    assert 1 == len(rows(database))


def test_a_record_that_was_gone_on_with_takes_the_place_of_its_shorter_state(database, write):
    path = write(1)
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    assert ["added"] == added(database, path)
    path.write_bytes(whole)
    assert ["grown"] == added(database, path)
    (point,) = rows(database)
    assert 3 == len(point.row.processes_s)
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:4]))
    assert ["shorter"] == added(database, path)
    assert [point] == rows(database)


def test_runs_that_began_in_the_same_second_are_two(database, write, make):
    first, second = write(1), write(1, name="b.jsonl")
    lines = second.read_bytes().replace(b'"verify":1.001', b'"verify":1.0017')
    second.write_bytes(lines)
    assert ["added", "added"] == added(database, first, second)
    assert 2 == len(rows(database))


def test_a_file_of_several_records_gives_each_of_them_and_none_twice(database, write):
    first, second = write(1, 0.036), write(2, 0.038)
    both = first.with_name("both.jsonl")
    both.write_bytes(first.read_bytes() + second.read_bytes())
    assert ["added"] == added(database, second)
    assert ["added", "there"] == added(database, both)
    assert ["there", "there"] == added(database, both)
    points = rows(database)
    assert ["both.jsonl#1", "002.jsonl"] == [point.name for point in points]
    assert [0.036, 0.038] == pytest.approx([p.row.median_s for p in points], rel=0.02)


def test_of_several_records_the_last_may_have_been_cut_off_and_grow(database, write):
    first, second = write(1), write(2).read_bytes()
    whole = first.read_bytes() + second
    first.write_bytes(whole[: -len(second) + len(b"".join(second.splitlines(keepends=True)[:3]))])
    assert ["added", "added"] == added(database, first)
    first.write_bytes(whole)
    assert ["there", "grown"] == added(database, first)


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"workload_digest": "ef" * 32},
        {"data": r.Data("mnist", "files", "12" * 32, False)},
        {"machine": r.Machine("Xeon", 1, 2, 2, 24 * 2**30, (), "Linux 6.1", "3.11.2", {})},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_makes_rows_incomparable_parts_them_into_series(database, write, changed):
    added(database, write(1), write(2, **changed))
    with Store(database) as store:
        assert [1, 1] == [one.rows for one in store.series()]


def test_versions_and_a_few_megabytes_of_memory_part_nothing(database, write):
    machine = r.Machine(
        "EPYC", 1, 2, 2, 24 * 2**30 - 2**21, (), "Linux 6.2", "3.12", {"numpy": "3"}
    )
    added(database, write(1), write(2, machine=machine))
    with Store(database) as store:
        assert [2] == [one.rows for one in store.series()]


def test_a_row_that_is_not_verified_is_kept_with_its_reason_and_does_not_count(database, write):
    added(database, write(1, status="unverified"))
    (point,) = rows(database)
    assert ("unverified", "why", None) == (point.row.status, point.row.problem, point.row.median_s)
    assert not point.counts


def test_another_schema_of_records_is_refused(write):
    with pytest.raises(DlbenchError, match=r"schema 99, this version of dlbench reads schema"):
        list(read_entries(write(1, schema=99)))


def test_a_history_of_a_newer_dlbench_is_refused_and_left_alone(database, write):
    added(database, write(1))
    with sqlite3.connect(database) as base:
        base.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    before = database.read_bytes()
    with pytest.raises(DlbenchError, match=f"schema {SCHEMA + 1}.* use a newer dlbench"):
        Store(database, create=True)
    assert before == database.read_bytes()


@pytest.mark.parametrize(
    ("lacking", "version"),
    [(("world", "input", "total"), 1), (("input", "total"), 3), (("total",), 4)],
)
def test_a_history_from_before_there_were_all_axes_is_taken_on_with_its_rows(
    database, tmp_path, write, lacking, version
):
    now = tmp_path / "now.sqlite"
    added(now, write(1), write(2))
    database.parent.mkdir()
    with sqlite3.connect(database) as base:
        base.execute("ATTACH ? AS now", (str(now),))
        made = "SELECT sql FROM now.sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC"
        for (table,) in base.execute(made).fetchall():
            for name in lacking:
                table = re.sub(rf"\s*{name} \w+(?: DEFAULT '0')? NOT NULL,|, {name}\b", "", table)
            base.execute(table)
        columns = [row[1] for row in base.execute("PRAGMA main.table_info(series)")]
        assert not {*lacking} & {*columns}
        base.execute("INSERT INTO records SELECT * FROM now.records")
        base.execute(f"INSERT INTO series SELECT {', '.join(columns)} FROM now.series")
        base.execute("INSERT INTO rows SELECT * FROM now.rows")
        base.execute(f"PRAGMA application_id = {module.APPLICATION}")
        base.execute(f"PRAGMA user_version = {version}")
    with Store(database) as store:
        (case,) = (one.key.case for one in store.series())
        assert (1, "resident") == (case.world, case.input)
        assert [2] == [one.rows for one in store.series()]
    assert rows(now) == rows(database)
    with sqlite3.connect(database) as base:
        assert [] == base.execute("PRAGMA foreign_key_check").fetchall()
    assert ["there", "added"] == added(database, write(1), write(3))
    assert 3 == len(rows(database))


def test_somebody_elses_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "theirs.sqlite"
    with sqlite3.connect(path) as base:
        base.execute("CREATE TABLE songs (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(DlbenchError, match="no history of dlbench"):
        Store(path, create=True)
    assert before == path.read_bytes()


@pytest.mark.parametrize("damage", ["text", "cut", "overwritten"])
def test_a_damaged_database_is_told_in_a_sentence(database, write, damage):
    added(database, *(write(day) for day in range(40)))
    whole = database.read_bytes()
    damaged = {
        "text": b"not a database at all, but long enough to be looked at" * 30,
        "cut": whole[: len(whole) // 3],
        "overwritten": whole[:4096] + b"\x5a" * (len(whole) - 4096),
    }
    database.write_bytes(damaged[damage])
    with pytest.raises(DlbenchError, match=r"damaged.*add the records again"):
        rows(database)


def test_a_missing_history_says_how_one_is_begun(database):
    with pytest.raises(DlbenchError, match=r"no history yet; dlbench history add FILE\.jsonl"):
        Store(database)
    assert not database.parent.exists()


def test_a_history_that_another_process_keeps_busy_is_told(database, write, monkeypatch):
    added(database, write(1))
    monkeypatch.setattr(module, "BUSY_S", 0.01)
    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(DlbenchError, match="another process has kept it busy"):
            added(database, write(2))
    finally:
        other.close()
    assert 1 == len(rows(database))


def test_an_add_that_fails_half_way_leaves_nothing(database, write, monkeypatch):
    added(database, write(1))
    monkeypatch.setattr(store, "series_of", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        added(database, write(2))
    assert 1 == len(rows(database))


def test_jobs_that_add_at_once_lose_nothing(database, write):
    paths = [write(day) for day in range(12)]
    context = multiprocessing.get_context("fork")
    jobs = [context.Process(target=added, args=(database, *paths[start::3])) for start in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
    assert [0, 0, 0] == [job.exitcode for job in jobs]
    assert sorted(path.name for path in paths) == [point.name for point in rows(database)]


def test_series_are_told_apart_by_every_axis_of_a_case(database, write):
    added(database, write(1))
    with sqlite3.connect(database) as base:
        (unique,) = [row for row in base.execute("PRAGMA index_list(series)") if row[2]]
        columns = [row[2] for row in base.execute(f"PRAGMA index_info({unique[1]})")]
    assert {*columns} == {*(axis.name for axis in AXES), "device_name", "facts"}


def test_the_rows_of_a_series_are_found_by_its_index_and_not_by_looking_at_all(database, write):
    added(database, write(1))
    plan = " ".join(
        step[3]
        for step in sqlite3.connect(database).execute(
            "EXPLAIN QUERY PLAN SELECT * FROM rows WHERE series = 1"
            " ORDER BY created DESC, record DESC LIMIT 20"
        )
    )
    assert "SEARCH rows USING PRIMARY KEY (series=?)" in plan
    assert "TEMP B-TREE" not in plan
