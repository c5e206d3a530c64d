"""The order in which backends are named changes neither the table nor what its ratios are made of."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from dlbench.analyse.table import build
from dlbench.plan.rounds import interleaved
from dlbench.record.schema import Process, Record

FIVE, SIX = "known_lengths:Five", "known_lengths:Six"


@pytest.fixture(params=[(FIVE, SIX), (SIX, FIVE)], ids=["five first", "six first"])
def record(request, make):
    """Three rounds of steps of 5 and of 6 ms, with some noise, in the order in which they would be measured."""
    draw = np.random.default_rng(0)
    cases = [make.case(backend, scenario="infer") for backend in request.param]
    lines = [make.verification(case) for case in cases]
    for number, case in interleaved(cases, range(1, 4)):
        length_s = (5e-3 if case.backend == FIVE else 6e-3) * np.exp(draw.normal(0, 1e-3))
        lines.append(make.process(case, number, length_s))
    return make.measured(cases, lines)


def ratios(record):
    """By backend, in the order of the table: the ratio and its interval, None for the baseline's own."""
    frame = build([("a.jsonl", record)], f"{FIVE}:cpu").frame
    names = ["backend", "speedup", "speedup_low", "speedup_high"]
    rows = frame[names].itertuples(index=False)
    return [[None if value != value else value for value in row] for row in rows]


def test_steps_of_known_length_have_their_ratio_in_either_order(record):
    (first, *_), (second, ratio, low, high) = ratios(record)
    assert (FIVE, SIX) == (first, second)
    assert low <= ratio <= high
    assert pytest.approx(5 / 6, rel=0.01) == ratio


def test_the_same_processes_have_the_same_ratios_whatever_was_named_and_measured_first(record):
    header = msgspec.structs.replace(record.header, cases=record.header.cases[::-1])
    # of one side the last round first, so that pairs by place would be others than those by round
    backwards = iter(
        [p for p in record.lines[::-1] if isinstance(p, Process) and p.case.backend == SIX]
    )
    lines = [
        next(backwards) if isinstance(line, Process) and line.case.backend == SIX else line
        for line in record.lines
    ]
    there, again = ratios(record), ratios(Record(header, tuple(lines)))
    assert [row[0] for row in there] == [row[0] for row in again]
    for row, other in zip(there, again, strict=True):
        assert [value and pytest.approx(value, rel=1e-12) for value in row[1:]] == other[1:]


def test_a_case_is_measured_once_a_round_and_as_often_before_another_as_behind_it():
    rounds = {order: list(interleaved(list(order), range(1, 5))) for order in ("AB", "BA")}
    assert sorted(rounds["AB"]) == sorted(rounds["BA"])
    for measured in rounds.values():
        places = {
            case: [n % 2 for n, (_, each) in enumerate(measured) if each == case] for case in "AB"
        }
        assert sorted(places["A"]) == sorted(places["B"]) == [0, 0, 1, 1]


@pytest.mark.soak
def test_real_backends_in_two_orders(tmp_path, capsys):
    """Prints the ratios of both tables. They are estimates, so one may lie beyond the interval of the other."""
    backends, tables = ["numpy", "torch", "tensorflow"], []
    for order in (backends, backends[::-1]):
        output = tmp_path / f"{order[0]}.jsonl"
        command = [Path(sys.executable).with_name("dlbench"), "run", "--suite", "smoke", "--quiet"]
        command += ["--rounds", "6", "--budget", "6", "--patience", "20", "--output", output]
        command += [word for name in order for word in ("--backend", name)]
        done = subprocess.run(
            list(map(str, [*command, "--format", "json"])),
            env=os.environ | {"DLBENCH_CACHE_DIR": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
        )
        assert 0 == done.returncode, done.stderr
        rows = json.loads(done.stdout)["rows"]
        names = ("scenario", "batch", "backend", "mode")
        tables.append({tuple(row[name] for name in names): row for row in rows})
    first, second = tables
    assert first.keys() == second.keys()
    # the baseline's own ratio is 1 and has no interval
    shared = [case for case in first if first[case]["speedup_low"] and second[case]["speedup_low"]]
    assert shared
    with capsys.disabled():
        for case in shared:
            shown = [
                "{speedup:.3f} [{speedup_low:.3f}, {speedup_high:.3f}]{mark}".format(
                    **table[case], mark=" disturbed" if table[case]["disturbed"] else ""
                )
                for table in tables
            ]
            sys.stdout.write(f"\n{' '.join(map(str, case))}: {shown[0]} and {shown[1]}")
        sys.stdout.write("\n")
    for case in shared:
        # two intervals of one and the same ratio hardly ever lie apart
        least = min(table[case]["speedup_high"] for table in tables)
        assert max(table[case]["speedup_low"] for table in tables) <= least, case
