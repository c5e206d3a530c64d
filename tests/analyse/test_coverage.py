"""Intervals of a case cover the truth as often as they say, on noise that was recorded: 4,567 fresh processes that ran
the same step on two cores, one row a process in time order, forty step times in µs."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from dlbench.analyse.statistics import case_estimate, process_summary

RECORDED = Path(__file__).parents[1] / "gate" / "data" / "two_cores.csv.gz"
RUNS = 200


@pytest.fixture(scope="module")
def medians_s():
    """The median of each recorded process."""
    with gzip.open(RECORDED, "rt") as file:
        rows = list(csv.reader(file))[1:]
    return np.array([process_summary([1000 * int(us) for us in row[1:]]) for row in rows])


def covering(medians_s, processes, runs, seed=0):
    """The share of simulated runs whose interval holds the median over all recorded processes."""
    truth, random = float(np.median(medians_s)), np.random.default_rng(seed)
    drawn = [random.choice(medians_s, processes, replace=False) for _ in range(runs)]
    intervals = [case_estimate(list(run)).interval for run in drawn]
    return sum(not interval.excludes(truth) for interval in intervals) / runs


@pytest.mark.parametrize("processes", [6, 7, 8, 12, 20, 40])
def test_the_interval_covers_the_truth_in_92_to_98_percent_of_200_runs(medians_s, processes):
    assert 0.92 <= covering(medians_s, processes, RUNS) <= 0.98


@pytest.mark.parametrize("processes", [2, 3, 5, 6, 9, 30])
def test_over_many_runs_coverage_is_what_the_interval_says(medians_s, processes):
    assert abs(covering(medians_s, processes, 2000, seed=1) - 0.95) < 0.025


def test_a_mode_that_one_process_in_six_is_in_stays_in_the_interval():
    interval = case_estimate([5e-3] * 5 + [6e-3]).interval
    assert interval.low <= 5e-3 * 1.000001
    assert 6e-3 <= interval.high * 1.000001
