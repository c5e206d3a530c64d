"""What lets a report keep up with a large record, without measuring time."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from dlbench.analyse.outcomes import outcomes
from dlbench.analyse.table import build
from dlbench.record.collection import read_records
from dlbench.record.compact import brief
from dlbench.record.file import read_record
from dlbench.record.schema import Record


class Counted(tuple):  # type: ignore[type-arg]
    """Lines that count how often they are gone through."""

    passes = 0

    def __iter__(self) -> Any:
        type(self).passes += 1
        return super().__iter__()


@pytest.mark.parametrize("judge", [outcomes, lambda record: build([("a", record)])])
def test_lines_are_gone_through_as_often_for_many_cases_as_for_few(make: Any, judge: Any) -> None:
    counts = []
    for many in (2, 40):
        cases = [make.case(batch=number + 1) for number in range(many)]
        lines = [
            line for case in cases for line in (make.verification(case), make.process(case, 1))
        ]
        record = make.measured(cases, lines)
        counting = Record(record.header, Counted(record.lines))
        Counted.passes = 0
        judge(counting)
        counts.append(Counted.passes)
    assert counts[0] == counts[1] > 0


def test_without_the_checks_that_passed_every_case_is_judged_the_same(
    make: Any, write_record: Any, tmp_path: Path
) -> None:
    good, wrong, worse = make.case(), make.case("torch"), make.case("tensorflow")
    passed = tuple(make.check(error=error) for error in (1e-7, 5e-7, 2e-7))
    failed = make.check(passed=False, error=1e-2)
    lines = [
        make.verification(good, checks=passed),
        make.process(good, 1, checks=passed),
        make.verification(wrong, "unverified", checks=(*passed, failed)),
        make.verification(worse),
        make.process(worse, 1, checks=(*passed, failed, make.check(passed=False, error=None))),
    ]
    path = write_record(tmp_path / "a.jsonl", make.measured([good, wrong, worse], lines))
    whole, short = read_record(path), read_records(path, brief)[0]
    judged = [
        [dataclasses.replace(outcome, processes=()) for outcome in outcomes(record)]
        for record in (whole, short)
    ]
    assert judged[0] == judged[1]
    checks = [sum(len(getattr(line, "checks", ())) for line in r.lines) for r in (whole, short)]
    assert [16, 8] == checks


def test_a_line_that_was_cut_off_is_left_out_and_a_broken_one_is_counted(
    make: Any, write_record: Any, tmp_path: Path
) -> None:
    path = write_record(tmp_path / "a.jsonl", make.record())
    whole = path.read_bytes()
    path.write_bytes(b"\n" + whole[:-20])
    assert read_record(path).lines == make.record().lines[:-1]
    path.write_bytes(whole[:-20] + b"\n")
    assert read_record(path).damaged == (len(make.record().lines) + 1,)
