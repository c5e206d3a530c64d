"""Summaries and intervals: what they promise, and whether they keep it on noise like a
machine's."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rounds import timed
from scipy import stats as reference

from dlbench.analyse.statistics import Timed, case_estimate, process_summary, ratio, unpaired_ratio

times_s = st.floats(1e-6, 1e3)
medians = st.lists(times_s, min_size=2, max_size=8)


def test_a_process_counts_with_the_median_of_its_timings_in_seconds() -> None:
    assert process_summary([3_000_000, 1_000_000, 900_000_000]) == pytest.approx(0.003)


def test_no_timings_have_no_median() -> None:
    with pytest.raises(ValueError, match="no values have no median"):
        process_summary([])


@pytest.mark.parametrize("wrong", [[], [0.0], [-1.0, 1.0], [math.nan], [math.inf, 1.0]])
def test_medians_that_cannot_be_times_are_refused(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="process"):
        case_estimate(wrong)


def test_one_process_gives_an_estimate_without_an_interval() -> None:
    estimate = case_estimate([0.02])
    assert (estimate.value, estimate.interval, estimate.processes) == (0.02, None, 1)


def test_the_interval_of_three_processes_is_students_on_logarithms() -> None:
    logs = np.log([0.019, 0.020, 0.022])
    # 4.302653 is the 97.5 % quantile of Student's t with 2 degrees of freedom, from any table
    half = 4.302653 * logs.std(ddof=1) / math.sqrt(3)
    interval = case_estimate([0.022, 0.019, 0.020]).interval
    assert interval is not None
    assert interval.low == pytest.approx(math.exp(logs.mean() - half), rel=1e-6)
    assert interval.high == pytest.approx(math.exp(logs.mean() + half), rel=1e-6)


@given(medians)
def test_the_point_estimate_lies_in_its_interval(values: list[float]) -> None:
    estimate = case_estimate(values)
    assert estimate.interval is not None
    assert estimate.interval.low <= estimate.value <= estimate.interval.high


@given(medians, st.floats(1e-3, 1e3))
def test_estimates_scale_with_the_unit_of_time(values: list[float], unit: float) -> None:
    one, other = case_estimate(values), case_estimate([unit * v for v in values])
    assert other.value == pytest.approx(unit * one.value)
    assert one.interval is not None
    assert other.interval is not None
    assert other.interval.high == pytest.approx(unit * one.interval.high, rel=1e-6)


@given(medians, st.permutations(range(8)))
def test_the_order_of_processes_does_not_matter(values: list[float], order: list[int]) -> None:
    shuffled = [values[i] for i in order if i < len(values)]
    assert case_estimate(shuffled).value == pytest.approx(case_estimate(values).value)


@given(medians, st.floats(0.01, 100))
def test_a_constant_factor_in_every_round_is_found_exactly_whatever_the_drift(
    drift: list[float], factor: float
) -> None:
    estimate = ratio(timed(factor * each for each in drift), timed(drift))
    assert estimate.value == pytest.approx(factor)
    assert estimate.interval is not None
    assert estimate.interval.low == pytest.approx(factor, rel=1e-6)
    assert estimate.interval.high == pytest.approx(factor, rel=1e-6)


@given(medians, medians)
def test_a_ratio_and_its_reciprocal_tell_the_same(upper: list[float], lower: list[float]) -> None:
    one, other = ratio(timed(upper), timed(lower)), ratio(timed(lower), timed(upper))
    assert one.interval is not None
    assert other.interval is not None
    assert one.value * other.value == pytest.approx(1)
    assert one.interval.excludes(1) == other.interval.excludes(1)


def test_sides_with_different_rounds_are_compared_as_independent() -> None:
    base = timed({0: 1.0, 1: 2.0, 2: 4.0})
    paired = ratio(timed({0: 2.0, 1: 4.0, 2: 8.0}), base)
    unpaired = ratio(timed({1: 2.0, 2: 4.0, 3: 8.0}), base)
    assert paired.interval is not None
    assert unpaired.interval is not None
    assert paired.interval.excludes(1)
    assert not unpaired.interval.excludes(1)


@given(medians, medians)
def test_interval_and_p_value_are_those_of_scipys_tests(
    upper: list[float], lower: list[float]
) -> None:
    one, other = np.log(upper), np.log(lower)
    pairs = min(len(one), len(other))
    assume(np.std(one) > 1e-6 < np.std(other) and np.std(one[:pairs] - other[:pairs]) > 1e-6)
    for found, expected in (
        (unpaired_ratio(upper, lower), reference.ttest_ind(one, other, equal_var=False)),
        (
            ratio(timed(upper[:pairs]), timed(lower[:pairs])),
            reference.ttest_rel(one[:pairs], other[:pairs]),
        ),
    ):
        low, high = np.exp(expected.confidence_interval(0.95))
        assert found.interval is not None
        told = found.interval.low, found.interval.high
        # stretched to the ratio of the medians where that lies outside
        assert told == pytest.approx((min(low, found.value), max(high, found.value)))
        assert found.p_value == pytest.approx(expected.pvalue)


@pytest.mark.parametrize(("upper", "lower"), [({0: 1.0}, {0: 2.0, 1: 2.0}), ({0: 1.0}, {0: 1.0})])
def test_a_side_with_one_process_gives_no_interval(
    upper: dict[int, float], lower: dict[int, float]
) -> None:
    assert ratio(timed(upper), timed(lower)).interval is None


def test_medians_without_any_scatter_give_an_interval_of_no_width() -> None:
    estimate = ratio(timed([2.0, 2.0, 2.0]), timed([1.0, 1.0]))
    assert estimate.interval is not None
    assert (estimate.interval.low, estimate.interval.high) == (2.0, 2.0)


@pytest.mark.parametrize("processes", [3, 5])
def test_intervals_cover_the_truth_as_often_as_they_say(processes: int) -> None:
    """Processes scatter log-normally about a median of 20 ms; 2,000 runs, so ± 1.5 points at 3
    sigma."""
    noise = np.random.default_rng(7).normal(0, 0.05, (2000, processes))
    covered = 0
    for logs in noise:
        interval = case_estimate(list(0.02 * np.exp(logs))).interval
        assert interval is not None
        covered += not interval.excludes(0.02)
    assert 0.935 <= covered / len(noise) <= 0.975


def test_paired_ratios_cover_the_truth_on_a_drifting_machine_and_are_narrower_than_unpaired() -> (
    None
):
    random = np.random.default_rng(11)
    covered, narrower, runs = 0, 0, 1000
    for _ in range(runs):
        drift = random.normal(0, 0.2, 3)
        base = np.exp(drift + random.normal(0, 0.01, 3))
        ours = 1.5 * np.exp(drift + random.normal(0, 0.01, 3))
        paired = ratio(timed(ours), timed(base)).interval
        unpaired = ratio(timed({k + 3: v for k, v in enumerate(ours)}), timed(base)).interval
        assert paired is not None
        assert unpaired is not None
        covered += not paired.excludes(1.5)
        narrower += paired.high / paired.low < unpaired.high / unpaired.low
    assert 0.925 <= covered / runs <= 0.985
    assert narrower / runs > 0.95


blocks = st.lists(times_s, min_size=1, max_size=6)


@given(st.lists(blocks, min_size=2, max_size=5), st.floats(0.01, 100))
def test_a_constant_factor_in_every_block_is_found_whatever_the_machine_does_from_block_to_block(
    machine: list[list[float]], factor: float
) -> None:
    """The medians over all steps are of other blocks on either side, so that their ratio is far off."""
    base = {k: Timed(1.0, tuple(own)) for k, own in enumerate(machine)}
    ours = {
        k: Timed(1.0 + k, tuple(factor * each for each in own)) for k, own in enumerate(machine)
    }
    estimate = ratio(ours, base)
    assert estimate.value == pytest.approx(factor)
    assert estimate.interval is not None
    assert estimate.interval.low == pytest.approx(factor, rel=1e-6)
    assert estimate.interval.high == pytest.approx(factor, rel=1e-6)


def test_a_round_counts_once_with_the_median_of_its_blocks_however_many_there_are() -> None:
    base = {k: Timed(1.0, (1.0, 2.0, 4.0)) for k in range(3)}
    ours = {
        0: Timed(9.0, (1.1, 2.2, 4.4)),
        # a burst that hit one side of one block
        1: Timed(9.0, (1.2, 2.4, 40.0)),
        # more blocks than the other side had
        2: Timed(9.0, (1.3, 2.6, 5.2, 99.0)),
    }
    estimate = ratio(ours, base)
    logs = np.log([1.1, 1.2, 1.3])
    expected = reference.ttest_1samp(logs, 0)
    assert estimate.value == pytest.approx(math.exp(logs.mean()))
    assert estimate.interval is not None
    assert (estimate.interval.low, estimate.interval.high) == pytest.approx(
        tuple(np.exp(expected.confidence_interval(0.95)))
    )
    assert estimate.p_value == pytest.approx(expected.pvalue)
    assert estimate.processes == 3


def test_rounds_in_which_two_processes_took_no_turns_have_the_ratio_of_their_medians() -> None:
    base = {k: Timed(1.0, (1.0, 1.0)) for k in range(3)}
    ours = {
        0: Timed(9.0, (2.0, 2.0)),
        1: Timed(3.0),
        2: Timed(4.0, (2.0, 2.0), attempt=1),
    }
    assert ratio(ours, base).value == pytest.approx((2 * 3 * 4) ** (1 / 3))
    # nowhere: the ratio of the two medians, as ever
    assert ratio({k: Timed(own.median_s) for k, own in ours.items()}, base).value == 4.0


def test_a_block_without_steps_or_without_time_is_no_pair() -> None:
    base, ours = Timed(1.0, (1.0, math.nan, 0.0, 1.0)), Timed(2.0, (3.0, 5.0, 7.0, 3.0))
    assert ratio({1: ours}, {1: base}).value == pytest.approx(3)


def test_one_pair_of_processes_gives_no_interval_however_many_blocks_it_has() -> None:
    estimate = ratio({1: Timed(1.0, (1.0,) * 50)}, {1: Timed(1.0, (0.5, 0.6) * 25)})
    assert estimate.interval is None
    assert estimate.p_value is None
