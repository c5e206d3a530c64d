"""The exact test and its estimate against SciPy, against all signs, and against each other."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, wilcoxon

from dlbench.gate.signed_rank import (
    hodges_lehmann,
    lower_bound,
    p_greater,
    upper_bound,
    walsh_averages,
)

distinct = st.lists(
    st.floats(0.001, 1).flatmap(lambda size: st.sampled_from([size, -size])),
    min_size=1,
    max_size=40,
    # sums of what lies closer than that may be equal or not, as rounding has it
    unique_by=lambda value: round(abs(value), 5),
)
tied = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=9)


@given(distinct)
def test_without_ties_the_p_value_is_scipys_exact_one(differences):
    expected = wilcoxon(differences, alternative="greater", method="exact").pvalue
    assert math.isclose(expected, p_greater(differences), rel_tol=1e-9)


@given(tied)
def test_with_ties_the_p_value_is_the_share_of_all_signs_that_reach_as_far(differences):
    values = np.array([value for value in differences if value])
    ranks = rankdata(np.abs(values))
    reached = ranks[values > 0].sum()
    signs = itertools.product((0, 1), repeat=len(values))
    sums = np.array([np.dot(ranks, sign) if len(ranks) else 0.0 for sign in signs])
    assert math.isclose(np.mean(sums >= reached - 1e-9), p_greater(differences), rel_tol=1e-9)


def test_the_smallest_p_value_of_eight_pairs_is_one_in_256():
    assert 1 / 256 == p_greater([0.01 * i for i in range(1, 9)])


def test_no_difference_at_all_is_no_evidence():
    assert 1.0 == p_greater([0.0] * 8) == p_greater([])


@given(distinct, st.floats(-2, 2))
def test_the_estimate_moves_with_the_differences(differences, shift):
    moved = [value + shift for value in differences]
    before, after = (hodges_lehmann(walsh_averages(each)) for each in (differences, moved))
    assert math.isclose(before + shift, after, abs_tol=1e-9)


@given(distinct)
def test_bounds_mirror_when_the_arms_change_places(differences):
    here, there = walsh_averages(differences), walsh_averages([-value for value in differences])
    for level in (0.005, 0.025, 0.05):
        assert upper_bound(here, level) == -lower_bound(there, level)


@given(distinct.filter(lambda values: len(values) >= 6), st.sampled_from([0.005, 0.025, 0.05]))
def test_a_shift_lies_under_the_bound_just_when_the_test_rejects_it(differences, level):
    bound = lower_bound(walsh_averages(differences), level)
    if math.isfinite(bound):
        inside = [value - (bound + 1e-7) for value in differences]
        outside = [value - (bound - 1e-7) for value in differences]
        assert p_greater(inside) > level >= p_greater(outside)


def test_an_outlier_hardly_moves_the_estimate():
    calm = [0.01 + 0.001 * (-1) ** i for i in range(20)]
    assert hodges_lehmann(walsh_averages([*calm, 5.0])) == pytest.approx(0.01, abs=0.002)


@pytest.mark.parametrize("pairs", [1, 3, 5])
def test_too_few_pairs_have_no_bound_at_two_and_a_half_percent(pairs):
    assert math.inf == upper_bound(walsh_averages([0.01] * pairs), 0.025)
