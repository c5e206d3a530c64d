"""What a row of the scenario `server` tells, and what it leaves out."""

import json

import pytest

from dlbench.analyse.table import build
from dlbench.plugins import load_reporter
from dlbench.record.comparability import facts_of, facts_of_case
from dlbench.record.door import check
from dlbench.record.facts import RateTrial
from dlbench.spec.scenarios import Load

MS = 1_000_000
BOUND = Load(bound_s=0.02, percent=90)


def server(make, backend, number, rates=(), latencies_ms=(4.0,) * 40, **changes):
    """A process that found the largest of these rates to be within the bound, and another beyond it."""
    timings = tuple(int(each * MS) for each in latencies_ms)
    trials = tuple(RateTrial(rate, 40, 5 * MS, True) for rate in rates)
    trials += (RateTrial(999.0, 40, None, False), RateTrial(99.0, 40, None, False))
    fields = {
        "timings_ns": timings,
        "waited_ns": (0,) * len(timings),
        "block_steps": (len(timings),),
        "block_started_ns": (MS,),
        "block_ended_ns": (201 * MS,),
        "started_ns": MS,
        "ended_ns": 201 * MS,
        "rate_per_s": max(rates, default=99.0),
        "rate_trials": trials,
    }
    case = make.case(backend, scenario="server", batch=1)
    return make.process(case, number, **(fields | changes))


def report(make, load, *processes):
    cases = list(dict.fromkeys(each.case for each in processes))
    lines = [*map(make.verification, cases), *processes]
    return build([("a.jsonl", make.measured(cases, lines, load=load))])


def row_of(told, backend):
    (row,) = [row for row in told.rows if row.case.backend == backend]
    return row


def test_a_speed_up_is_the_ratio_of_the_largest_rates(make):
    told = report(
        make,
        BOUND,
        *(server(make, "numpy", n, (50.0, 100.0 + n)) for n in (1, 2, 3)),
        *(server(make, "torch", n, (150.0, 200.0 + 2 * n)) for n in (1, 2, 3)),
    )
    row = row_of(told, "torch")
    assert row["largest_rate_per_s"] == pytest.approx(204)
    assert row["largest_rate_low_per_s"] < 204 < row["largest_rate_high_per_s"]
    assert row["samples_per_s"] == pytest.approx(204)
    assert row["median_s"] == pytest.approx(1 / 204)
    assert row["speedup"] == pytest.approx(2.0)
    assert row["with_copies_s"] is None
    assert row["p50_s"] == pytest.approx(4e-3)


def test_a_rate_is_told_only_where_each_process_found_one(make):
    told = report(make, BOUND, *(server(make, "numpy", n, (80.0,) * (n > 1)) for n in (1, 2, 3)))
    (row,) = told.rows
    assert row["status"] == "ok"
    assert row["largest_rate_per_s"] is None
    assert row["median_s"] is None
    reason = "no rate from 99.0 queries/s on has its p90 within 20.0 ms in 1 of 3 processes"
    assert reason in row["too_few_queries"]
    for form in ("terminal", "markdown"):
        text = load_reporter(form)(told, width=200)
        assert reason in " ".join(text.split())
    assert json.loads(load_reporter("json")(told))["rows"][0]["largest_rate_per_s"] is None


def test_a_search_without_time_for_it_says_what_would_help(make):
    few = (RateTrial(60.0, 12, None, False),)
    told = report(make, BOUND, *(server(make, "numpy", n, rate_trials=few) for n in (1, 2, 3)))
    (row,) = told.rows
    assert row["largest_rate_per_s"] is None
    assert (
        "the largest rate takes 36 queries a trial for p90, and there is time for about 12"
        in row["too_few_queries"]
    )


def test_queries_that_were_given_up_are_slower_than_all_others(make):
    load = Load(rate_per_s=500.0)
    lost = {"rate_trials": (), "rate_per_s": 500.0, "unserved": 60}
    told = report(make, load, *(server(make, "numpy", n, **lost) for n in (1, 2, 3)))
    (row,) = told.rows
    assert row["queries"] == 120
    assert row["rate_per_s"] == 500.0
    assert row["p50_s"] is None
    # the typical latency of those that were answered is no figure of the whole
    assert row["median_s"] is None
    assert (
        "p90 lies among 180 of 300 queries that were not answered in time" in row["too_few_queries"]
    )


def test_a_rate_that_was_asked_for_compares_latencies_and_counts_what_was_answered(make):
    load, fixed = Load(rate_per_s=200.0), {"rate_trials": (), "rate_per_s": 200.0}
    told = report(
        make,
        load,
        *(server(make, "numpy", n, **fixed) for n in (1, 2, 3)),
        *(server(make, "torch", n, latencies_ms=(2.0,) * 40, **fixed) for n in (1, 2, 3)),
    )
    row = row_of(told, "torch")
    assert row["speedup"] == pytest.approx(2.0)
    # 40 queries in 0.2 s
    assert row["samples_per_s"] == pytest.approx(200)
    assert row["latency_bound_s"] is None


@pytest.mark.parametrize(
    ("bound_s", "within", "told"),
    [
        (0.1, True, "100 ms at p90: yes"),
        (0.001, False, "1.00 ms at p90: no"),
        (0.0048, None, "not told"),
    ],
)
def test_a_rate_is_within_a_bound_where_the_interval_is(make, bound_s, within, told):
    load, fixed = Load(200.0, bound_s, 90), {"rate_trials": (), "rate_per_s": 200.0}
    # the same spread in each process, 90 % of it below 4.8 ms
    latencies = [[3 + (7 * i + number) % 40 / 20 for i in range(40)] for number in range(3)]
    shown = report(
        make,
        load,
        *(server(make, "numpy", n, latencies_ms=each, **fixed) for n, each in enumerate(latencies)),
    )
    (row,) = shown.rows
    assert row["within_bound"] is within
    assert row["largest_rate_per_s"] is None
    assert told in load_reporter("markdown")(shown)


def test_records_of_different_loads_are_not_to_be_compared(make):
    one, other = (
        make.measured([], [], load=load)
        for load in (Load(rate_per_s=200.0), Load(rate_per_s=300.0))
    )
    (note,) = build([("a.jsonl", one), ("b.jsonl", other)]).notes
    assert "different loads" in note


def test_a_load_tells_cases_apart_and_leaves_others_alone(make):
    train, asked = make.case("numpy"), make.case("numpy", scenario="server", batch=1)
    one, other = (make.header(load=load) for load in (Load(rate_per_s=200.0), BOUND))
    assert {} == facts_of_case(one, train)
    assert {"load": "200 queries/s"} == facts_of_case(one, asked)
    assert {"load": "p90 within 20.0 ms"} == facts_of_case(other, asked)
    assert facts_of(one) == facts_of(make.header())


@pytest.mark.parametrize(
    "changes",
    [{"waited_ns": (1, 2)}, {"rate_trials": (RateTrial(0.0, 5, None, False),)}],
)
def test_a_line_that_contradicts_itself_is_refused(make, changes):
    with pytest.raises(ValueError, match=r"it (has waits|tried a rate)"):
        check(server(make, "numpy", 1, **changes))
