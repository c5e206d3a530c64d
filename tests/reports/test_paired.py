"""Everything that a report says about two rows rests on the blocks that lay side by side, where there are any."""

from typing import Any

import pytest

from dlbench.analyse.crossover import crossovers
from dlbench.analyse.table import ColdStart, Run, build
from dlbench.plugins import load_reporter
from dlbench.record.schema import Record

PACE = [1.0, 1.0, 1.0, 9.0, 9.0, 9.0, 9.0]


def record(make: Any, *batches: int, device: str = "cpu") -> Record:
    """Blocks of torch take half as long as numpy's beside them; by its median over all steps it would be the slower
    one, since it went on when the machine had become slow."""
    cases, lines = [], []
    for batch in batches:
        for backend, where, step_s, pace, import_s in (
            ("numpy", "cpu", 0.02, PACE[:3], 1.5),
            ("torch", device, 0.01, PACE, 9.0),
        ):
            case = make.case(backend, where, batch=batch)
            cases.append(case)
            lines.append(make.verification(case))
            spent = {"interpreter": 0.2, "import": import_s, "open": 0.25}
            lines += [
                make.turns(case, number, [step_s * each for each in pace], seconds=spent)
                for number in (1, 2, 3)
            ]
    whole: Record = make.measured(cases, lines)
    return whole


def reported(whole: Record, *given: Any) -> Run:
    """A report on it."""
    return build([("a.jsonl", whole)], *given).runs[0]


def text(whole: Record) -> str:
    """What people read of it."""
    return load_reporter("markdown")(build([("a.jsonl", whole)]))


def test_a_speedup_is_that_of_the_blocks_and_not_the_quotient_of_the_medians(make: Any) -> None:
    base, row = sorted(reported(record(make, 64)).rows, key=lambda row: row.case.backend)
    assert base["median_s"] / row["median_s"] < 0.3
    assert row["speedup"] == pytest.approx(2)
    assert row["speedup_low"] > 1.9


def test_one_with_copies_too(make: Any) -> None:
    rows = reported(record(make, 64, device="cuda")).rows
    (row,) = (row for row in rows if row.case.backend == "torch")
    # 90 µs of copies on top of a block of 10 ms beside one of 20 ms
    assert row["speedup_with_copies"] == pytest.approx(20 / 10.09, rel=1e-3)
    assert row["with_copies_s"] > 0.09


def test_the_sentence_beneath_the_table_names_who_was_faster_side_by_side(make: Any) -> None:
    assert "PyTorch trains this network 2.0 times as fast as NumPy on this CPU" in text(
        record(make, 64)
    )


def test_a_batch_size_is_won_by_the_blocks(make: Any) -> None:
    (found,) = crossovers(reported(record(make, 8, 64)).rows)
    assert [point.verdict for point in found.points] == ["faster", "faster"]


def test_a_cold_start_pays_off_by_the_steps_saved_side_by_side(make: Any) -> None:
    rows = reported(record(make, 64), None, ColdStart("numpy:cpu")).rows
    (row,) = (row for row in rows if row.case.backend == "torch")
    assert row["payback"] == "after"


def test_a_start_behind_another_scenario_says_so(make: Any) -> None:
    cases = [make.case(backend, scenario="train") for backend in ("numpy", "torch")]
    seconds = {"interpreter": 0.1, "import": 1.0, "open": 0.2}
    lines = [
        make.turns(case, 1, [0.01], seconds=seconds, scenarios_before=before)
        for before, case in enumerate(cases)
    ]
    whole = make.measured(cases, [*map(make.verification, cases), *lines])
    shown = load_reporter("markdown")(build([("a.jsonl", whole)], None, ColdStart()))
    assert "! torch:cpu/eager/train/64: began behind another scenario of the same process" in shown
