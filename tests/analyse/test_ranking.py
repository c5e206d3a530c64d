"""Who is the fastest of several: named only where intervals that hold for all comparisons together say so."""

import math

import numpy as np
import pytest
from rounds import timed

from dlbench.analyse.ranking import rank, simultaneous
from dlbench.analyse.statistics import Timed, ratio


def rows(
    medians_s: list[float], noise: np.random.Generator, processes: int = 3
) -> list[dict[int, Timed]]:
    """Rows whose processes scatter by 1 % around these medians."""
    return [timed(s * math.exp(noise.normal(0, 0.01)) for _ in range(processes)) for s in medians_s]


def test_a_row_that_is_clearly_faster_than_all_others_is_the_only_contender() -> None:
    found = rank(rows([0.04, 0.02, 0.03], np.random.default_rng(1), processes=6))
    assert found.order == (1, 2, 0)
    assert found.contenders == (1,)


def test_rows_that_are_equally_fast_are_all_contenders_with_the_first_in_front() -> None:
    found = rank(
        [
            timed([0.02, 0.021, 0.0205]),
            timed([0.0201, 0.0208, 0.0206]),
            timed([0.9, 0.91, 0.9]),
        ]
    )
    assert found.contenders == (0, 1)
    assert found.order == (0, 1, 2)


def test_single_processes_beat_nobody() -> None:
    assert rank([timed([0.01]), timed([0.9])]).contenders == (0, 1)
    assert rank([timed([0.01])]).contenders == (0,)
    with pytest.raises(ValueError, match="no"):
        rank([{}])


@pytest.mark.parametrize("count", [2, 4, 8])
def test_of_rows_that_are_alike_one_is_called_the_fastest_no_more_often_than_promised(
    count: int,
) -> None:
    noise, runs = np.random.default_rng(7), 400
    named = missed = unadjusted = 0
    for _ in range(runs):
        drawn = rows([0.02] * count, noise)
        found = rank(drawn)
        named += len(found.contenders) == 1
        # any row is as good as the best, so each is the truly fastest one
        missed += 0 not in found.contenders
        best = drawn[found.order[0]]
        intervals = [ratio(drawn[other], best).interval for other in found.order[1:]]
        unadjusted += any(each is not None and each.low > 1 for each in intervals)
    # three standard deviations of the count at 5 %
    assert missed <= 0.05 * runs + 3 * math.sqrt(0.05 * 0.95 * runs)
    assert named <= 0.05 * runs + 3 * math.sqrt(0.05 * 0.95 * runs)
    if count == 8:
        assert unadjusted > 0.15 * runs, "without regard to their number it would be far more"


def test_the_level_of_each_of_several_comparisons_is_bonferronis() -> None:
    assert simultaneous(1) == pytest.approx(0.95)
    assert simultaneous(5) == pytest.approx(0.99)
    assert simultaneous(0) == simultaneous(1)
