"""Charts: what is drawn and what never is, the same bytes each time, data beside every picture."""

import dataclasses
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest
import report_records
from dlbench.reports.charts.drawing import style
from dlbench.reports.run.sections import build_sections

from dlbench import plugins
from dlbench.analyse.statistics import ratios_by_round
from dlbench.analyse.table import ColdStart, Report, build
from dlbench.errors import UsageError
from dlbench.record.schema import Record, Skip

pytest.importorskip("altair", reason="the extra charts is not installed")
pytest.importorskip("vl_convert", reason="the extra charts is not installed")

SVG = "{http://www.w3.org/2000/svg}"
ON_ANY = ("speedup", "time", "cold-start", "pay-off", "errors", "disturbance", "telemetry")
"""Charts that a run that was watched has."""


def report(*records: Record, baseline: str | None = None) -> Report:
    named = [(f"{n}.jsonl", each) for n, each in enumerate(records)]
    return build(named, baseline, ColdStart())


def chart(name: str) -> Any:
    return plugins.load_reporter(name, plugins.CHARTS)


def texts(svg: bytes) -> list[str]:
    return ["".join(each.itertext()) for each in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.fixture(scope="module")
def watched(make: Any) -> Report:
    return report(report_records.watched(make.record(epochs=3)))


def test_every_chart_has_a_name_of_its_own_and_a_reason_where_there_is_nothing_to_draw(
    make: Any,
) -> None:
    case = make.case()
    nothing = report(make.measured([case], [Skip(case, "gone", "")]))
    names = [name for name in plugins.reporter_names(plugins.CHARTS) if name != "table"]
    assert {"speedup", "throughput", "layers", "roofline", "training"} <= set(names)
    for name in names:
        with pytest.raises(UsageError, match=r"\w+ \w+"):
            chart(name)(nothing, "svg")


@pytest.mark.parametrize("name", ON_ANY)
def test_a_chart_is_the_same_bytes_each_time_and_says_what_it_shows(
    watched: Report, name: str
) -> None:
    first, second = chart(name)(watched, "svg"), chart(name)(watched, "svg")
    assert first == second
    root = ElementTree.fromstring(first)
    assert root.get("role") == "img"
    title, summary = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert title.text
    assert summary is not None
    assert summary.text
    assert "prefers-color-scheme:dark" in first.decode()
    assert not re.search(r"https?://(?!www\.w3\.org)|data:|<script|\son\w+=", first.decode())


@pytest.mark.parametrize("name", ["throughput", "latency"])
def test_a_chart_that_is_cut_at_its_frame_is_the_same_bytes_too(name: str) -> None:
    swept = report(report_records.many(2, batches=(1, 8)))
    first, second = chart(name)(swept, "svg"), chart(name)(swept, "svg")
    assert b"clip-path" in first
    assert first == second


def test_a_picture_is_a_png_of_two_dots_a_pixel(watched: Report) -> None:
    drawn = chart("speedup")(watched, "png")
    assert drawn[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(drawn[16:20], "big") > 1500


@pytest.mark.parametrize("name", ON_ANY)
def test_what_is_not_verified_or_was_skipped_is_drawn_nowhere(watched: Report, name: str) -> None:
    assert {"unverified", "skipped"} <= {row["status"] for row in watched.rows}
    drawn = chart(name)(watched, "svg")
    told = "".join(ElementTree.fromstring(drawn).itertext())
    assert "acme" not in told
    assert "cupy" not in told


def test_every_figure_has_its_data_as_a_table_with_a_line_a_row(watched: Report) -> None:
    for name in ON_ANY:
        for figure in chart(name).figures(watched):
            assert figure.table.lines, name
            assert figure.summary.endswith("."), name
            assert {len(c.cells) for c in figure.table.columns} == {len(figure.table.lines)}, name


def test_a_dot_is_a_round_and_their_middle_the_speed_up(watched: Report) -> None:
    (run,) = watched.runs
    row = next(r for r in run.rows if r["backend"] == "tensorflow" and r["scenario"] == "train")
    base = next(r for r in run.rows if r["backend"] == "numpy" and r["scenario"] == "train")
    rounds = ratios_by_round(base.outcome.timed, row.outcome.timed)
    assert len(rounds) == 3
    assert min(rounds) <= row["speedup"] <= max(rounds)


def test_a_verdict_stands_beside_each_bar_in_words() -> None:
    told = texts(chart("speedup")(report(report_records.many(4)), "svg"))
    assert any(re.fullmatch(r"0\.91× \[0\.\d\d, 0\.\d\d\] slower", text) for text in told)
    assert "1.00× baseline" in told
    assert any(text.endswith("not told apart") for text in told)


def test_nothing_is_told_of_a_row_without_an_interval_or_of_a_disturbed_one(make: Any) -> None:
    told = texts(chart("speedup")(report(report_records.many(3, rounds=1)), "svg"))
    assert any(text.endswith("no interval") for text in told)
    assert not any(text.endswith(("faster", "slower")) for text in told)
    cases = [make.case("numpy"), make.case("torch")]
    lines = [make.verification(case) for case in cases]
    busy = report_records.Surroundings(2.0, 1.5, 0.0, 0, 0, 0, 0, 2, 2, None, 3e9, 1.0)
    lines += [
        make.process(case, k, s, during=busy)
        for k in range(3)
        for case, s in zip(cases, (0.03, 0.06), strict=True)
    ]
    told = texts(chart("speedup")(report(make.measured(cases, lines)), "svg"))
    assert "cannot be told: disturbed" in told
    assert "! torch 2.13 · cpu · eager" in told


def test_nothing_is_told_over_a_disturbed_baseline(make: Any) -> None:
    cases = [make.case("numpy"), make.case("torch")]
    busy = report_records.Surroundings(2.0, 0.3, 0.0, 0, 0, 0, 0, 2, 2, None, 3e9, 1.0)
    lines = [make.verification(case) for case in cases]
    quiet = dataclasses.replace(busy, other_cores=0.0)
    for k in range(3):
        lines.append(make.process(cases[0], k, 0.06, during=quiet if k else busy))
        lines.append(make.process(cases[1], k, 0.03, during=quiet))
    told = report(make.measured(cases, lines))
    drawn = chart("speedup")(told, "svg")
    assert "cannot be told: baseline disturbed" in texts(drawn)
    assert f' stroke="{style.FASTER}"'.encode() not in drawn
    (main, *_) = build_sections(told)
    assert any("numpy:cpu was disturbed in train, batch 64" in note for note in main.notes)


def test_a_process_is_drawn_with_its_own_limit(make: Any) -> None:
    case = make.case("numpy")
    lines = [make.verification(case)]
    # 0.25 cores are more than a window of two seconds allows, but less than one of half a second does
    for k, (window_s, others) in enumerate(((2.0, 0.0), (0.5, 0.25), (2.0, 0.0))):
        seen = report_records.Surroundings(window_s, others, 0.0, 0, 0, 0, 0, 2, 2, None, 3e9, 1.0)
        lines.append(make.process(case, k, 0.03, during=seen))
    (figure,) = chart("disturbance").figures(report(make.measured([case], lines)))
    cells = {column.title: column.cells for column in figure.table.columns}
    assert cells["limits"] == ("0.21, 0.28, 0.21",)
    assert cells["disturbed"] == ("no",)


def test_of_many_rows_some_are_drawn_and_the_table_has_all() -> None:
    (figure,) = chart("speedup").figures(report(report_records.many(60)))
    assert len(figure.table.lines) == 120
    assert "40 of 120 rows are drawn; the table has all of them." in figure.notes


def test_a_sweep_has_lines_whose_signs_say_what_was_won() -> None:
    swept = report(report_records.many(3, batches=(1, 8, 64, 256)))
    train, infer = chart("throughput").figures(swept)
    assert train.title.endswith("train")
    assert any(" is faster than numpy:cpu from batch size " in note for note in train.notes)
    assert {"faster", "slower", "baseline"} <= set(train.table.columns[3].cells)
    assert "crossover" in texts(chart("throughput")(swept, "svg"))
    assert len(chart("latency").figures(swept)) == len([train, infer])


@pytest.mark.parametrize(
    ("import_s", "step_s", "changes", "told"),
    [
        # 7 s later and 10 ms a step less
        (9.0, 0.020, {}, r"Pays off after [67]\d\d steps \[\d+, \d+\]; dashed: torch"),
        (9.0, 0.040, {}, r"Never pays off: its steps are no shorter"),
        (1.0, 0.020, {}, r"Ahead from the start"),
        (1.0, 0.040, {}, r"Ahead for (?:9\d|1\d\d) steps \[\d+, \d+\], behind from then on"),
        (9.0, 0.030, {}, r"Cannot be told: no significant difference between the step times"),
        (9.0, 0.020, {"rounds": 1}, r"Cannot be told: a single process gives no confidence"),
        (9.0, 0.020, {"busy": True}, r"Cannot be told: others were at work beside torch 2\.13 "),
    ],
)
def test_where_a_compiled_row_has_paid_for_its_start_is_marked_or_said_to_be_unknown(
    import_s: float, step_s: float, changes: Any, told: str
) -> None:
    record = report_records.compiled(import_s, step_s, **changes)
    drawn = chart("pay-off")(report(record), "svg")
    (found,) = [text for text in texts(drawn) if re.match(told, text)]
    # one panel's grey is not that of another
    assert (f' stroke="{style.SERIES[0]}"'.encode() in drawn) != found.startswith("Cannot")
    # the point at which the lines cross
    assert (b'stroke-width="1.6"' in drawn) == ("steps [" in found)
    assert len(chart("pay-off").figures(report(record))[0].table.lines) == 1


@pytest.mark.parametrize("wild", [False, True])
def test_percentiles_are_drawn_where_the_queries_tell_them_and_named_where_not(wild: bool) -> None:
    told = report(report_records.queried(3, wild=wild))
    drawn = chart("percentiles")(told, "svg")
    assert drawn == chart("percentiles")(told, "svg")
    (few,) = [text for text in texts(drawn) if text.endswith("p99 –")]
    assert re.fullmatch(r"p50 2\.\d+ ms · p90 2\.\d+ ms · p99 –", few)
    (figure,) = chart("percentiles").figures(told)
    assert sum("p99 takes 368 queries, there are 120" in note for note in figure.notes) == 1
    cells = {column.title: column.cells for column in figure.table.columns}
    assert sorted(cell == "–" for cell in cells["p99"]) == [False, False, True]
    assert all(re.search(r" \[.+, .+\]$", cell) for cell in cells["p50"])


def test_rates_that_a_search_tried_are_drawn_with_the_largest_or_why_there_is_none() -> None:
    (figure,) = chart("rates").figures(report(report_records.served()))
    assert figure.notes[0].startswith("The largest rate is 101 queries/s [")
    assert [column.cells[0] for column in figure.table.columns] == [
        *("1", "50.0", "400", "5.00 ms", "yes")
    ]
    assert figure.table.columns[3].cells.count("given up") == 3
    drawn = chart("rates")(report(report_records.served()), "svg")
    assert drawn == chart("rates")(report(report_records.served()), "svg")
    (none,) = chart("rates").figures(report(report_records.served(enough=False)))
    assert "cannot be told: the largest rate takes 368 queries a trial" in none.notes[0]


def test_the_samples_of_a_device_are_drawn_with_the_timed_windows() -> None:
    first, *_, host = chart("telemetry").figures(report(report_records.with_gpu()))
    assert first.title == "NVIDIA H200 beside cupy:cuda/graph/train/64, round 0"
    assert list(first.table.columns[0].cells) == [
        "GPU busy",
        "GPU memory in use",
        "power",
        "SM clock",
    ]
    assert host.name == "host"


@pytest.mark.parametrize("shape", ["one", "forty", "long", "wild", "single"])
def test_records_of_every_shape_are_drawn_within_their_width(shape: str) -> None:
    record = {
        "one": lambda: report_records.many(1),
        "forty": lambda: report_records.many(20),
        "long": lambda: report_records.many(3, long=True),
        "wild": lambda: report_records.many(4, wild=True),
        "single": lambda: report_records.many(3, rounds=1),
    }[shape]()
    root = ElementTree.fromstring(chart("time")(report(record), "svg"))
    width = float(root.get("width", "0"))
    assert 880 <= width < 960
    for element in root.iter():
        for number in re.findall(r"translate\((-?[\d.]+),", element.get("transform", "")):
            assert -20 <= float(number) <= width


def test_hostile_strings_stay_text_in_charts() -> None:
    record = report_records.hostile()
    told = report(record, baseline=record.header.cases[0].row_name)
    for name in ("speedup", "training", "errors"):
        drawn = chart(name)(told, "svg").decode()
        assert "<script" not in drawn.replace("&lt;script", "")
        assert "\x1b" not in drawn
        assert "\u202e" not in drawn


def test_the_table_of_a_terminal_is_a_picture_that_fetches_nothing(watched: Report) -> None:
    drawn = chart("table")(watched, "svg")
    assert drawn == chart("table")(watched, "svg")
    assert b"@font-face" not in drawn
    assert "20.0 ms" in "".join(texts(drawn)).replace("\xa0", " ")
    with pytest.raises(UsageError, match=r"\.svg"):
        chart("table")(watched, "png")
