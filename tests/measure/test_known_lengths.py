"""Whole runs of steps whose length is known beforehand."""

import pytest

from dlbench.analyse.outcomes import outcomes
from dlbench.analyse.statistics import case_estimate


@pytest.fixture
def medians_s(carry_out, request_for, tmp_path, monkeypatch):
    """Runs a backend for inference; the medians of its processes."""
    monkeypatch.setenv("STAND_IN_STATE", str(tmp_path))

    def medians_s(backend, rounds):
        ran = carry_out(
            request_for(backends=(backend,), scenarios=("infer",), rounds=rounds, budget_s=0.6)
        )
        (outcome,) = outcomes(ran.record)
        assert "ok" == outcome.status, outcome.reason
        return list(outcome.medians_s.values())

    return medians_s


def test_steps_of_5_ms_are_reported_as_such(medians_s):
    estimate = case_estimate(medians_s("known_lengths:Five", 2))
    assert 5e-3 == estimate.value


def test_steps_of_5_or_6_ms_by_process_have_an_interval_that_holds_both(medians_s):
    found = medians_s("known_lengths:FiveOrSix", 6)
    assert sorted(found) == [5e-3] * 3 + [6e-3] * 3
    interval = case_estimate(found).interval
    assert pytest.approx((5e-3, 6e-3)) == (interval.low, interval.high)
