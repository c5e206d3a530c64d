"""Verdicts in every format, read back by whatever reads that format."""

import csv
import io
import json
import math
import re

import numpy as np
import pytest
from dlbench.reports.verdict import format as say
from junitparser import JUnitXml

from dlbench.compare.verdicts import CaseVerdict, Verdicts
from dlbench.gate.decision import judge
from dlbench.gate.design import Design
from dlbench.gate.verdicts import case_verdict
from dlbench.plugins import load_reporter
from dlbench.record.comparability import Difference

SLOWER = CaseVerdict(
    "torch:cpu/infer/32", "slower", 0.0100, 0.0106, 1.06, 1.048, 1.072, "16 pairs", "confirmed"
)
CASES = (
    SLOWER,
    CaseVerdict("old|case", "missing", 0.01, reason="not in the new one"),
    CaseVerdict("noisy", "inconclusive", 0.01, 0.0102, 1.02, None, None, "2 pairs", "too few"),
    CaseVerdict("a <b> & \x07c", "same", 0.01, 0.01, 1.0, 0.999, 1.001, "8 pairs", "below 3 %"),
    CaseVerdict("fresh", "new", None, 0.01, reason="not in the base"),
)
VERDICTS = Verdicts(
    "main", "HEAD", 0.03, CASES, notes=("numpy 2.3 in the base, 2.4 in the new one",)
)
UNLIKE = Verdicts("main", "HEAD", 0.03, CASES, (Difference("cpu", "EPYC", "Xeon"),))


def rendered(form, verdicts=VERDICTS, **options):
    return load_reporter(form, "dlbench.verdicts")(verdicts, **options)


def test_the_terminal_names_every_case_its_verdict_and_its_reason():
    text = rendered("terminal", width=200)
    for case in ("torch:cpu/infer/32", "noisy", "fresh"):
        assert case in text
    assert "SLOWER" in text
    assert "+6.0 % [+4.8, +7.2]" in text
    assert "→ exit 1: 1 case slower by more than 3 %" == text.splitlines()[-1]
    assert "\x1b" not in text
    assert "\x1b" in rendered("terminal", width=200, colour=True)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_reasons_are_wrapped_to_the_terminal(width):
    long = CaseVerdict("a", "same", 0.01, 0.01, 1.0, 1.0, 1.0, "8 pairs", "word " * 40)
    lines = rendered("terminal", Verdicts("a", "b", 0.03, (long,)), width=width).splitlines()
    assert any("word" in line for line in lines)
    assert all(len(line) <= width for line in lines if "word" in line)


def test_unlike_sides_are_said_first_with_both_values():
    for form in ("terminal", "markdown"):
        text = rendered(form, UNLIKE, width=200)
        assert text.index("cpu: EPYC in the base, Xeon in the new one") < text.index("torch:cpu")
        assert "advisory" in text


def test_markdown_has_a_row_a_case_and_cells_cannot_break_it():
    rows = [line for line in rendered("markdown").splitlines() if line.startswith("| ")]
    assert 2 + len(CASES) == len(rows)
    assert {7} == {row.replace("\\|", "").count("|") for row in rows}


def test_json_is_complete_and_valid():
    found = json.loads(rendered("json"), parse_constant=pytest.fail)
    assert (1, 1, False) == (found["schema"], found["exit_code"], found["advisory"])
    assert [case.case for case in CASES] == [case["case"] for case in found["cases"]]
    infinite = CaseVerdict("a", "same", 0.01, 0.01, 1.0, 0.0, math.inf, "2 pairs")
    found = json.loads(rendered("json", Verdicts("a", "b", 0.03, (infinite,))))
    assert found["cases"][0]["high"] is None


def test_csv_reads_back():
    rows = list(csv.DictReader(io.StringIO(rendered("csv"))))
    assert [case.status for case in CASES] == [row["status"] for row in rows]
    assert 1.06 == float(rows[0]["ratio"])
    assert "" == rows[2]["low"]


def test_junit_is_read_by_junitparser(tmp_path):
    path = tmp_path / "verdicts.xml"
    path.write_text(rendered("junit"), "utf-8")
    [suite] = JUnitXml.fromfile(str(path))
    assert (5, 1, 1, 1) == (suite.tests, suite.failures, suite.errors, suite.skipped)
    kinds = {case.name: [type(each).__name__ for each in case.result] for case in suite}
    assert ["Failure"] == kinds["torch:cpu/infer/32"]
    assert ["Error"] == kinds["old|case"]
    assert ["Skipped"] == kinds["noisy"]
    assert [] == kinds["fresh"]
    messages = {case.name: case.result[0].message for case in suite if case.result}
    assert "+6.0 %" in messages["torch:cpu/infer/32"]
    assert "too few" in messages["noisy"]


