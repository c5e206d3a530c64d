"""Intervals cover the truth as often as they say, on noise that was recorded: 4,567 fresh processes that ran the same
step on two cores, one row a process in time order, forty step times in µs. What blocks that lie side by side have in
common is made up."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest

from dlbench.analyse.statistics import Timed, case_estimate, process_summary, ratio

RECORDED = Path(__file__).parents[1] / "gate" / "data" / "two_cores.csv.gz"
RUNS = 200
PAIRED_RUNS = 1000
"""A share of 95 % scatters by 0.7 points over so many."""
BLOCKS = 10


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


def rounds_of_blocks(medians_s, random, rounds, truth):
    """The blocks of two processes a round that take turns, 2 × rounds × BLOCKS (s): the first takes `truth` times as
    long. What is a process' own is recorded. From block to block the machine drifts (AR(1)), and one block in ten falls
    into a burst of load; both hit neighbours alike, but for a burst in ten that ends between them."""
    shape = rounds, BLOCKS
    own = np.log(random.choice(medians_s, (2, rounds, 1)))
    machine = np.zeros(shape)
    machine[:, 0] = random.normal(0, 0.05, rounds)
    for block in range(1, BLOCKS):
        machine[:, block] = 0.8 * machine[:, block - 1] + random.normal(0, 0.03, rounds)
    burst = np.log1p(random.exponential(0.3, shape)) * (random.random(shape) < 0.1)
    hit = random.random((2, *shape)) < 0.9
    logs = own + machine + burst * hit + random.normal(0, 0.01, (2, *shape))
    logs[0] += np.log(truth)
    return np.exp(logs)


def by_round(blocks_s):
    """Processes by round, given their blocks, rounds × BLOCKS."""
    return {n: Timed(float(np.median(own)), tuple(own)) for n, own in enumerate(blocks_s)}


def blocks_by_themselves(blocks_s):
    """The same with each block taken for a process of its own."""
    return {n: Timed(block_s) for n, block_s in enumerate(blocks_s.ravel())}


def covering_ratios(medians_s, rounds, truth, replicated=by_round):
    """The share of simulated runs whose interval of the ratio holds it."""
    random, covered = np.random.default_rng([rounds, round(100 * truth)]), 0
    for _ in range(PAIRED_RUNS):
        sides = rounds_of_blocks(medians_s, random, rounds, truth)
        covered += not ratio(*map(replicated, sides)).interval.excludes(truth)
    return covered / PAIRED_RUNS


@pytest.mark.parametrize("truth", [1.0, 1.05])
@pytest.mark.parametrize("rounds", [3, 6, 12])
def test_the_interval_of_a_ratio_of_paired_blocks_covers_it_in_92_to_98_percent(
    medians_s, rounds, truth
):
    assert 0.92 <= covering_ratios(medians_s, rounds, truth) <= 0.98


def test_with_blocks_as_replication_half_of_the_intervals_would_miss_the_ratio(medians_s):
    assert covering_ratios(medians_s, 3, 1.05, blocks_by_themselves) < 0.6
