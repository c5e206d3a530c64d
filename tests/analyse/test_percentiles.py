"""Percentiles of queries, held against MLPerf's load generator, and their intervals against draws from known
distributions."""

import itertools
import json
import math
import re

import msgspec
import numpy as np
import pytest
from scipy.stats import binom

from dlbench.analyse.queries.percentiles import percentiles, ranks
from dlbench.analyse.table import build
from dlbench.plugins import load_reporter
from dlbench.spec.scenarios import PERCENTS, least_queries, percentile

NS = 1_000_000_000


def of(processes, percents=PERCENTS):
    """The percentiles of processes of one machine, whose queries took so long (s)."""
    return percentiles({"": [[round(each * NS) for each in own] for own in processes]}, percents)


@pytest.fixture(scope="module")
def load_generator(tmp_path_factory):
    """Has MLPerf's load generator ask so many queries of nothing: what each took (ns), and its summary."""
    loadgen = pytest.importorskip("mlperf_loadgen")

    def run(count):
        folder = tmp_path_factory.mktemp("loadgen")
        settings = loadgen.TestSettings()
        settings.scenario = loadgen.TestScenario.SingleStream
        settings.mode = loadgen.TestMode.PerformanceOnly
        settings.single_stream_expected_latency_ns = 1_000
        settings.min_query_count = settings.max_query_count = count
        settings.min_duration_ms = 0
        logs = loadgen.LogSettings()
        logs.enable_trace = True
        into = loadgen.LogOutputSettings()
        into.outdir, into.copy_summary_to_stdout = str(folder), False
        logs.log_output = into

        def answer(queries):
            answers = [loadgen.QuerySampleResponse(each.id, 0, 0) for each in queries]
            loadgen.QuerySamplesComplete(answers)

        system = loadgen.ConstructSUT(answer, lambda: None)
        library = loadgen.ConstructQSL(8, 8, lambda samples: None, lambda samples: None)
        loadgen.StartTestWithLogSettings(system, library, settings, logs)
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(system)
        # its trace is not always valid JSON
        trace = (folder / "mlperf_log_trace.json").read_text()
        took = [int(each) for each in re.findall(r'"complete_ns":(\d+)', trace)]
        return took, (folder / "mlperf_log_summary.txt").read_text()

    return run


@pytest.mark.parametrize("count", [1_000, 997, 640, 4_096])
def test_percentiles_are_the_load_generators_on_the_same_latencies(load_generator, count):
    took, summary = load_generator(count)
    assert count == len(took)
    for percent in PERCENTS:
        (stated,) = re.findall(rf"^{percent}.00 percentile latency \(ns\) +: (\d+)$", summary, re.M)
        assert int(stated) == percentile(sorted(took), percent)
    told = percentiles({"": [took]})
    assert [percentile(sorted(took), percent) for percent in PERCENTS] == [
        round(each.value_s * NS) for each in told
    ]


@pytest.mark.parametrize("count", [1_000, 2_500])
def test_the_upper_end_is_the_load_generators_at_its_confidence(load_generator, count):
    """Its early stopping leaves out as many of the slowest queries as 99 % confidence on one side allows."""
    took, summary = load_generator(count)
    for percent in (90, 99):
        estimates = dict(
            re.findall(r"Early stopping (\d+)\.0th percentile estimate: (\d+)", summary)
        )
        _, high = ranks(count, percent, tail=0.01)
        # it stops one short of the rank that the confidence allows
        assert int(estimates[str(percent)]) == sorted(took)[high]


@pytest.mark.parametrize("percent", PERCENTS)
def test_too_few_queries_give_no_percentile_and_say_so(percent):
    least = least_queries(percent)
    assert {50: 6, 90: 36, 99: 368}[percent] == least
    few, enough = (of([np.linspace(1, 2, n)], [percent])[0] for n in (least - 1, least))
    assert few.value_s is None
    assert few.interval is None
    assert few.reason == f"p{percent} takes {least:,} queries, there are {least - 1:,}"
    assert enough.value_s is not None
    assert not enough.reason


@pytest.mark.parametrize("percent", PERCENTS)
@pytest.mark.parametrize("count", [6, 36, 37, 100, 368, 400, 1_001, 20_000])
def test_an_interval_leaves_as_little_as_it_can_on_either_side(count, percent):
    found = ranks(count, percent)
    share = percent / 100
    if found is None:
        assert binom.cdf(count - 1, count, share) < 0.975
        return
    low, high = found
    assert binom.cdf(low - 1, count, share) <= 0.025 < binom.cdf(low, count, share)
    assert binom.cdf(high - 1, count, share) >= 0.975
    assert high == 1 or binom.cdf(high - 2, count, share) < 0.975


@pytest.mark.parametrize("percent", PERCENTS)
def test_intervals_hold_the_percentile_of_independent_queries(percent):
    random = np.random.default_rng(percent)
    truth = -math.log(1 - percent / 100)
    draws, held = 600, 0
    for queries in random.exponential(1.0, (draws, 500)):
        interval = of([queries], [percent])[0].interval
        held += interval.low <= truth <= interval.high
    # three standard errors of a share of 95 %
    assert held / draws >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / draws)


