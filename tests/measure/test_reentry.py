"""Steps at the beginning of turns, on made-up durations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlbench.measure.reentry import LEAST_BLOCKS, MOST_SHARE, reentry_steps


def blocks_of(random, blocks, steps, slow=(), scatter=0.05):
    """Blocks of steps whose level changes from block to block, the first ones slower by these factors."""
    found = np.exp(random.normal(0, scatter, (blocks, steps)))
    found *= np.exp(random.normal(0, 0.3, (blocks, 1)))
    found[:, : len(slow)] *= slow
    return found.tolist()


@given(st.integers(0, 2**32), st.integers(4, 20), st.integers(9, 40), st.integers(0, 3))
def test_slow_first_steps_are_found_whatever_the_level_of_a_block(seed, blocks, steps, slow):
    random = np.random.default_rng(seed)
    found = reentry_steps(blocks_of(random, blocks, steps, [1.8] * slow, scatter=0.002))
    assert slow == found


@given(st.lists(st.lists(st.floats(1e-6, 10), min_size=1, max_size=30), max_size=12))
def test_never_more_than_a_third_of_the_shortest_block_is_left_out(blocks):
    found = reentry_steps(blocks)
    if len(blocks) < LEAST_BLOCKS:
        assert 0 == found
    else:
        assert 0 <= found <= MOST_SHARE * min(map(len, blocks))


@given(st.integers(4, 12), st.integers(1, 30))
def test_of_blocks_that_get_faster_from_step_to_step_a_third_is_left_out(blocks, steps):
    falling = [float(2 * steps - place) for place in range(steps)]
    assert steps // 3 == reentry_steps([falling] * blocks)


@pytest.mark.parametrize(("blocks", "at_most"), [(4, 1 / 3), (10, 0.06)])
def test_where_no_step_is_slow_few_are_left_out_by_chance(blocks, at_most):
    random = np.random.default_rng(11)
    trials = 2000
    left_out = sum(reentry_steps(blocks_of(random, blocks, 12)) > 0 for _ in range(trials))
    assert left_out / trials < at_most


def test_a_step_that_is_slow_in_few_blocks_counts():
    blocks = [[1.0] * 9 for _ in range(8)]
    for block in blocks[:5]:
        block[0] = 3.0
    assert 0 == reentry_steps(blocks)
