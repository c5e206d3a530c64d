import math

import numpy as np
import pytest
from dlbench.reports.run import csv_rows, markdown, terminal
from record_makers import make_case, make_header, make_process, make_verification

from dlbench.analyse.modes.accuracy import paired_difference, wilson
from dlbench.analyse.table import build
from dlbench.record import door
from dlbench.record.schema import Answers, Record, Training


# Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3
@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_shares_have_wilsons_interval(count, total, low, high):
    share = wilson(count, total)
    assert count / total == share.value
    assert (share.low, share.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


def test_a_difference_without_disagreement_is_0_and_still_not_certain():
    same = paired_difference({1, 2}, {1, 2}, 1_000)
    assert 0 == same.value
    assert -0.01 < same.low < 0 < same.high < 0.01
    never = paired_difference(set(), set(), 100)
    assert (never.low, never.high) == (
        pytest.approx(-0.037, abs=1e-3),
        pytest.approx(0.037, abs=1e-3),
    )


def test_a_paired_difference_is_turned_round_with_its_sides():
    one, other = set(range(40)), set(range(30, 50))
    first, second = paired_difference(one, other, 500), paired_difference(other, one, 500)
    assert -20 / 500 == first.value == -second.value
    assert (first.low, first.high) == (pytest.approx(-second.high), pytest.approx(-second.low))
    assert first.high < 0


def test_paired_intervals_cover_the_difference_as_often_as_they_say():
    random = np.random.default_rng(0)
    # both right, only one, only the other, both wrong
    chances, total = [0.90, 0.03, 0.02, 0.05], 500
    covered = 0
    for _ in range(400):
        kinds = random.choice(4, total, p=chances)
        found = paired_difference(
            set(np.flatnonzero(kinds >= 2)), set(np.flatnonzero(kinds % 2 == 1)), total
        )
        covered += found.low <= chances[1] - chances[2] <= found.high
    assert 0.92 <= covered / 400


def record():
    """NumPy in fp32, and PyTorch in fp32 and bf16: twice as fast, one answer of 200 lost, and three changed."""
    base = make_case("numpy", scenario="train")
    plain, short = make_case("torch"), make_case("torch", precision="bf16")
    asked = make_case("torch", scenario="infer", precision="bf16")
    cases = (base, plain, short, asked)
    steps = {base: 0.04, plain: 0.02, short: 0.01, asked: 0.004}
    seen = {"arithmetic": "factors bf16, sums fp32"}
    lines = [make_verification(case, facts={} if case.is_plain else seen) for case in cases]
    lines += [make_process(case, n, s) for n in (1, 2, 3) for case, s in steps.items()]
    answers = tuple(n % 10 for n in range(200))
    for case, wrong in ((plain, (5, 6)), (short, (5, 6, 7))):
        lines.append(
            Training(
                case,
                "ok",
                "",
                1,
                losses=(1.0,),
                test_accuracy=1 - len(wrong) / 200,
                test_loss=0.1,
                answers=answers,
                wrong=wrong,
            )
        )
    changed = tuple(answers[n] if n not in (5, 7, 9) else 3 for n in range(200))
    lines.append(Answers(asked, "ok", "", plain, changed, (5, 6, 7, 9)))
    return Record(make_header(cases), tuple(lines))


def test_a_short_precision_stands_beside_its_own_backends_float32():
    rows = {
        row.case.precision + row.case.scenario + row.case.backend: row
        for row in build([("a", record())]).rows
    }
    short, asked = rows["bf16traintorch"], rows["bf16infertorch"]
    assert "bf16 against fp32" == short["speedup_badge"]
    assert 4.0 == pytest.approx(short["speedup"])
    assert 2.0 == pytest.approx(short["speedup_over_fp32"])
    assert "torch:cpu/eager" == short["fp32_row"]
    assert -1 / 200 == pytest.approx(short["accuracy_change"])
    assert short["changed_answers"] is None
    assert 3 / 200 == pytest.approx(asked["changed_answers"])
    assert -2 / 200 == pytest.approx(asked["accuracy_change"])
    assert asked["accuracy_change_low"] < -0.01 < asked["accuracy_change_high"]
    assert "factors bf16, sums fp32" == short["arithmetic"]
    plain = rows["fp32traintorch"]
    assert plain["arithmetic"] is None
    assert plain["speedup_badge"] is None
    assert plain["speedup_over_fp32"] is None
    assert 0.99 == plain["accuracy"]


def test_every_format_tells_of_a_speedup_across_precisions():
    report = build([("a", record())])
    for text in (terminal.render(report, width=200), markdown.render(report)):
        assert "4.00× [4.00, 4.00] ≠fp32" in text.replace("\\[", "[")
        assert 1 == text.count("a speed-up across precisions (bf16 against fp32)")
        assert "speed × accuracy" in text
        assert "in bf16" in text
        assert "in fp32" in text
    header, *rows = csv_rows.render(report).splitlines()
    place = header.split(",").index("speedup_badge")
    assert {"", "bf16 against fp32"} == {row.split(",")[place] for row in rows}


def test_a_record_in_one_precision_has_no_badge_and_no_table_of_accuracies():
    whole = record()
    kept = tuple(line for line in whole.lines if line.case.precision == "fp32")
    cases = tuple(case for case in whole.header.cases if case.precision == "fp32")
    text = terminal.render(build([("a", Record(make_header(cases), kept))]), width=200)
    assert "≠" not in text
    assert "speed × accuracy" not in text
    assert "99.00 %" in text


def test_a_wrong_answer_that_was_not_given_is_refused():
    with pytest.raises(ValueError, match="a wrong answer is of a sample"):
        door.check(Training(make_case(), "ok", "", 1, answers=(1, 2), wrong=(2,)))
    assert math.isfinite(wilson(1, 2).low)