@pytest.mark.parametrize("processes", [3, 8])
@pytest.mark.parametrize(("percent", "score"), [(50, 0.0), (90, 1.2815515655), (99, 2.3263478740)])
def test_where_processes_differ_a_percentile_is_seldom_wrong(percent, score, processes):
    """Queries of a process share what is its own. Had each counted by itself, half of the intervals would be wrong."""
    random = np.random.default_rng(7)
    # of a logarithm: as much between processes as between the queries of one
    between = within = 0.02
    truth = math.exp(math.hypot(between, within) * score)
    draws, told, wrong, wrong_by_order = 200, 0, 0, 0
    for _ in range(draws):
        own = random.normal(0, between, (processes, 1)) + random.normal(0, within, (processes, 200))
        queries = np.exp(own)
        (found,) = of(queries, [percent])
        told += found.value_s is not None
        if found.interval is not None:
            wrong += not found.interval.low <= truth <= found.interval.high
        low, high = (np.sort(queries.ravel())[rank - 1] for rank in ranks(queries.size, percent))
        wrong_by_order += not low <= truth <= high
    assert wrong / draws <= 0.1
    assert wrong_by_order / draws > 0.3
    # the middle is told by the processes; what lies far out is a matter of which process
    assert told == draws or (percent > 50 and told < 0.9 * draws)


def test_processes_that_differ_too_much_are_said_to():
    found = of([[1.0] * 300, [1.1] * 300, [1.2] * 300], [90])[0]
    assert found.value_s is None
    assert re.fullmatch(
        r"p90 takes 36 queries: 900 of processes that differ count as \d+, more rounds help",
        found.reason,
    )


def test_a_percentile_is_of_all_queries_and_not_of_means():
    """Each process has a slow tail, of which the means say nothing."""
    p99 = of([[1.0] * 390 + [9.0] * 10] * 2, [99])[0]
    assert p99.value_s == 9.0
    assert p99.interval.low <= 9.0 <= p99.interval.high


def test_several_machines_count_once_each_in_the_interval():
    here, there = [[1.0] * 50] * 10, [[1.5] * 50] * 10
    one = percentiles({"": [[round(q * NS) for q in own] for own in (*here, *there)]}, [50])[0]
    two = percentiles(
        {
            "a": [[round(q * NS) for q in own] for own in here],
            "b": [[round(q * NS) for q in own] for own in there],
        },
        [50],
    )[0]
    width = one.interval.high - one.interval.low, two.interval.high - two.interval.low
    assert width[1] > width[0]


def queries_of(make, case, number, took_ms, **changes):
    """A process whose queries took so long, in two blocks."""
    timings = tuple(round(each * 1e6) for each in took_ms)
    half = len(timings) // 2
    return make.process(
        case,
        number,
        timings_ns=timings,
        block_steps=(half, len(timings) - half),
        block_started_ns=(1, 3 * NS),
        block_ended_ns=(2 * NS, 4 * NS),
        **changes,
    )


@pytest.fixture
def report(make):
    """Rows of training, of latency with many queries, and of latency with few."""
    random = np.random.default_rng(3)
    train = make.case("numpy")
    lots, few = (make.case(b, scenario="latency", batch=1) for b in ("numpy", "torch"))
    lines = [make.verification(each) for each in (train, lots, few)]
    for number in range(1, 4):
        lines.append(make.process(train, number))
        lines.append(queries_of(make, lots, number, random.normal(4.0, 0.1, 200)))
        lines.append(queries_of(make, few, number, random.normal(2.0, 0.1, 20)))
    return build([("a.jsonl", make.measured([train, lots, few], lines))])


def row_of(report, scenario, backend):
    (row,) = [
        row for row in report.rows if (row.case.scenario, row.case.backend) == (scenario, backend)
    ]
    return row


def test_rows_of_latency_have_percentiles_and_no_other_rows_do(report):
    lots, few = (row_of(report, "latency", each) for each in ("numpy", "torch"))
    assert 600 == lots["queries"]
    assert 60 == few["queries"]
    assert lots["p50_low_s"] <= lots["p50_s"] <= lots["p50_high_s"]
    assert lots["p50_s"] < lots["p90_s"] < lots["p99_s"] < lots["p99_high_s"]
    assert few["p90_s"] is not None
    assert few["p99_s"] is None
    assert few["too_few_queries"] == "p99 takes 368 queries, there are 60"
    train = row_of(report, "train", "numpy")
    names = [f"p{p}{end}_s" for p, end in itertools.product(PERCENTS, ("", "_low", "_high"))]
    assert {None} == {train[name] for name in [*names, "queries", "too_few_queries"]}


def test_the_speed_up_of_latency_is_over_the_baselines_latency(report):
    few = row_of(report, "latency", "torch")
    assert few["baseline"] == "numpy:cpu"
    assert few["speedup"] == pytest.approx(2.0, rel=0.05)


def test_latency_stands_behind_training_and_inference(report):
    assert ["train", "latency", "latency"] == [row.case.scenario for row in report.rows]


@pytest.mark.parametrize("form", ["terminal", "markdown", "html-fragment", "html"])
def test_people_read_a_dash_with_its_reason_and_never_a_number(report, form):
    text = load_reporter(form)(report, width=160)
    assert "p99 takes 368 queries, there are 60" in text
    assert "p50" in text
    assert "600" in text


def test_programs_read_null_with_its_reason(report):
    rows = json.loads(load_reporter("json")(report))["rows"]
    (few,) = [row for row in rows if row["backend"] == "torch"]
    assert few["p99_s"] is None
    assert few["too_few_queries"]
    header, *lines = load_reporter("csv")(report).splitlines()
    place = header.split(",").index("p99_s")
    assert sorted(line.split(",")[place] == "" for line in lines) == [False, True, True]


def test_a_record_of_latency_comes_back_as_it_was(make, write_record, tmp_path):
    from dlbench.record.file import read_record

    case = make.case("numpy", scenario="multi-stream", batch=8)
    lines = [make.verification(case), queries_of(make, case, 1, [1.0] * 40)]
    whole = make.measured([case], lines)
    read = read_record(write_record(tmp_path / "a.jsonl", whole))
    assert read == msgspec.structs.replace(whole)
    assert case.label == "numpy:cpu/multi-stream/8"
