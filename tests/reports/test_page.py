"""The page without a browser: one file, everything escaped, the parts that a reader looks for, what terminals say."""

import base64
import dataclasses
import hashlib
import html.parser
import re
import shlex
from typing import Any

import click
import msgspec
import pytest
import report_records
from click.testing import CliRunner

from dlbench.analyse.table import ColdStart, Report, build, rebased
from dlbench.cli.main import cli
from dlbench.plugins import load_reporter
from dlbench.record.schema import Record

pytest.importorskip("altair", reason="the extra charts is not installed")
pytest.importorskip("vl_convert", reason="the extra charts is not installed")

PARTS = (
    "1 What was found",
    "2 The comparison",
    "3 Cold start",
    "4 Training",
    "5 Telemetry",
    "6 How far to trust it",
    "7 Not measured here, and how to",
)
VOID = {"meta", "link", "br", "input", "img"}


class Reader(html.parser.HTMLParser):
    """The elements of a page, and its text without scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def report(*records: Record, baseline: str | None = None) -> Report:
    named = [(f"results/{n}.jsonl", each) for n, each in enumerate(records)]
    return build(named, baseline, ColdStart())


def page(*records: Record, baseline: str | None = None) -> str:
    text: str = load_reporter("html")(report(*records, baseline=baseline))
    return text


@pytest.fixture(scope="module")
def whole(make: Any) -> str:
    return page(report_records.watched(make.record(epochs=3)))


def test_a_page_has_all_parts_in_order_and_is_well_formed(whole: str) -> None:
    reader = Reader(whole)
    assert reader.open == []
    places = [reader.text.rindex(part) for part in PARTS]
    assert places == sorted(places)


def test_a_page_says_what_the_terminal_says(whole: str, make: Any) -> None:
    told = report(report_records.watched(make.record(epochs=3)))
    shown = " ".join(load_reporter("terminal")(told, width=400).split())
    text = Reader(whole).text
    for words in (
        "20.0 ms [19.9, 20.1]",
        "not verified: gradient of conv2.bias is 0, should be 0.0132 (tolerance 2e-5)",
        "no CUDA device: this row needs an NVIDIA GPU: pip install 'dlbench[cupy]'",
        "97.12 %",
        "TensorFlow trains this network 1.8 times as fast as NumPy on this CPU",
    ):
        assert words in shown
        assert words in text


def test_the_answer_has_its_interval_and_says_whether_it_is_certain(whole: str) -> None:
    interval = r"\(1\.\d\d× \[1\.\d\d, 1\.\d\d\]\)\."
    told = "Certain at 95 % TensorFlow trains this network 1.8 times as fast as NumPy on this CPU "
    assert re.search(re.escape(told) + interval, Reader(whole).text)


def test_what_is_not_compared_is_said_at_the_top_with_the_reason_and_how_to_run_it_again(
    make: Any,
) -> None:
    cases = [make.case("numpy"), make.case("torch")]
    lines = [make.verification(cases[0]), make.verification(cases[1], "unverified", "bias is 0")]
    lines += [make.process(cases[0], k, 0.03) for k in range(3)]
    top = Reader(page(make.measured(cases, lines))).text.split("2 The comparison")[1]
    assert (
        "Cannot be told Nothing is compared in training at batch 64: only numpy:cpu has figures "
        "(torch:cpu/eager: not verified: bias is 0)." in top
    )
    assert "To run it again: dlbench run --suite cnn-mnist" in top


def test_what_holds_without_a_disturbed_row_is_said_at_the_top(make: Any) -> None:
    cases = [make.case("numpy"), make.case("torch"), make.case("tensorflow")]
    quiet = report_records.Surroundings(2.0, 0.0, 0.0, 0, 0, 0, 0, 2, 2, None, 3e9, 1.0)
    busy = dataclasses.replace(quiet, other_cores=0.3)
    lines = [make.verification(case) for case in cases]
    for k in range(3):
        for case, step_s in zip(cases, (0.03, 0.06, 0.02), strict=True):
            others = busy if case is cases[1] and not k else quiet
            lines.append(make.process(case, k, step_s * (1 + k / 1000), during=others))
    told = report(make.measured(cases, lines))
    top = Reader(load_reporter("html")(told)).text.partition("To run it again")[0]
    assert "Nothing is concluded about PyTorch in training on this CPU: others were at" in top
    assert "Without these: TensorFlow trains this network 1.5 times as fast as NumPy" in top


def test_a_row_that_is_slower_than_all_that_may_be_the_fastest_is_named(make: Any) -> None:
    cases = [make.case("numpy"), make.case("torch"), make.case("tensorflow")]
    lines = [make.verification(case) for case in cases]
    for k in range(3):
        for case, steps_s in zip(cases, ((30, 31, 30), (60, 61, 60), (31, 30, 31)), strict=True):
            lines.append(make.process(case, k, steps_s[k] / 1000))
    top = Reader(page(make.measured(cases, lines))).text.partition("To run it again")[0]
    assert re.search(
        r"PyTorch is slower \(train, this CPU\): 0\.\d\d× \[[^]]+\] of \w+'s speed and 0\.", top
    )


def test_figures_stand_right_behind_who_a_row_is(whole: str) -> None:
    heads = re.findall(r"<th[^>]*>([^<]+)</th>", whole.partition("</thead>")[0])
    assert heads[:3] == ["state", "row", "median (3 processes)"]
    assert heads[3].startswith("vs numpy")


def test_a_factor_of_which_hardly_anything_is_known_is_not_told(make: Any) -> None:
    cases = [make.case("numpy"), make.case("torch")]
    lines = [make.verification(case) for case in cases]
    lines += [
        make.process(case, k, 0.03 * (scale if case is cases[1] else 1))
        for k, scale in enumerate((0.05, 1.0, 20.0))
        for case in cases
    ]
    text = Reader(page(make.measured(cases, lines))).text
    assert re.search(r"cannot be told: interval \[0\.0\d+, [\d.,]+\]", text)
    assert "1.00× [" not in text


def test_a_page_asks_for_nothing_from_outside_and_its_policy_forbids_it(whole: str) -> None:
    reader = Reader(whole)
    for tag, attributes in reader.elements:
        assert tag not in ("img", "iframe", "object", "embed", "base", "form")
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
        link = attributes.get("href") or attributes.get("src") or "#"
        assert link.startswith("#") or link == "data:,"
    policy = next(a["content"] for _, a in reader.elements if a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    for kind in ("style", "script"):
        (source,) = re.findall(f"<{kind}>(.*?)</{kind}>", whole, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_identifiers_are_there_but_once_and_what_refers_to_them_finds_them(whole: str) -> None:
    elements = Reader(whole).elements
    found = [a["id"] for _, a in elements if a.get("id")]
    assert len(found) == len(set(found))
    links = {(a.get("href") or "")[1:] for tag, a in elements if tag == "a"}
    links |= {a["aria-labelledby"] or "" for _, a in elements if "aria-labelledby" in a}
    links |= set(re.findall(r"url\(#([^)]+)\)", whole))
    assert links <= set(found)


def test_every_chart_has_a_text_and_its_data_beside_it(whole: str) -> None:
    elements = Reader(whole).elements
    charts = [attributes for tag, attributes in elements if tag == "svg"]
    assert charts
    assert all(each["role"] == "img" and each["aria-label"] for each in charts)
    figures = [tag for tag, _ in elements].count("figure")
    assert len(charts) == 2 * figures
    assert whole.count("<summary>Data of this chart</summary>") == figures


def test_hostile_strings_render_harmlessly() -> None:
    record = report_records.hostile()
    text = page(record, baseline=record.header.cases[0].row_name)
    reader = Reader(text)
    assert [tag for tag, _ in reader.elements].count("script") == 1
    assert not {"img", "iframe"} & {tag for tag, _ in reader.elements}
    assert "{{7*7}}" in reader.text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert not [a for _, a in reader.elements for name in a if name.startswith("on")]


def test_a_page_is_the_same_bytes_for_the_same_records(make: Any) -> None:
    assert page(make.record()) == page(make.record())


def test_parts_without_data_say_what_would_give_them(make: Any) -> None:
    text = Reader(page(make.record())).text
    assert "dlbench run --suite cnn-mnist --backend numpy --backend torch" in text
    assert "--sweep batch=1,8,64" in text
    assert "dlbench profile --suite cnn-mnist" in text
    assert "--epochs 2" in text


def test_the_command_that_runs_it_again_is_one_that_dlbench_takes(make: Any) -> None:
    cases = [make.case(b, scenario=s) for b in ("numpy", "torch") for s in ("train", "infer")]
    lines = [make.verification(case) for case in cases] + [make.process(c, 0) for c in cases]
    settings = {"seed": 7, "rounds": 5, "row_budget_s": 2.5, "epochs": 3, "baseline": "torch:cpu"}
    text = page(make.measured(cases, lines, **settings))
    commands = [
        shlex.split(html.unescape(each))
        for each in re.findall(r"<pre[^>]*>(dlbench [^<]+)</pre>", text)
    ]
    assert {words[1] for words in commands} == {"run", "profile"}
    for _, name, *words in commands:
        assert isinstance(cli, click.Group)
        cli.commands[name].make_context(name, words)
    again = next(words for words in commands if "--budget" in words)
    for option, value in (("--seed", "7"), ("--rounds", "5"), ("--budget", "2.5")):
        assert again[again.index(option) + 1] == value
    for option, value in (("--epochs", "3"), ("--baseline", "torch:cpu"), ("--threads", "2")):
        assert again[again.index(option) + 1] == value
    assert again.count("--backend") == 2


def test_the_baseline_can_be_chosen_without_scripts(whole: str) -> None:
    options = [
        attributes
        for tag, attributes in Reader(whole).elements
        if tag == "input" and attributes.get("type") == "radio"
    ]
    assert len(options) == 3
    assert [("checked" in each) for each in options] == [True, False, False]
    for base in ("numpy", "tensorflow:cpu/graph", "torch:cpu/eager"):
        assert f"Speed-up over {base.removesuffix(':cpu')}" in whole


def test_another_baseline_gives_the_speed_ups_that_it_gives_from_the_start(make: Any) -> None:
    record = make.record()
    (run,) = report(record).runs
    (other,) = report(record, baseline="torch:cpu").runs
    there = rebased(run, "torch:cpu/eager")
    names = ("baseline", "speedup", "speedup_low", "speedup_high", "speedup_with_copies")
    assert [[row[n] for n in names] for row in there.rows] == [
        [row[n] for n in names] for row in other.rows
    ]


def test_several_records_say_which_may_be_compared(make: Any) -> None:
    other = make.record(seed=2)
    text = Reader(page(make.record(), other)).text
    assert "Which records may be compared" in text
    assert "may be compared" in text.partition("Which records may be compared")[2]
    machine = msgspec.structs.replace(other.header.machine, cpu="Another CPU")
    unlike = msgspec.structs.replace(
        other, header=msgspec.structs.replace(other.header, machine=machine)
    )
    text = Reader(page(make.record(), unlike)).text
    assert "not to be compared" in text
    assert "cpu is EPYC 9B45 in 0.jsonl and Another CPU in 1.jsonl" in text


def test_a_record_without_a_figure_has_a_page_that_says_so(make: Any) -> None:
    case = make.case()
    text = Reader(page(make.measured([case], [make.verification(case)]))).text
    assert "Nothing was timed and verified in these records" in text
    for part in ("2 The comparison", "3 How far to trust it", "4 Not measured here, and how to"):
        assert part in text


@pytest.mark.parametrize("shape", ["one", "long", "wild", "single", "swept"])
def test_records_of_every_shape_have_a_page(shape: str) -> None:
    records: dict[str, Any] = {
        "one": {"rows": 1},
        "long": {"rows": 3, "long": True},
        "wild": {"rows": 4, "wild": True},
        "single": {"rows": 3, "rounds": 1},
        "swept": {"rows": 3, "batches": (1, 8, 64)},
    }
    assert Reader(page(report_records.many(**records[shape]))).open == []


def test_the_command_line_writes_pages_and_charts(
    tmp_path: Any, make: Any, write_record: Any
) -> None:
    record = str(write_record(tmp_path / "run.jsonl", make.record()))
    run = CliRunner().invoke
    target = tmp_path / "report.html"
    assert run(cli, ["report", record, "--format", "html", "--output", str(target)]).exit_code == 0
    assert target.read_text("utf-8").startswith("<!doctype html>")
    for name in ("speedup.svg", "speedup.png"):
        drawn = tmp_path / name
        done = run(cli, ["report", record, "--chart", "speedup", "--output", str(drawn)])
        assert done.exit_code == 0, done.output
        assert drawn.stat().st_size > 1000
    lost = run(cli, ["report", record, "--chart", "speedup"])
    assert lost.exit_code == 2
    assert "name a file with --output that ends with .svg or .png" in lost.output
    nowhere = run(cli, ["run", "--suite", "smoke", "--html", str(tmp_path / "no" / "x.html")])
    assert nowhere.exit_code == 2
    assert "there is no folder" in nowhere.output
