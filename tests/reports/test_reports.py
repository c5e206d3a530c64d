"""All formats over one table: the same words, nothing unverified ranked, and valid output whatever
happened."""

import csv
import io
import json
import math
import re
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from windows import BURNING

from dlbench.analyse.case_columns import COLUMNS
from dlbench.analyse.table import Report, build
from dlbench.plugins import load_reporter
from dlbench.record.schema import Data, Record, Skip

FORMATS = ("terminal", "markdown", "csv", "json")
REQUIRED = [
    "suite",
    "backend",
    "version",
    "device",
    "scenario",
    "batch",
    "precision",
    "mode",
    "threads",
    "data",
    "seed",
    "status",
    "verified",
    "reason",
    "median_s",
    "ci_low_s",
    "ci_high_s",
    "samples_per_s",
    "speedup",
    "max_relative_error",
]


def shown(form: str, *records: Record, width: int = 100, colour: bool = False) -> str:
    """Records in a format."""
    report = build([(f"results/{number}.jsonl", record) for number, record in enumerate(records)])
    text: str = load_reporter(form)(report, width=width, colour=colour)
    return text


@pytest.fixture
def record(make: Any) -> Record:
    """A complete run with trainings."""
    whole: Record = make.record(epochs=2)
    return whole


def test_json_is_one_object_with_schema_machine_and_rows(record: Record) -> None:
    told = json.loads(shown("json", record))
    assert told["schema"] == 1
    assert told["machine"]["cpu"] == "EPYC 9B45"
    assert len(told["rows"]) == 10
    for row in told["rows"]:
        assert set(REQUIRED) <= set(row)
        assert list(row) == [column.name for column in COLUMNS]
    assert told["runs"][0]["data"]["stand_in"] is True


def test_json_has_null_for_what_is_unknown_and_never_nan(make: Any) -> None:
    case = make.case()
    wild = [make.process(case, 0, 1e-9), make.process(case, 1, 1e3)]
    record = make.measured([case], [make.verification(case, max_relative_error=None), *wild])

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    (row,) = json.loads(shown("json", record), parse_constant=refuse)["rows"]
    assert row["share_of_peak"] is None
    assert row["speedup_low"] is None


def test_csv_reads_back_as_the_same_table(record: Record) -> None:
    frame = build([("x.jsonl", record)]).frame
    back = pd.read_csv(io.StringIO(shown("csv", record)))
    assert list(back.columns) == [column.name for column in COLUMNS]
    for column, kind in ((each.name, each.dtype) for each in COLUMNS):
        if kind == "float64":
            assert list(back[column].fillna(-1)) == pytest.approx(
                list(frame[column].fillna(-1)), rel=1e-12
            )
        elif kind == "int64":
            assert list(back[column]) == list(frame[column])
    assert list(back["status"]) == list(frame["status"])


