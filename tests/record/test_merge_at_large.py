"""A run dealt out to two hundred nodes that die, are slow and begin things twice, as records that are made up."""

import random
import resource

import pytest

from dlbench.record.file import read_lines
from dlbench.record.merge import merge, write
from dlbench.record.schema import Process
from dlbench.record.shards import Shard, own_rounds

NODES, SHARDS, ROUNDS = 200, 1000, 10_000


@pytest.mark.soak
def test_of_ten_thousand_rounds_on_two_hundred_nodes_none_is_lost_or_there_twice(
    make, write_record, tmp_path
):
    chance = random.Random(0)
    cases = [make.case("numpy"), make.case("torch")]
    paths, lasting = [], 0
    for index in range(1, SHARDS + 1):
        shard = Shard(index, SHARDS, (64,))
        # until one lives to its end; now and then another was begun although one did
        while True:
            number = len(paths)
            lines = [make.verification(case) for case in cases]
            lines += [
                make.process(case, round_, 0.03)
                for round_ in own_rounds(shard, 64, ROUNDS)
                for case in cases
            ]
            record = make.measured(
                cases,
                lines,
                shard=shard,
                node=f"node{chance.randrange(NODES)}",
                rounds=ROUNDS,
                row_budget_s=6.0,
                created=f"2026-11-29T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}+00:00",
            )
            path = write_record(tmp_path / f"{number}.jsonl", record)
            paths.append(path)
            dies = chance.random() < 0.3
            if dies:
                whole = path.read_bytes()
                # anywhere behind the header, also in the middle of a line; or before the first line
                kept = chance.randrange(whole.index(b"\n") + 1, len(whole))
                path.write_bytes(whole[: kept if chance.random() < 0.9 else 0])
            else:
                lasting += 1
            if not dies and chance.random() < 0.95:
                break
    assert lasting >= SHARDS
    chance.shuffle(paths)
    merged = merge(paths)
    write(merged.lines, tmp_path / "merged" / "whole.jsonl")
    assert {} == merged.lacking
    assert merged.nodes == NODES
    found = [
        (line.case, line.round)
        for line in read_lines(tmp_path / "merged" / "whole.jsonl")
        if isinstance(line, Process)
    ]
    assert len(found) == len(set(found)) == ROUNDS * len(cases)
    # of this whole process (KiB)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2**20
