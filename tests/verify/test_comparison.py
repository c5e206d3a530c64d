import numpy as np
import pytest

from dlbench.verify.comparison import compare

SHAPES = [(3, 5), (7, 40, 1000), (2, 90_000), (100_000,)]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_worst_element_is_found_wherever_it_lies(shape):
    random = np.random.default_rng(0)
    want = random.normal(size=shape).astype(np.float32)
    tolerance = np.full((shape[0], *[1] * (len(shape) - 1)), 1e-3)
    # where more is allowed, a larger error counts for less
    tolerance[0] = 1.0
    for at in random.integers(0, shape, (5, len(shape))):
        got = want.astype(np.float64)
        got[(0,) * len(shape)] += 0.5
        got[tuple(at)] += 2 * tolerance[at[0]].item()
        check = compare("a", got, want, tolerance, 1.0)
        assert not check.passed
        assert f"[{', '.join(map(str, at))}]" == check.where
        assert (got[tuple(at)], want[tuple(at)]) == (check.got, check.expected)
        assert check.error == pytest.approx(2 * tolerance[at[0]].item())
        assert tolerance[at[0]].item() == check.tolerance


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_wrong_however_much_is_allowed(value):
    want = np.zeros((4, 20_000), np.float32)
    got = want.copy()
    got[2, 7] = value
    check = compare("a", got, want, 1e30, 1.0)
    assert not check.passed
    assert check.where == "[2, 7]"
    assert check.got is None
    assert check.error is None


def test_an_error_where_none_is_allowed_is_wrong_and_none_is_right():
    want = np.ones((30, 1000), np.float32)
    assert compare("a", want, want, 0.0, 1.0).passed
    assert not compare("a", np.nextafter(want, 2), want, 0.0, 1.0).passed


def test_a_single_number_is_nowhere():
    check = compare("a", np.float32(1.5), 1.0, 0.25, 1.0)
    assert ("", 0.5, False) == (check.where, check.error, check.passed)
