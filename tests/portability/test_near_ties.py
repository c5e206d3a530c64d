"""What counts as a near tie: the oracle's logits of both answers, and what rounding may change in them."""

import numpy as np

from dlbench.verify.checks.near_ties import AT_ONCE, near_ties
from dlbench.verify.expected.tolerance import Expectation


def looked_at(value, tolerance=0.1):
    """The oracle, and the samples that it was asked for."""
    asked = []

    def expected(rows):
        asked.extend(rows.tolist())
        logits = value[rows]
        return Expectation(logits, np.full((len(rows), 1), tolerance), 1.0)

    return expected, asked


def test_two_answers_within_both_tolerances_are_a_near_tie_and_others_are_not():
    value = np.array([[1.0, 1.15, 0], [1.0, 1.25, 0], [3.0, 1.0, 0], [1.0, 0.9, 5.0]])
    expected, asked = looked_at(value)
    answers, others = np.array([1, 1, 0, 2]), np.array([0, 0, 0, 0])
    assert [0] == near_ties(value.astype(np.float32), answers, others, expected).tolist()
    # the third has the same answer
    assert [0, 1, 3] == asked


def test_a_session_that_is_wrong_is_judged_by_the_oracles_logits_and_not_by_its_own():
    expected, _ = looked_at(np.array([[1.0, 3.0]]))
    tied = np.array([[2.0, 2.0]], np.float32)
    assert [] == near_ties(tied, np.array([0]), np.array([1]), expected).tolist()


def test_the_oracle_is_asked_no_more_where_the_nearest_are_none():
    count = 5 * AT_ONCE
    value = np.stack([np.arange(1.0, count + 1), np.zeros(count)], axis=1)
    expected, asked = looked_at(value)
    zeros, ones = np.zeros(count, int), np.ones(count, int)
    assert [] == near_ties(value.astype(np.float32), zeros, ones, expected).tolist()
    assert list(range(AT_ONCE)) == asked


def test_the_same_answers_ask_nothing():
    expected, asked = looked_at(np.ones((3, 2)))
    same = np.zeros(3, int)
    assert [] == near_ties(np.ones((3, 2), np.float32), same, same, expected).tolist()
    assert [] == asked
