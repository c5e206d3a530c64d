"""Whole runs of steps whose length is known beforehand."""

import pytest

from dlbench.analyse.outcomes import outcomes
from dlbench.analyse.statistics import case_estimate
from dlbench.record.schema import Process

TRIES = 4


@pytest.fixture(scope="module")
def ran(carry_out, request_for):
    """A run of steps of 5 ms; another where somebody else disturbed it."""
    for _ in range(TRIES):
        ran = carry_out(
            request_for(
                backends=("known_lengths:Five",), scenarios=("infer",), rounds=2, budget_s=0.6
            )
        )
        if not outcomes(ran.record)[0].disturbed:
            return ran
    pytest.skip(f"this machine is disturbed: {outcomes(ran.record)[0].disturbance}")


def test_steps_of_5_ms_are_reported_within_half_a_percent(ran):
    (outcome,) = outcomes(ran.record)
    assert "ok" == outcome.status, outcome.reason
    estimate = case_estimate(list(outcome.medians_s.values()))
    assert abs(estimate.value / 5e-3 - 1) < 0.005


def test_a_timing_costs_at_most_2_microseconds(ran):
    assert 0 < ran.end.null_timing_ns <= 2000


def test_a_record_tells_what_was_watched(ran):
    for process in ran.of(Process):
        for window in (process.before, process.during, process.after):
            assert window.window_s > 0
        assert 2 == len(process.canary_ns)
        assert process.during.window_s >= (process.ended_ns - process.started_ns) * 1e-9


def test_steps_of_5_or_6_ms_by_process_have_an_interval_that_holds_both(
    carry_out, request_for, tmp_path, monkeypatch
):
    monkeypatch.setenv("STAND_IN_STATE", str(tmp_path))
    for _ in range(TRIES):
        ran = carry_out(
            request_for(
                backends=("known_lengths:FiveOrSix",), scenarios=("infer",), rounds=6, budget_s=0.9
            )
        )
        (outcome,) = outcomes(ran.record)
        assert "ok" == outcome.status, outcome.reason
        if not outcome.disturbed:
            break
    else:
        pytest.skip(f"this machine is disturbed: {outcome.disturbance}")
    medians_s = list(outcome.medians_s.values())
    assert [True, False] * 3 in ([m < 5.5e-3 for m in medians_s], [m > 5.5e-3 for m in medians_s])
    interval = case_estimate(medians_s).interval
    # a step takes its length and what a timing costs
    assert interval.low <= 5e-3 * 1.005
    assert 6e-3 <= interval.high
