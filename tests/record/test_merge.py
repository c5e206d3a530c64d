"""Shards of a run, and one record of them: a union in which nothing is lost and nothing is there twice."""

import itertools
import math

import msgspec
import numpy as np
import pytest
from dlbench.reports.run.sections import build_sections
from hypothesis import given
from hypothesis import strategies as st

from dlbench.analyse.outcomes import outcomes
from dlbench.analyse.speedup import baseline_of
from dlbench.analyse.statistics import Timed, ratio
from dlbench.analyse.table import build
from dlbench.errors import DlbenchError, UsageError
from dlbench.execute.tasks import missing
from dlbench.record.file import read_record
from dlbench.record.merge import merge, write
from dlbench.record.schema import Case, Damaged, End, Header, Part, Peak, Process
from dlbench.record.shards import Shard, own_rounds, shard_of

ROUNDS, BATCHES = 3, (64, 256)
END = End("complete", 10.0, {"measured": 8.0}, 500.0)
FACTORS = {"aaa": 1.0, "bbb": 1.1, "ccc": 1.4}


@pytest.fixture
def shards(make, write_record, tmp_path):
    """Makes files of the shards of a run of two rows at two batch sizes, one on each node."""

    def shards(of=3, nodes=("aaa", "bbb", "ccc"), lines=lambda own: own, **header):
        paths = []
        for index in range(1, of + 1):
            shard = Shard(index, of, BATCHES)
            cases = [
                make.case(backend, batch=batch)
                for batch in shard.own_batches(ROUNDS)
                for backend in ("numpy", "torch")
            ]
            node = nodes[(index - 1) % len(nodes)]
            own = [make.verification(case) for case in cases]
            own += [
                make.process(case, number, 0.03 * FACTORS.get(node, 1.0) * (1 + number / 100))
                for case in cases
                for number in own_rounds(shard, case.batch, ROUNDS)
            ]
            fields = {"shard": shard, "node": node, "rounds": ROUNDS, "row_budget_s": 6.0}
            fields["created"] = f"2026-11-29T10:00:{index:02d}+00:00"
            record = make.measured(cases, lines(own), **(fields | header))
            path = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
            paths.append(write_record(path, record))
        return paths

    return shards


@pytest.fixture
def merged(tmp_path):
    """Merges files into a new one and reads it back."""
    count = itertools.count()

    def merged(paths):
        target = tmp_path / f"merged-{next(count)}.jsonl"
        write(merge(paths).lines, target)
        return target

    return merged


def told(record):
    """What a record says, without where its lines stand."""
    return record.header, sorted(map(str, record.lines))


@given(
    st.integers(1, 12),
    st.integers(1, 9),
    st.lists(st.integers(1, 512), min_size=1, max_size=5, unique=True),
)
def test_every_round_belongs_to_exactly_one_shard(of, rounds, batches):
    dealt = [
        (batch, number)
        for index in range(1, of + 1)
        for batch in Shard(index, of, tuple(batches)).own_batches(rounds)
        for number in own_rounds(Shard(index, of, tuple(batches)), batch, rounds)
    ]
    assert sorted(dealt) == sorted(itertools.product(batches, range(1, rounds + 1)))
    sizes = [
        sum(len(own_rounds(Shard(index, of, tuple(batches)), batch, rounds)) for batch in batches)
        for index in range(1, of + 1)
    ]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    "word", ["", "3", "0/4", "5/4", "1/0", "a/b", "1/2/3", "-1/4", "1/9999999"]
)
def test_what_is_no_shard_is_refused(word):
    with pytest.raises(UsageError, match="must be I/N"):
        shard_of(word, BATCHES)
    assert Shard(2, 8, BATCHES) == shard_of(" 2 / 8 ", BATCHES)


def test_shards_become_one_record_that_lacks_nothing(shards, merged):
    record = read_record(merged(shards()))
    assert () == missing(record)
    assert ["aaa", "bbb", "ccc"] == [part.node for part in record.merged]
    assert record.end.status == "complete"
    assert pytest.approx(30.0) == record.end.wall_s
    found = outcomes(record)
    assert ["ok"] * 4 == [each.status for each in found]
    assert [3] * 4 == [len(each.timed) for each in found]
    assert [64, 64, 256, 256] == [case.batch for case in record.header.cases]


def test_merging_may_be_done_in_any_order_in_steps_and_again(shards, merged):
    one, two, three = shards()
    whole = told(read_record(merged([one, two, three])))
    assert whole == told(read_record(merged([three, one, two, one])))
    in_steps = merged([merged([three, two]), one])
    assert whole == told(read_record(in_steps))
    assert whole == told(read_record(merged([in_steps, merged([two, one])])))


def test_a_round_that_was_measured_twice_counts_once_from_where_most_of_it_is(shards, merged):
    first = shards()
    # the second shard was begun again elsewhere, later, and its first attempt had lost a row
    cut = shards(lines=lambda own: own[:-1], created="2026-11-29T09:00:00+00:00", node="ddd")[1]
    record = read_record(merged([first[0], cut, first[1], first[2]]))
    processes = [(line.case, line.round) for line in record.lines if isinstance(line, Process)]
    assert len(processes) == len(set(processes)) == 4 * ROUNDS
    assert () == missing(record)
    assert told(record) == told(read_record(merged([merged([cut, *first]), cut])))
    assert 2 == merge([*first, cut]).twice


def test_what_no_shard_has_measured_is_told(shards):
    one, _, three = shards()
    found = merge([one, three])
    assert {64: 1, 256: 1} == found.lacking
    assert (2, 2) == (found.parts, found.nodes)


