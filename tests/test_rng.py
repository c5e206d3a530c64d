from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbench.rng import bits_at, integers, permutation, raw_bits, uniform


def sha(array: np.ndarray) -> str:
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return hashlib.sha256(little.tobytes()).hexdigest()[:16]


GOLDEN = {
    "raw_bits": "8973b786f5f7bdd5",
    "bits_at": "82b97cc9d002cbfe",
    "uniform": "ce5492109ce6cde2",
    "integers": "db7ee91f58d102cf",
    "permutation": "8dca0b8eaf94e2eb",
}


def test_the_same_draw_has_the_same_bits_on_every_machine() -> None:
    found = {
        "raw_bits": sha(raw_bits(1000, 7, "a", 1)),
        "bits_at": sha(bits_at(np.arange(1000), 7, "a", 1)),
        "uniform": sha(uniform((10, 100), 0.1, 7, "a", 1)),
        "integers": sha(integers(1000, 60_000, 7, "a", 1)),
        "permutation": sha(permutation(1000, 7, "a", 1)),
    }
    assert found == GOLDEN


def test_the_first_words_do_not_depend_on_how_many_are_drawn() -> None:
    assert np.array_equal(raw_bits(10, 3, "x"), raw_bits(1000, 3, "x")[:10])


def test_a_position_has_one_word_whatever_is_drawn_with_it() -> None:
    everything = bits_at(np.arange(100), 3, "x")
    assert np.array_equal(bits_at(np.array([42, 7]), 3, "x"), everything[[42, 7]])


@pytest.mark.parametrize("other", [("a", "1"), ("a1",), ("a",), ("a", 1, 0), ("b", 1), (1, "a")])
def test_streams_of_other_names_are_other_streams(other: tuple[str | int, ...]) -> None:
    assert not np.array_equal(raw_bits(4, 0, "a", 1), raw_bits(4, 0, *other))


def test_a_numpy_integer_names_the_same_stream_as_a_python_one() -> None:
    assert np.array_equal(raw_bits(4, 0, np.int64(5)), raw_bits(4, 0, 5))


def test_uniform_values_are_float32_within_the_bound_and_centred() -> None:
    values = uniform((200, 500), 0.25, 1, "weights")
    assert values.dtype == np.float32
    assert values.shape == (200, 500)
    assert np.abs(values).max() <= 0.25
    assert abs(float(values.mean())) < 0.002
    assert abs(float(values.std()) - 0.25 / 3**0.5) < 0.002


def test_a_power_of_two_bound_gives_multiples_of_the_same_step() -> None:
    values = uniform((1000,), 1.0, 1, "weights").astype(np.float64) * 2**23
    assert np.array_equal(values, np.round(values))


@pytest.mark.parametrize("bound", [-1.0, float("nan"), float("inf")])
def test_a_bound_that_is_none_is_refused(bound: float) -> None:
    with pytest.raises(ValueError, match="bound"):
        uniform((3,), bound, 0)


@given(below=st.integers(1, 2**32), seed=st.integers(-(2**70), 2**70))
@settings(max_examples=50, deadline=None)
def test_integers_stay_below_their_end(below: int, seed: int) -> None:
    drawn = integers(50, below, seed, "n")
    assert drawn.dtype == np.int64
    assert drawn.min() >= 0
    assert drawn.max() < below


def test_small_ranges_are_drawn_evenly() -> None:
    counts = np.bincount(integers(100_000, 10, 0, "even"), minlength=10)
    assert counts.min() > 9_600
    assert counts.max() < 10_400


@pytest.mark.parametrize("below", [0, -1, 2**32 + 1])
def test_a_range_out_of_reach_is_refused(below: int) -> None:
    with pytest.raises(ValueError, match="below"):
        integers(1, below, 0)


@given(n=st.integers(0, 300), seed=st.integers(0, 2**64))
@settings(max_examples=50, deadline=None)
def test_a_permutation_holds_every_number_once(n: int, seed: int) -> None:
    assert sorted(permutation(n, seed, "p").tolist()) == list(range(n))
