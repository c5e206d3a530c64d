"""Records in the formats of other tools, read by those tools where they can be had."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from pytest_benchmark.stats import Stats

from dlbench.analyse.table import build
from dlbench.cli import main
from dlbench.errors import UsageError
from dlbench.plugins import load, load_reporter
from dlbench.record.file import read_record

TIMES = {"numpy": [0.0100, 0.0102, 0.0101], "torch": [0.0080, 0.0083, 0.0081], "cupy": None}


def rendered(path, form):
    return load_reporter(form)(build([(str(path), read_record(path))]))


def dlbench(*words):
    return CliRunner().invoke(main.cli, [str(word) for word in words])


def test_the_command_line_of_pytest_benchmark_compares_ours(write, tmp_path):
    for name in ("base", "new"):
        path = write(f"{name}.jsonl", TIMES)
        (tmp_path / f"{name}.json").write_text(rendered(path, "pytest-benchmark"))
    program = "from pytest_benchmark.cli import main; main()"
    words = ["compare", "base.json", "new.json", "--group-by=group", "--csv=table.csv"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert 0 == done.returncode, done.stderr
    assert "ci/train/32" in done.stdout
    assert 2 == done.stdout.count("numpy:cpu/train/32 ")
    assert 5 == len((tmp_path / "table.csv").read_text().splitlines())


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 30])
def test_our_statistics_are_those_of_pytest_benchmark(count):
    times_s = [0.01 + 0.001 * ((7 * number) % 11) for number in range(count)] + [0.05]
    theirs = Stats()
    for time_s in times_s:
        theirs.update(time_s)
    ours = load("dlbench.reports.run.pytest_benchmark:statistics")(times_s)
    for field, expected in theirs.as_dict().items():
        if field != "outliers":
            expected = pytest.approx(expected, abs=1e-12)
        assert expected == ours[field], field


def test_what_has_no_figure_is_no_benchmark(write):
    found = json.loads(rendered(write("a.jsonl", TIMES), "pytest-benchmark"))
    assert ["numpy", "torch"] == [each["name"].partition(":")[0] for each in found["benchmarks"]]
    extra = found["benchmarks"][0]["extra_info"]
    assert (True, "fp32", "cpu") == (extra["verified"], extra["precision"], extra["device"])
    low, high = extra["interval_s"]
    assert low < 0.0101 < high


def test_a_record_and_its_pytest_benchmark_file_compare_like_two_records(write, tmp_path):
    base, new = write("base.jsonl", TIMES), write("new.jsonl", TIMES | {"numpy": [0.02] * 3})
    (tmp_path / "base.json").write_text(rendered(base, "pytest-benchmark"))
    texts = []
    for path in (base, tmp_path / "base.json"):
        done = dlbench("compare", path, new, "--format", "json")
        assert 1 == done.exit_code, done.output
        found = json.loads(done.stdout)
        assert [] == found["differences"]
        texts.append([(case["case"], case["status"], case["low"]) for case in found["cases"]])
    assert texts[0] == texts[1]


def test_several_records_do_not_fit_into_a_pytest_benchmark_file(write):
    one, other = write("a.jsonl", TIMES), write("b.jsonl", TIMES)
    done = dlbench("report", one, other, "--format", "pytest-benchmark")
    assert 2 == done.exit_code
    assert "one record" in done.output


def test_github_action_benchmark_gets_numbers_as_numbers_and_the_rest_as_text(write):
    found = json.loads(rendered(write("a.jsonl", TIMES), "github-action-benchmark"))
    assert 2 == len(found)
    for entry in found:
        assert {"name", "unit", "value", "range", "extra"} == entry.keys()
        assert isinstance(entry["value"], float)
        assert all(isinstance(entry[key], str) for key in ("name", "unit", "range", "extra"))
    assert {10.1, 8.1} == {round(entry["value"], 6) for entry in found}


def test_bencher_gets_nanoseconds_between_their_bounds(write):
    found = json.loads(rendered(write("a.jsonl", TIMES | {"torch": [0.008]}), "bencher"))
    values = {name.split()[1].partition(":")[0]: each["latency"] for name, each in found.items()}
    assert 10.1e6 == pytest.approx(values["numpy"]["value"])
    assert values["numpy"]["lower_value"] < 10.1e6 < values["numpy"]["upper_value"]
    assert {"value"} == values["torch"].keys()


@pytest.mark.parametrize("form", ["github-action-benchmark", "bencher"])
def test_a_case_that_two_records_have_is_refused_since_a_series_has_one_of_a_name(write, form):
    paths = [write(name, TIMES) for name in ("a.jsonl", "b.jsonl")]
    report = build([(str(path), read_record(path)) for path in paths])
    with pytest.raises(UsageError, match=r"is in .*a\.jsonl and .*b\.jsonl, which one series"):
        load_reporter(form)(report)


def test_a_job_of_github_actions_gets_its_summary_appended(write, tmp_path, monkeypatch):
    page = tmp_path / "summary.md"
    page.write_text("# before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    base, new = write("base.jsonl", TIMES), write("new.jsonl", TIMES | {"numpy": [0.02] * 3})
    assert 1 == dlbench("compare", base, new).exit_code
    text = page.read_text()
    assert text.startswith("# before\n### ")
    assert "| SLOWER | numpy:cpu/train/32 |" in text


def test_a_summary_page_that_cannot_be_written_changes_no_verdict(write, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "none" / "page.md"))
    base, new = write("base.jsonl", TIMES), write("new.jsonl", TIMES | {"numpy": [0.02] * 3})
    done = dlbench("compare", base, new)
    assert 1 == done.exit_code
    assert "GITHUB_STEP_SUMMARY" in done.stderr
    assert "SLOWER" in done.stdout


def test_without_a_summary_page_nothing_is_written(write, tmp_path, monkeypatch):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    base = write("base.jsonl", TIMES)
    before = set(tmp_path.iterdir())
    assert "exit" in dlbench("compare", base, base).output
    assert before == set(tmp_path.iterdir())


@pytest.mark.parametrize("threshold", ["abc", "0", "0.03", "-3%", "nan", "2000%"])
def test_a_threshold_that_is_no_sensible_percentage_is_a_usage_error(write, threshold):
    path = write("a.jsonl", TIMES)
    done = dlbench("compare", path, path, "--threshold", threshold)
    assert 2 == done.exit_code
    assert "%" in done.output


@pytest.mark.parametrize("threshold", ["2.5%", "2.5", "3 %"])
def test_a_threshold_may_have_a_sign_and_decimals(write, threshold):
    path = write("a.jsonl", TIMES)
    done = dlbench("compare", path, path, "--threshold", threshold, "--format", "json")
    assert json.loads(done.stdout)["threshold"] == pytest.approx(float(threshold.strip("% ")) / 100)


def test_a_file_that_is_not_there_is_a_usage_error(write, tmp_path):
    assert 2 == dlbench("compare", tmp_path / "none.jsonl", write("a.jsonl", TIMES)).exit_code