def test_markdown_has_a_table_whose_lines_have_equally_many_cells(record: Record) -> None:
    main = shown("markdown", record).partition("\n####")[0]
    lines = [line for line in main.splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert len(lines) == 2 + 6
    assert {len(row) for row in cells} == {len(cells[0])}
    assert [cell.strip() for cell in cells[2][:5]] == [
        "✓",
        "tensorflow 2.21",
        "cpu",
        "graph",
        "train, batch 64",
    ]


def test_markdown_of_a_hostile_reason_stays_one_item_and_one_line(make: Any) -> None:
    case = make.case()
    skip = Skip(case, "a | b\n# heading <script> `x`\x1b[31m", "pip install [x]")
    text = shown("markdown", make.measured([case], [skip]))
    (item,) = [line for line in text.splitlines() if line.startswith("- ")]
    assert "\\| b # heading \\<script>" in item
    assert "\x1b" not in text


@pytest.mark.parametrize(
    "told", ["@octocat", "see #12", "https://x.y", "HTTP://x.y", "www.x.y", "WWW.x.y"]
)
def test_markdown_of_a_record_names_nobody_and_links_nowhere(make: Any, told: str) -> None:
    case = make.case()
    text = shown("markdown", make.measured([case], [Skip(case, told, "")]))
    assert told not in text
    assert told in text.replace("&#8203;", "")


def test_a_terminal_never_sees_control_characters_from_a_worker(make: Any) -> None:
    case = make.case()
    text = shown("terminal", make.measured([case], [Skip(case, "gone\x1b[2J\x07\r\nreally", "")]))
    assert "\x1b" not in text
    assert "gone [2J really" in text


@pytest.mark.parametrize("width", [64, 80, 100, 120, 200])
def test_the_terminal_report_fits_its_width(record: Record, width: int) -> None:
    for line in shown("terminal", record, width=width).splitlines():
        # a command is to be pasted
        assert cell_len(line) <= width or ": dlbench " in line, line


def test_a_narrow_terminal_names_what_it_leaves_out_and_keeps_intervals_and_speedups(
    record: Record,
) -> None:
    narrow, wide = (shown("terminal", record, width=width) for width in (80, 200))
    assert "hidden, terminal too narrow: " in narrow
    assert "hidden" not in wide
    for text in (narrow, wide):
        assert re.search(r"✓ tensorflow 2\.21 .*20\.0 ms \[19\.9, 20\.1\].*1\.80× \[", text)


def test_without_colour_there_is_no_escape_sequence_and_with_colour_the_words_are_the_same(
    record: Record,
) -> None:
    plain = shown("terminal", record)
    coloured = shown("terminal", record, colour=True)
    assert "\x1b" not in plain
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_all_formats_for_people_say_the_same_words(record: Record) -> None:
    for form in ("terminal", "markdown"):
        text = " ".join(shown(form, record, width=200).replace("\\", "").split())
        for words in (
            "1,199,882 parameters",
            "71.6 MFLOP/sample training",
            "data: stand-in (no MNIST found: dlbench data fetch mnist)",
            "EPYC 9B45, 2 cores, 24 GiB · no GPU",
            "not verified: gradient of conv2.bias is 0, should be 0.0132 (tolerance 2e-5)",
            "no CUDA device: this row needs an NVIDIA GPU: pip install 'dlbench[cupy]'",
            "41 s: import 9, verify 6, warm-up 5, measured 20, waiting 1 · timer overhead 600 ns per step",
            "results/0.jsonl",
            "97.12 %",
            "→ TensorFlow trains this network 1.8 times as fast as NumPy on this CPU.",
        ):
            assert words in text
    assert json.loads(shown("json", record))["readings"][0] in shown("terminal", record, width=200)


def test_a_difference_is_only_stated_when_the_interval_excludes_one(make: Any) -> None:
    def reading(*medians: list[float]) -> str:
        lines: list[Any] = []
        cases = [make.case(name) for name in ("numpy", "torch", "tensorflow")[: len(medians)]]
        for case, values in zip(cases, medians, strict=True):
            lines += [make.verification(case)]
            lines += [make.process(case, number, value) for number, value in enumerate(values)]
        return json.loads(shown("json", make.measured(cases, lines)))["readings"][0]

    assert "PyTorch trains this network 2.0 times as fast as NumPy" in reading(
        [0.04] * 3, [0.02] * 3
    )
    assert "NumPy trains this network 2.0 times as fast as PyTorch" in reading(
        [0.02] * 3, [0.04] * 3
    )
    alike = reading([0.04, 0.03, 0.02], [0.02, 0.03, 0.05])
    assert "no significant difference between NumPy and PyTorch (train, this CPU): 1.00× [" in alike
    # of which of the two it is the factor
    assert alike.endswith("] in favour of NumPy.")
    # the one that is left out has the second median
    wide = reading([0.024] * 3, [0.015, 0.03, 0.06], [0.02] * 3)
    assert "TensorFlow and PyTorch, each of which may be the fastest of 3 (train" in wide
    assert (
        "nothing is concluded about training on this CPU: there is a single process of NumPy"
        in (reading([0.04], [0.02]))
    )


def test_nothing_is_concluded_from_a_disturbed_row(make: Any) -> None:
    cases = [make.case("numpy"), make.case("torch")]
    lines: list[Any] = []
    for case, value in zip(cases, (0.04, 0.02), strict=True):
        lines += [make.verification(case)]
        lines += [make.process(case, number, value, during=BURNING) for number in range(3)]
    (reading,) = json.loads(shown("json", make.measured(cases, lines)))["readings"]
    assert "training on this CPU: others were at work beside NumPy and PyTorch;" in reading
    assert "dlbench doctor" in reading


@pytest.mark.parametrize(
    ("devices", "place"), [(("cuda",), "NVIDIA H200"), (("cuda:0", "cuda:1"), "cuda:1")]
)
def test_a_device_is_called_by_its_name_and_where_several_have_that_by_its_index(
    make: Any, devices: tuple[str, ...], place: str
) -> None:
    cases = [make.case("numpy"), *(make.case("torch", device) for device in devices)]
    lines = [make.verification(case) for case in cases]
    lines += [make.process(case, n, 0.04 / (1 + i)) for i, case in enumerate(cases) for n in (1, 2)]
    readings = json.loads(shown("json", make.measured(cases, lines)))["readings"]
    assert f"PyTorch trains this network on {place} " in readings[0]


def test_nothing_is_read_out_of_rows_that_are_not_verified(make: Any) -> None:
    cases = [make.case("numpy"), make.case("torch")]
    lines = [make.verification(cases[0]), make.verification(cases[1], "unverified", "wrong")]
    lines += [make.process(case, i) for case in cases for i in range(3)]
    assert json.loads(shown("json", make.measured(cases, lines)))["readings"] == []


def test_a_remark_on_a_row_with_figures_is_shown(make: Any) -> None:
    case = make.case()
    lines = [make.verification(case), make.process(case, 0, steady=False)]
    for form in ("terminal", "markdown"):
        text = shown(form, make.measured([case], lines), width=200).replace("\\", "")
        assert "! numpy:cpu/train/64: no steady state in 1 of 1 processes" in text


def test_a_record_that_was_cut_off_is_called_interrupted(make: Any) -> None:
    record = Record(make.header([make.case()]), ())
    for form in ("terminal", "markdown"):
        assert "interrupted: the record has no end" in shown(form, record)


def test_records_on_different_data_warn_in_every_format_with_words(make: Any) -> None:
    one, other = make.record(), make.record()
    changed = Record(
        make.header(one.header.cases, data=Data("digits", "", "0", False)), other.lines
    )
    for form in ("terminal", "markdown", "json"):
        assert "different data" in shown(form, one, changed, width=300)


@pytest.mark.parametrize("form", FORMATS)
def test_a_report_on_no_record_renders(form: str) -> None:
    assert isinstance(load_reporter(form)(Report(())), str)


STATUSES = st.sampled_from(["ok", "unverified", "skipped", "failed", "timeout", "out_of_memory"])
TEXTS = st.text(max_size=40)
TIMES = st.floats(1e-7, 1e4)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_mixture_renders_everywhere_and_only_verified_rows_have_figures(
    make: Any, data: Any
) -> None:
    cases = [
        make.case(backend, device, scenario, batch=batch)
        for backend, device in (("numpy", "cpu"), ("torch", "cpu"), ("cupy", "cuda:0"))
        for scenario in ("train", "infer")
        for batch in data.draw(st.sampled_from([(64,), (1, 64)]))
    ]
    lines: list[Any] = []
    expected = {}
    for case in cases:
        verified = data.draw(STATUSES)
        statuses = data.draw(st.lists(STATUSES, max_size=3))
        reason = data.draw(TEXTS)
        if verified == "skipped":
            lines.append(Skip(case, reason, data.draw(TEXTS)))
        else:
            lines.append(make.verification(case, verified, reason))
        for number, status in enumerate(statuses):
            times = data.draw(TIMES)
            lines.append(make.process(case, number, times, status=status, reason=reason))
        expected[case] = (verified, *statuses)
    record = make.measured(cases, data.draw(st.permutations(lines)))
    report, width = build([("x.jsonl", record)]), data.draw(st.integers(10, 200))
    texts = {form: load_reporter(form)(report, width=width, colour=False) for form in FORMATS}
    rows = json.loads(texts["json"])["rows"]
    assert len(rows) == len(cases) == len(list(csv.reader(io.StringIO(texts["csv"])))) - 1
    for row in rows:
        same = [
            c
            for c in cases
            if (c.backend, c.scenario, c.batch) == (row["backend"], row["scenario"], row["batch"])
        ]
        assert len(same) == 1
        has_figures = row["median_s"] is not None
        assert has_figures == (row["status"] == "ok")
        if not has_figures:
            assert row["speedup"] is None
            assert row["samples_per_s"] is None
        if has_figures:
            assert row["verified"] is True
            assert set(expected[same[0]]) == {"ok"}
        if row["speedup"] is not None:
            assert math.isfinite(row["speedup"])
            base = next(
                r
                for r in rows
                if (r["backend"], r["scenario"], r["batch"])
                == ("numpy", row["scenario"], row["batch"])
            )
            assert base["status"] == "ok"