def test_whole_runs_of_several_machines_are_more_rounds(make, write_record, tmp_path, merged):
    cases = [make.case("numpy"), make.case("torch")]
    paths = []
    for node in ("aaa", "bbb"):
        lines = [
            *map(make.verification, cases),
            make.process(cases[0], 1),
            make.process(cases[1], 1),
        ]
        record = make.measured(cases, [*lines, Peak(0, 2, (1e11,))], node=node, rounds=1)
        paths.append(write_record(tmp_path / f"{node}.jsonl", record))
    record = read_record(merged(paths))
    assert [1, 1, 2, 2] == [line.round for line in record.lines if isinstance(line, Process)]
    assert [(0, 1), (1, 1)] == [(part.rounds_before, part.rounds) for part in record.merged]
    assert 2 == record.header.rounds
    assert told(record) == told(read_record(merged([merged(paths), paths[0]])))


def test_what_is_not_the_same_work_is_refused_with_both_values(shards, make):
    one, *_ = shards()
    for field, value, said in (
        ("seed", 7, "seed is 0 .* and 7"),
        ("workload_digest", "ef" * 32, "workload is .*abababab.* and .*efefefef"),
        ("row_budget_s", 60.0, "the time for each row is 6.0 .* and 60.0"),
        ("dlbench", "9.9", "dlbench is 0.1.0 .* and 9.9"),
        ("rounds", 5, "the number of rounds is 3 .* and 5"),
        ("machine", msgspec.structs.replace(make.header().machine, cpu="other"), "cpu"),
        (
            "machine",
            msgspec.structs.replace(make.header().machine, packages={"numpy": "1.0"}),
            "numpy is 2.4.6 .* and 1.0",
        ),
    ):
        with pytest.raises(UsageError, match=said):
            merge([one, shards(**{field: value})[1]])


def test_a_record_that_cannot_be_read_in_full_is_not_merged(shards, tmp_path):
    one, two, _ = shards()
    lines = two.read_bytes().splitlines(keepends=True)
    two.write_bytes(b"".join([*lines[:2], b"\x00garbage\n", *lines[3:]]))
    with pytest.raises(DlbenchError, match="line 3: cannot be read"):
        merge([one, two])
    empty = tmp_path / "empty.jsonl"
    empty.write_bytes(b"")
    with pytest.raises(UsageError, match="nothing was written"):
        merge([empty])
    assert (empty,) == merge([one, empty]).empty
    assert Damaged not in map(type, read_record(one).lines)


def test_nobodys_file_is_taken_when_a_merged_record_is_written(shards, tmp_path):
    there = tmp_path / "there.jsonl"
    there.write_text("mine")
    with pytest.raises(FileExistsError):
        write(merge(shards()).lines, there)
    assert there.read_text() == "mine"
    assert not list(tmp_path.glob(".*"))


def test_an_interval_over_machines_rests_on_machines(make, write_record, tmp_path, merged):
    cases = [make.case("numpy"), make.case("torch")]
    faster = {"aaa": 1.0, "bbb": 1.2, "ccc": 1.1}
    paths = []
    for node, factor in faster.items():
        lines = [
            make.process(case, number, 0.03 / (factor if case.backend == "torch" else 1.0))
            for number in (1, 2, 3, 4)
            for case in cases
        ]
        record = make.measured(
            [*cases], [*map(make.verification, cases), *lines], node=node, rounds=4
        )
        paths.append(write_record(tmp_path / f"{node}.jsonl", record))
    numpy, torch = outcomes(read_record(merged(paths)))
    assert numpy.case == baseline_of(None, [numpy.case]).of(torch.case)
    found = ratio(numpy.timed, torch.timed)
    assert pytest.approx((1.0 * 1.2 * 1.1) ** (1 / 3), rel=1e-6) == found.value
    assert 3 == found.processes
    # of each machine alone it is known exactly; over machines it is not
    assert found.interval.high / found.interval.low > 1.4


@pytest.mark.parametrize(("nodes", "rounds"), [(3, 2), (5, 3), (12, 1)])
@pytest.mark.parametrize("apart", [0.0, 0.02, 0.2])
def test_intervals_over_machines_cover_the_truth(nodes, rounds, apart):
    random = np.random.default_rng(nodes * 100 + rounds)
    covered, runs = 0, 600
    for _ in range(runs):
        own = random.normal(0, apart, nodes)
        logs = own[:, None] + random.normal(0, 0.03, (nodes, rounds))
        upper = {
            (node, number): _timed(math.exp(logs[node, number]), str(node))
            for node in range(nodes)
            for number in range(rounds)
        }
        lower = {key: _timed(1.0, each.node) for key, each in upper.items()}
        covered += not ratio(upper, lower).interval.excludes(1.0)
    assert 0.92 <= covered / runs <= 0.98


def _timed(median_s, node):
    return Timed(median_s, (median_s,), 0, node)


def test_the_header_and_what_begins_a_part_come_first(shards, merged):
    record = read_record(merged(shards()))
    assert isinstance(record.header, Header)
    assert record.header.shard is None
    assert isinstance(record.lines[0], Part)
    assert all(isinstance(case, Case) for case in record.header.cases)


def test_a_report_says_how_far_machines_are_apart(shards, merged):
    path = merged(shards())
    text = "\n".join(
        note
        for section in build_sections(build([(str(path), read_record(path))]))
        for note in section.notes
    )
    assert "merged from 3 parts of 3 machines; intervals are over machines" in text
    assert "numpy:cpu/train/64: from 30.3 ms (aaa) to 43.3 ms (ccc), 43 % apart" in text
