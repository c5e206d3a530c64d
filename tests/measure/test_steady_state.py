import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlbench.measure.steady_state import SMALLEST_WINDOW, is_steady


def noisy(values, spread=0.01, seed=0):
    """A trace in ns with multiplicative noise."""
    noise = np.random.default_rng(seed).normal(1, spread, len(values))
    return [round(value * factor) for value, factor in zip(values, noise, strict=True)]


def first_steady(durations):
    """After how many steps the rule first says steady."""
    return next((n for n in range(len(durations) + 1) if is_steady(durations[:n])), None)


def test_too_few_steps_tell_nothing():
    assert is_steady([5] * (SMALLEST_WINDOW - 1)) is None


def test_equal_steps_are_steady_at_once():
    assert first_steady([5_000_000] * 20) == SMALLEST_WINDOW


def test_noise_without_a_trend_is_steady_soon_in_nearly_all_traces():
    took = [first_steady(noisy([1e7] * 60, spread=0.2, seed=seed)) for seed in range(200)]
    assert all(n is not None and n < 30 for n in took)
    assert sum(n == SMALLEST_WINDOW for n in took) > 170


def test_a_ramping_clock_is_not_steady_before_the_ramp_has_ended():
    ramp = np.linspace(20e6, 10e6, 40)
    for seed in range(20):
        trace = noisy([*ramp, *[10e6] * 100], seed=seed)
        n = first_steady(trace)
        assert n is not None
        assert 36 <= n <= 90


def test_a_ramp_of_many_short_steps_is_seen_below_their_noise():
    ramp = np.geomspace(40e3, 20e3, 2000)
    trace = noisy([*ramp, *[20e3] * 4000], spread=0.1)
    assert is_steady(trace[:1500]) is False
    assert is_steady(trace) is True


@pytest.mark.parametrize("position", range(SMALLEST_WINDOW))
def test_a_compilation_in_one_step_delays_nothing_but_itself(position):
    trace = noisy([10e6] * 30)
    trace[position] = 800_000_000
    assert is_steady(trace[:SMALLEST_WINDOW])


def test_slow_steps_before_a_compilation_end_before_steady():
    """Steps 1 and 2 run uncompiled at 30 ms, step 3 compiles for half a second, then 10 ms."""
    trace = noisy([30e6, 30e6, 500e6, *[10e6] * 30])
    n = first_steady(trace)
    assert n is not None
    assert n >= SMALLEST_WINDOW
    assert max(trace[n:]) < 11e6


def test_a_slow_drift_is_not_steady_until_it_is_negligible():
    drift = noisy([10e6 * (1 + 0.01 * step) for step in range(60)], spread=0.002)
    assert is_steady(drift) is False
    settling = noisy([10e6 * (1 + 0.5 * np.exp(-step / 10)) for step in range(100)], spread=0.002)
    assert is_steady(settling[:16]) is False
    assert is_steady(settling) is True


def test_times_that_jump_between_two_values_are_as_steady_as_they_get():
    draws = np.random.default_rng(1).random((50, 40)) < 0.5
    traces = [noisy(np.where(jump, 6e6, 5e6), seed=n) for n, jump in enumerate(draws)]
    assert sum(first_steady(trace) is not None for trace in traces) == 50


def test_a_single_outlier_does_not_hide_a_ramp():
    ramp = noisy(np.linspace(20e6, 10e6, 24), spread=0.005)
    ramp[20] = 200_000_000
    assert is_steady(ramp) is False


@given(st.lists(st.integers(0, 10**12), max_size=200), st.integers(1, 1000))
def test_the_unit_of_the_durations_does_not_matter(durations, factor):
    assert is_steady(durations) == is_steady([duration * factor for duration in durations])


RECORDED = json.loads((Path(__file__).parent / "data" / "warm_ups.json").read_text())
"""The second step and those after it, of fresh processes that timed cnn-mnist on a virtual machine with two cores."""


@pytest.mark.parametrize("trace", RECORDED, ids=[trace["what"] for trace in RECORDED])
def test_what_follows_a_recorded_warm_up_has_the_median_of_the_steps_long_after_it(trace):
    steps = trace["microseconds"]
    n = first_steady(steps)
    assert n is not None
    assert n <= 16
    settled = np.median(steps[len(steps) // 2 :])
    assert abs(np.median(steps[n:]) / settled - 1) < 0.05
    # and without the rule, the first steps would have been in it
    assert np.median(steps[:n]) >= 0.95 * settled


def test_a_descent_that_goes_on_is_not_called_steady_in_its_midst():
    descent = next(trace for trace in RECORDED if "descent" in trace["what"])["microseconds"]
    slower = np.interp(np.linspace(0, 4, 40), range(5), descent[:5])
    assert is_steady(noisy(slower, spread=0.05)) is False
