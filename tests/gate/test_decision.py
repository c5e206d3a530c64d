"""What the gate decides, from differences that are made up or drawn."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlbench.errors import UsageError
from dlbench.gate.decision import judge
from dlbench.gate.design import Design
from dlbench.gate.pairs import order, summary

DESIGN = Design()


def drawn(seed, pairs=40, spread=0.02, shift=0.0):
    return list(np.random.default_rng(seed).normal(shift, spread, pairs))


def only(differences, design=DESIGN, **options):
    return judge({"a": differences}, design, **options)["a"]


@pytest.mark.parametrize(
    ("pairs", "budget_s", "pair_s", "told", "wanted_s"),
    [
        (10, 60, 6, "about 10 pairs a case fit in --budget 60", 80),
        (2, 60, 31, "about 2 pairs a case fit in --budget 60", 370),
        (12, 60, 5, "about 12 pairs a case fit in --budget 60", None),
        (500, 600, 1, "about 40 pairs a case fit in --budget 600", None),
    ],
)
def test_a_budget_that_is_too_short_is_told_with_one_that_is_enough(
    pairs, budget_s, pair_s, told, wanted_s
):
    needed = "8 are needed to pass and 12 to be called slower: give --budget"
    expected = f"{told}; {needed} {wanted_s}" if wanted_s else told
    assert (expected, not wanted_s) == DESIGN.outlook(pairs, budget_s, pair_s)


@given(st.integers(0, 10_000), st.floats(0.001, 0.3), st.integers(0, 45))
def test_a_verdict_never_changes_once_it_is_reached(seed, spread, pairs):
    whole = drawn(seed, 45, spread)
    early, late = only(whole[:pairs]), only(whole)
    assert early.status == "undecided" or early == late


@given(st.integers(0, 10_000), st.floats(0.001, 0.1), st.floats(0, 0.1), st.floats(0, 0.1))
def test_a_larger_slowdown_has_a_larger_p_value_estimate_and_interval_at_the_same_pairs(
    seed, spread, one, other
):
    few = drawn(seed, 7, spread)
    small, large = (
        only([value + shift for value in few], ended=True) for shift in sorted((one, other))
    )
    assert small.change <= large.change
    assert small.low <= large.low
    assert small.high <= large.high
    assert small.p_value >= large.p_value


@given(st.integers(0, 10_000), st.floats(0.001, 0.05))
def test_what_is_found_slower_does_not_pass_when_it_is_slower_still(seed, spread):
    found = [only(drawn(seed, 40, spread, shift), ended=True).status for shift in (0.0, 0.04, 0.2)]
    if found[1] == "slower":
        assert "passed" != found[2]
    if found[2] == "passed":
        assert ["passed"] * 3 == found


@given(st.integers(0, 10_000), st.floats(0.001, 0.05))
def test_at_most_one_direction_is_slower_when_the_arms_change_places(seed, spread):
    values = drawn(seed, 40, spread, 0.03)
    found = {only(values).status, only([-value for value in values]).status}
    assert found != {"slower"}


@given(st.integers(0, 1000), st.floats(-0.02, 0.02))
def test_a_steady_drift_of_the_machine_is_neither_slower_nor_faster(seed, drift):
    noise = np.random.default_rng(seed).normal(0, 1e-4, 80)
    times = np.exp(noise + drift * np.arange(80))
    found = []
    for pair in range(40):
        first, second = times[2 * pair : 2 * pair + 2]
        base, new = (first, second) if order(pair)[0] == "base" else (second, first)
        found.append(math.log(new / base))
    verdict = only(found)
    assert verdict.status == "passed"
    assert abs(verdict.change) < 0.002


def test_the_same_code_passes_at_the_first_look_on_a_calm_machine():
    verdict = only(drawn(1, 8, 0.005))
    assert ("passed", 8) == (verdict.status, verdict.pairs)


def test_a_clear_slowdown_fails_only_after_fresh_pairs_confirmed_it():
    values = drawn(2, 12, 0.005, 0.08)
    assert "undecided" == only(values[:8]).status
    assert "to be confirmed" == only(values[:8]).reason
    verdict = only(values)
    assert ("slower", 12) == (verdict.status, verdict.pairs)
    assert 0.07 < verdict.low < verdict.change < verdict.high < 0.095


def test_a_slowdown_that_fresh_pairs_do_not_show_is_no_slowdown():
    verdict = only([*drawn(2, 8, 0.005, 0.06), *drawn(3, 32, 0.005)])
    assert "passed" == verdict.status


def test_a_slowdown_that_shows_at_the_last_look_only_is_inconclusive():
    verdict = only(
        [value + 0.06 for value in drawn(5, 16, 0.02)], Design(looks=(8, 16), alpha=2e-5)
    )
    assert "inconclusive" == verdict.status
    assert "suspected regression, not confirmed within 16 pairs" == verdict.reason


def test_pure_noise_far_above_the_threshold_is_given_up_early():
    verdict = only(drawn(6, 40, 3.0))
    assert "inconclusive" == verdict.status
    assert verdict.pairs < 40
    assert "too noisy to decide within 40 pairs" in verdict.reason
    assert verdict.futile


def test_speed_ups_pass():
    assert "passed" == only(drawn(7, 8, 0.01, -0.3)).status


def test_without_pairs_nothing_is_known():
    verdict = only([], ended=True)
    assert ("inconclusive", None, None) == (verdict.status, verdict.change, verdict.p_value)


def test_a_gate_that_ended_early_is_inconclusive():
    assert "undecided" == only(drawn(8, 5)).status
    assert "inconclusive" == only(drawn(8, 5), ended=True).status


@given(st.integers(0, 1000), st.integers(2, 12))
def test_more_cases_never_make_a_case_fail_that_passes_alone(seed, cases):
    values = drawn(seed, 40, 0.03, 0.02)
    alone = only(values, ended=True).status
    family = {"a": values} | {str(case): drawn(seed + case, 40, 0.01) for case in range(1, cases)}
    together = judge(family, DESIGN, ended=True)["a"].status
    assert not (alone == "passed" and together == "slower")


def test_holm_asks_more_of_one_slow_case_among_eight_than_of_one_alone():
    slow = drawn(9, 16, 0.002, 0.08)
    others = {str(case): drawn(case, 16, 0.002) for case in range(7)}
    assert ("slower", 12) == (only(slow).status, only(slow).pairs)
    # 1/256, the least that eight pairs can reach, is not below 0.005 / 8
    assert 16 == judge({"a": slow} | others, DESIGN)["a"].pairs


def test_holm_asks_less_of_the_rest_once_some_are_found():
    # p-values 2⁻¹⁰, 2⁻⁹·…: the least significant of three needs the whole level only as the last
    design = Design(looks=(8, 10), alpha=0.0118)
    clear = [0.05 + 0.001 * i for i in range(10)]
    least = 1 / 256
    assert least <= design.alpha / 3
    family = dict.fromkeys("abc", clear)
    assert {"slower"} == {verdict.status for verdict in judge(family, design).values()}
    weaker = [*clear[:7], -0.0001, *clear[8:]]
    assert 2 * least <= design.alpha
    assert 2 * least > design.alpha / 3
    family = {"a": clear, "b": clear, "c": weaker}
    assert {"slower"} == {verdict.status for verdict in judge(family, design).values()}
    family = {"a": weaker, "b": weaker, "c": weaker}
    assert "slower" not in {verdict.status for verdict in judge(family, design).values()}


def test_a_case_that_lags_behind_does_not_hold_up_the_others():
    found = judge({"a": drawn(1, 8, 0.005), "b": drawn(2, 3)}, DESIGN)
    assert ("passed", "undecided") == (found["a"].status, found["b"].status)


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 0.0},
        {"threshold": math.nan},
        {"looks": (8,)},
        {"looks": (8, 11)},
        {"looks": (16, 8)},
        {"alpha": 0.0},
        {"pass_level": 0.6},
    ],
)
def test_a_design_that_cannot_work_is_refused(wrong):
    with pytest.raises(UsageError):
        Design(**wrong)


def test_pairs_run_in_abba_order():
    assert ["base", "new", "new", "base"] == [arm for number in (0, 1) for arm in order(number)]


def test_a_process_counts_with_the_quarter_quantile_of_its_timings():
    assert 2.0 == summary([1.0, 2.0, 3.0, 4.0, 500.0])
    for wrong in ([], [0.0], [math.nan], [-1.0]):
        with pytest.raises(ValueError, match="above 0"):
            summary(wrong)


@pytest.mark.parametrize(("spread", "least"), [(0.016, 0.9), (0.024, 0.8)])
def test_a_slowdown_of_just_the_threshold_is_found_more_often_than_not(spread, least):
    design = Design(threshold=0.02, looks=DESIGN.looks[:7])
    at_threshold = [drawn(seed, 32, spread, design.log_threshold) for seed in range(300)]
    same_code = [drawn(seed, 32, spread) for seed in range(300)]
    found = [only(values, design, ended=True).status == "slower" for values in at_threshold]
    assert np.mean(found) >= least
    assert "slower" not in {only(values, design, ended=True).status for values in same_code}


def test_a_slowdown_of_exactly_the_threshold_passes_about_one_time_in_ten():
    at_threshold = [drawn(seed, 40, 0.05, DESIGN.log_threshold) for seed in range(400)]
    passed = [only(values, ended=True).status == "passed" for values in at_threshold]
    assert 0.05 < np.mean(passed) < 0.14