def test_junit_of_unlike_sides_fails_nothing_and_passes_nothing(tmp_path):
    path = tmp_path / "verdicts.xml"
    path.write_text(rendered("junit", UNLIKE), "utf-8")
    [suite] = JUnitXml.fromfile(str(path))
    assert (0, 0, 4) == (suite.failures, suite.errors, suite.skipped)


def test_a_waived_slowdown_passes_and_its_reason_is_shown(tmp_path):
    waived = CaseVerdict(
        "a", "slower", 0.010, 0.011, 1.1, 1.08, 1.12, "12 pairs", "confirmed", "safer kernel"
    )
    verdicts = Verdicts("main", "HEAD", 0.03, (waived,))
    assert 0 == verdicts.exit_code
    assert "waived: safer kernel" in rendered("terminal", verdicts, width=200)
    path = tmp_path / "verdicts.xml"
    path.write_text(rendered("junit", verdicts), "utf-8")
    [suite] = JUnitXml.fromfile(str(path))
    assert 0 == suite.failures


@pytest.mark.parametrize(
    ("cases", "code"),
    [
        ((SLOWER,), 1),
        ((CASES[1], CASES[3]), 3),
        ((CASES[2],), 3),
        ((CASES[3], CASES[4]), 0),
        ((CASES[4],), 4),
        ((), 4),
    ],
)
def test_exit_codes(cases, code):
    verdicts = Verdicts("a", "b", 0.03, cases)
    assert code == verdicts.exit_code
    assert verdicts.conclusion
    assert 4 == code or 3 == Verdicts("a", "b", 0.03, cases, UNLIKE.differences).exit_code
    for form in ("terminal", "markdown", "json", "csv", "junit"):
        assert rendered(form, verdicts).endswith("\n")


@pytest.mark.parametrize(
    ("shift", "pairs", "status"),
    [(0.08, 40, "slower"), (0.0, 40, "same"), (-0.1, 40, "faster"), (0.025, 6, "inconclusive")],
)
def test_a_gates_verdict_stands_in_the_same_table(shift, pairs, status):
    differences = list(np.random.default_rng(1).normal(shift, 0.04, pairs))
    verdict = judge({"a": differences}, Design(), ended=True)["a"]
    row = case_verdict("a", verdict, [0.010] * 8)
    assert status == row.status
    assert math.isclose(row.ratio, math.exp(shift), abs_tol=0.04)
    assert row.low <= row.ratio <= row.high


@pytest.mark.parametrize("slowdown", [0.0, 0.01, 0.03, 0.06, 0.2, 1.0])
def test_the_times_of_a_gates_verdict_and_its_percentage_agree(slowdown):
    """The machine drifts by half, so that the median of one side is of other pairs than that of the other."""
    draw = np.random.default_rng(3)
    drift = np.linspace(0.003, 0.0045, 40) * np.exp(draw.normal(0, 0.03, 40))
    differences = list(math.log1p(slowdown) + draw.normal(0, 0.02, 40))
    row = case_verdict("a", judge({"a": differences}, Design(), ended=True)["a"], drift)
    base, new = (float(word) for word in re.findall(r"([\d.]+) ms", say.times(row)))
    percent = float(re.match(r"[+−][\d.]+", say.change(row))[0].replace("−", "-"))
    # each is printed with three digits, the percentage with one behind the point
    assert 100 * (new / base - 1) == pytest.approx(
        percent, abs=0.05 + 0.5 * (1 + new / base) / base
    )
    assert slowdown == pytest.approx(percent / 100, abs=0.015)


def test_a_gate_without_pairs_gives_a_row_without_figures():
    row = case_verdict("a", judge({"a": []}, Design(), ended=True)["a"], [])
    assert ("inconclusive", None, None) == (row.status, row.ratio, row.high)


def test_a_failed_case_is_an_error_and_ends_in_4_and_an_inconclusive_one_can_be_let_pass():
    failed = CaseVerdict("broken", "failed", reason="working tree: ended by SIGSEGV in measure")
    calm = CASES[3]
    verdicts = Verdicts("main", "HEAD", 0.03, (failed, calm))
    assert (4, "1 case failed") == (verdicts.exit_code, verdicts.conclusion)
    [suite] = JUnitXml.fromstring(rendered("junit", verdicts).encode())
    assert (1, 0) == (suite.errors, suite.failures)
    assert "FAILED" in rendered("terminal", verdicts)
    noisy = Verdicts("main", "HEAD", 0.03, (calm, CASES[2]), inconclusive_passes=True)
    assert 0 == noisy.exit_code
    assert "1 inconclusive" in noisy.conclusion
    assert 1 == Verdicts("main", "HEAD", 0.03, (SLOWER, failed)).exit_code
