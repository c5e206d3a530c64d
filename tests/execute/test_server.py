"""The scenario `server` end to end: what its processes hold, at a rate and in a search for the largest. No length of
time is asserted: what is, holds on a busy machine too."""

import itertools
import math

import numpy as np
import pytest

from dlbench.analyse.table import build
from dlbench.errors import UsageError
from dlbench.execute.resume import check_given, request_for
from dlbench.measure.queueing import arrivals_ns, gaps
from dlbench.plan.cases import check
from dlbench.record.schema import Process
from dlbench.spec.scenarios import NO_LOAD, Load, percentile

RATE = Load(rate_per_s=100.0)
SEARCH = Load(bound_s=10.0, percent=50)


@pytest.fixture(scope="module")
def at_rate(carry_out, request_for):
    return carry_out(
        request_for(scenarios=("infer", "server"), rounds=2, budget_s=0.4, load=RATE, seed=11)
    )


@pytest.fixture(scope="module")
def searched(carry_out, request_for):
    return carry_out(request_for(scenarios=("server",), rounds=2, budget_s=0.8, load=SEARCH))


def served(ran):
    found = [line for line in ran.of(Process) if line.case.scenario == "server"]
    assert {"ok"} == {line.status for line in found}
    return found


def test_a_query_waits_for_those_before_it_from_when_it_was_due(at_rate):
    processes = served(at_rate)
    assert [1, 2] == [line.round for line in processes]
    for line in processes:
        due_ns = arrivals_ns(gaps(20, 11, line.round), 100.0)
        assert 20 == len(line.timings_ns) == len(line.waited_ns)
        assert 100.0 == line.rate_per_s
        assert () == line.rate_trials
        assert 1 == len(line.block_steps)
        done_ns = [due + took for due, took in zip(due_ns, line.timings_ns, strict=True)]
        free_ns = [0, *itertools.accumulate(done_ns, max)][:-1]
        for due, free, waited, took in zip(
            due_ns, free_ns, line.waited_ns, line.timings_ns, strict=True
        ):
            assert max(0, free - due) <= waited < took


def test_rows_of_a_rate_say_it_and_have_percentiles_of_latency(at_rate):
    assert RATE == at_rate.record.header.load
    rows = {row.case.scenario: row for row in build([("a.jsonl", at_rate.record)]).rows}
    row = rows["server"]
    assert 1 == row.case.batch
    assert 40 == row["queries"]
    assert 100.0 == row["rate_per_s"]
    pooled = sorted(itertools.chain(*(line.timings_ns for line in served(at_rate))))
    assert row["p50_s"] == pytest.approx(percentile(pooled, 50) * 1e-9)
    assert row["largest_rate_per_s"] is None
    assert rows["infer"]["rate_per_s"] is None
    # a sample a query, and no more queries than came
    assert 0 < row["samples_per_s"] < 1.5 * 100


def test_the_largest_rate_is_the_largest_that_was_within_the_bound(searched):
    for line in served(searched):
        assert line.rate_trials
        for trial in line.rate_trials:
            within = trial.percentile_ns is not None and trial.percentile_ns <= 10 * 10**9
            assert within == trial.within
        assert line.rate_per_s == line.largest_rate_per_s
        assert percentile(sorted(line.timings_ns), 50) in {
            trial.percentile_ns for trial in line.rate_trials if trial.rate_per_s == line.rate_per_s
        }


def test_rows_of_a_search_have_the_rate_and_samples_a_second_by_it(searched):
    (row,) = build([("a.jsonl", searched.record)]).rows
    rates = sorted(line.largest_rate_per_s for line in served(searched))
    assert rates[0] <= row["largest_rate_per_s"] <= rates[1]
    assert row["largest_rate_low_per_s"] <= row["largest_rate_per_s"]
    assert row["samples_per_s"] == pytest.approx(row["largest_rate_per_s"])
    assert (10.0, 50) == (row["latency_bound_s"], row["latency_percentile"])


def test_a_record_is_gone_on_with_at_the_same_load(searched, tiny, cache_dir):
    header = searched.record.header
    cut = type(searched.record)(header, searched.record.lines[:2])
    request = request_for(cut, tiny, header.machine, cache_dir)
    assert SEARCH == request.load
    check_given(cut, {"load": SEARCH})
    with pytest.raises(UsageError, match="what a server is asked"):
        check_given(cut, {"load": RATE})


def test_a_session_of_known_length_has_the_latency_that_queueing_theory_says(
    carry_out, request_for
):
    """All the way through a run, by a clock that moves with steps and waits alone: 5 ms a query, 120 a second."""
    load = Load(rate_per_s=120.0)
    ran = carry_out(
        request_for(
            backends=("known_lengths:FiveServed",),
            scenarios=("server",),
            rounds=3,
            budget_s=180.0,
            load=load,
        )
    )
    # the first queries find the queue empty
    latencies_ms = [np.array(line.timings_ns)[100:] / 1e6 for line in served(ran)]
    mean_ms = np.mean(np.concatenate(latencies_ms))
    # means of many queries in a row are as good as independent
    means_ms = np.concatenate(
        [[part.mean() for part in np.array_split(each, 15)] for each in latencies_ms]
    )
    error_ms = means_ms.std(ddof=1) / math.sqrt(len(means_ms))
    busy = 120.0 * 5e-3
    theory_ms = 5.0 + 5.0 * busy / (2 * (1 - busy))
    assert abs(mean_ms - theory_ms) < 4 * error_ms < 0.15 * theory_ms
    assert {5_000_000} == {
        took - waited
        for line in served(ran)
        for took, waited in zip(line.timings_ns, line.waited_ns, strict=True)
    }


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ({"load": NO_LOAD}, "takes --rate, queries a second, or --latency-bound"),
        ({"load": Load(rate_per_s=-1.0)}, "rate -1 must be queries a second"),
        ({"load": Load(rate_per_s=2.0)}, "2.0 queries in its share of the budget"),
        ({"load": Load(bound_s=0.0)}, "latency-bound 0 ms must be greater than 0"),
        ({"load": Load(bound_s=0.1, percent=95)}, "must be one of 50, 90, 99"),
        ({"load": RATE, "best": True}, "--best goes by steps"),
        ({"load": RATE, "target_interval": 0.01}, "--target-interval goes by steps"),
        ({"load": RATE, "scenarios": ("infer",)}, "are of --scenario server"),
    ],
)
def test_a_load_that_cannot_be_is_refused(request_for, choices, told):
    with pytest.raises(UsageError, match=told):
        check(request_for(**({"scenarios": ("server",), "rounds": 1, "budget_s": 1.0} | choices)))
