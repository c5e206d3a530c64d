"""What a pair of processes comes to."""

import math

import pytest

from dlbench.gate.pairs import difference
from dlbench.record.schema import Case, Process

CASE = Case("ci", "train", "numpy", "cpu", 32, 1, "fp32", "")


def process(*blocks_ns, **more):
    """A process that timed these blocks."""
    steps = tuple(step for block in blocks_ns for step in block)
    told = {"block_steps": tuple(map(len, blocks_ns))} | more
    return Process(CASE, 0, "ok", "", steps, **told)


def test_a_pair_is_the_median_over_blocks_that_lay_side_by_side():
    # the machine was twice and four times as slow in two of three turns
    base = process([100] * 3, [200] * 3, [400] * 3)
    new = process([105] * 3, [210] * 3, [420] * 3)
    assert math.log(1.05) == pytest.approx(difference(base, new))


def test_one_block_that_something_else_disturbed_moves_nothing():
    base, new = process(*[[100] * 3] * 5), process(*[[100] * 3] * 4, [900] * 3)
    assert 0.0 == difference(base, new)


@pytest.mark.parametrize("told", [{"block_steps": ()}, {"alone": "no room"}])
def test_processes_that_took_no_turns_are_held_against_each_other_as_wholes(told):
    base = process([100] * 3, [200] * 3, [400] * 3)
    new = process([400] * 3, [200] * 3, [100] * 3, **told)
    assert 0.0 == difference(base, new)
    assert 0.0 == difference(new, base)


def test_a_block_that_is_all_reentry_is_left_out():
    base, new = process([100] * 3, [], [100] * 3), process([110] * 3, [500] * 3, [110] * 3)
    assert math.log(1.1) == pytest.approx(difference(base, new))
