"""What a pair of processes comes to."""

import math

import msgspec
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


def test_first_steps_of_a_turn_that_one_version_keeps_apart_count_in_both(make):
    case = make.case()
    # the same steps, of which the first of each turn is slow; in one of them it is kept apart
    whole = make.turns(case, 1, [4e-3, 4e-3])
    timings = tuple(9_000_000 if place % 3 == 0 else 4_000_000 for place in range(6))
    base = msgspec.structs.replace(whole, timings_ns=timings)
    apart = {"reentry_steps": 1, "reentry_ns": (9_000_000,) * 2, "block_steps": (2, 2)}
    new = msgspec.structs.replace(whole, timings_ns=(4_000_000,) * 4, **apart)
    assert 0.0 == difference(base, new) == difference(new, base)
    slower = msgspec.structs.replace(base, timings_ns=tuple(round(1.1 * t) for t in timings))
    assert math.log(1.1) == pytest.approx(difference(new, slower), abs=1e-6)
