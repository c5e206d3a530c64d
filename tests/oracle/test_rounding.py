import ml_dtypes
import networks
import numpy as np
import pytest

from dlbench.oracle.layers import Pass
from dlbench.oracle.network import forward_backward
from dlbench.oracle.rounding import Exact, Perturbed, exact, rounded
from dlbench.spec.precision import FORMATS, POLICIES

UNIT = FORMATS["fp32"].unit_roundoff


@pytest.mark.parametrize("length", [1, 16, 1000])
@pytest.mark.parametrize("value", [0.0, 5.0])
def test_noise_has_the_size_of_the_roundings_of_a_sum(length, value):
    noise = Perturbed(0)(np.full(100_000, value), length, 3.0) - value
    expected = UNIT * np.sqrt(length) * np.hypot(3.0, value)
    assert np.sqrt(np.mean(np.square(noise))) == pytest.approx(expected, rel=0.03)
    assert abs(np.mean(noise)) < 0.03 * expected


def test_the_size_of_the_terms_broadcasts_over_the_values():
    sizes = np.array([1.0, 100.0]).reshape(2, 1)
    noise = Perturbed(1)(np.zeros((2, 50_000)), 4, sizes)
    found = np.sqrt(np.mean(np.square(noise), axis=1))
    np.testing.assert_allclose(found, 2 * UNIT * sizes.ravel(), rtol=0.03)


def test_terms_that_are_known_by_the_value_or_by_their_squares_have_the_same_noise():
    value = np.random.default_rng(0).normal(size=(5, 7, 1000))
    own, apart = (Perturbed(3)(value, 9, size) - value for size in (value, value.copy()))
    squares = Perturbed(3).of_squares(value, 9, np.square(value)) - value
    np.testing.assert_array_equal(apart, squares)
    np.testing.assert_allclose(own, apart, rtol=1e-6, atol=1e-14)


def noise_of(kind, values, *on_the_way, draws=64):
    """What each of some runs adds to `values` (draws×N)."""
    runs = (Perturbed(seed, POLICIES[kind]) for seed in range(draws))
    return np.stack([run.stored(values, *on_the_way) - values for run in runs])


def root_mean_square(values):
    return np.sqrt(np.mean(np.square(values)))


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_what_is_stored_short_has_the_noise_of_one_rounding(name):
    values, unit = np.random.default_rng(3).uniform(4, 8, 20_000), FORMATS[name].unit_roundoff
    for on_the_way, roundings in ((), 1), ((1.1 * values,), 1 + 1.1**2):
        found = root_mean_square(noise_of(name, values, *on_the_way) / values)
        assert found == pytest.approx(unit * np.sqrt(roundings / 3), rel=0.03)
    assert np.all(Perturbed(2, POLICIES[name]).stored(np.zeros(10)) == 0)


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_half_of_an_error_is_common_to_values_within_a_step(name):
    random, unit = np.random.default_rng(4), FORMATS[name].unit_roundoff
    half = 5 * unit / np.sqrt(6)
    for near in np.full(1000, 5.0), random.uniform(5, 5 + unit / 4, 1000):
        common = noise_of(name, near).mean(1)
        assert root_mean_square(common) == pytest.approx(half, rel=0.3)
    far = noise_of(name, random.uniform(4, 8, 1000)).mean(1)
    assert root_mean_square(far) < 3 * 6 * unit / np.sqrt(3 * 1000)


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_values_that_nearly_cancel_need_not_be_rounded_alike(name):
    unit = FORMATS[name].unit_roundoff
    sums = noise_of(name, np.array([5.0, -5.0 - unit / 100])).sum(1)
    assert root_mean_square(sums) > 0.7 * 5 * unit / np.sqrt(3)


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_a_bias_that_is_rounded_moves_all_positions_together(name):
    random = np.random.default_rng(5)
    bias, product = random.uniform(0.25, 0.5, (1, 6, 1, 1)), random.normal(size=(4, 6, 20, 20))
    y = product + bias
    moved = np.stack([n.mean((0, 2, 3)) for n in noise_of(name, y, product, bias)])
    of_bias = noise_of(name, bias)[:, 0, :, 0, 0]
    assert root_mean_square(moved) == pytest.approx(root_mean_square(of_bias), rel=0.3)


@pytest.mark.parametrize("name", POLICIES)
def test_sums_have_the_noise_of_float32_whatever_the_precision(name):
    value = np.ones(1000)
    fine, same = (Perturbed(2, POLICIES[which])(value, 4, 1.0) for which in ("fp32", name))
    np.testing.assert_array_equal(fine, same)


def test_float32_stores_hands_back_and_multiplies_what_it_has():
    value, rounding = np.ones(10), Perturbed(2)
    for same in (rounding.stored, rounding.handed_back, rounding.factor, rounding.known):
        assert same(value) is value


def test_tf32_rounds_factors_alone():
    value, rounding = np.full(100_000, 5.0), Perturbed(2, POLICIES["tf32"])
    assert rounding.stored(value) is value
    noise = rounding.factor(value) - value
    expected = 5 * FORMATS["tf32"].unit_roundoff
    assert np.sqrt(np.mean(np.square(noise))) == pytest.approx(expected, rel=0.02)


def test_a_small_gradient_is_as_coarse_as_the_loss_scale_leaves_it():
    policy = POLICIES["fp16"]
    values = np.random.default_rng(6).uniform(1e-9, 5e-9, 20_000)
    runs = (Perturbed(seed, policy) for seed in range(64))
    noise = np.stack([run.handed_back(values) - values for run in runs])
    step = 2.0**-25 / policy.loss_scale
    assert root_mean_square(noise) == pytest.approx(step / np.sqrt(3), rel=0.03)


@pytest.mark.parametrize(("name", "kind"), [("bf16", "bfloat16"), ("fp16", "float16")])
def test_a_known_factor_is_rounded_as_others_round_it(name, kind):
    random = np.random.default_rng(4)
    halves = np.ldexp(random.integers(-(2**12), 2**12, 3000), -12)
    spread = random.normal(size=3000) * 10.0 ** random.integers(-9, 5, 3000)
    values = np.concatenate([halves, spread]).astype(np.float32)
    with np.errstate(over="ignore"):
        wanted = values.astype(getattr(ml_dtypes, kind, None) or kind).astype(np.float64)
    np.testing.assert_array_equal(rounded(values.astype(np.float64), FORMATS[name]), wanted)
    np.testing.assert_array_equal(Exact(POLICIES[name]).known(values), wanted)


def test_a_seed_gives_the_same_noise_and_another_seed_other_noise():
    value = np.ones(1000)
    first, again, other = (Perturbed(seed)(value, 1, 1.0) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.all(first != other)


def test_successive_calls_do_not_repeat_their_noise():
    rounding = Perturbed(5)
    one, two = (rounding(np.zeros(5000), 1, 1.0) for _ in range(2))
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.1


def test_noise_larger_than_the_pool_is_still_noise_everywhere():
    noise = Perturbed(6)(np.zeros(600_000), 1, 1.0)
    assert np.std(noise[-300_000:]) == pytest.approx(UNIT, rel=0.03)


def test_exact_changes_nothing():
    value = np.arange(4.0)
    assert exact(value, 10, 1.0) is value


def test_perturbed_runs_scatter_around_the_exact_one_by_roundings():
    workload = networks.network("everything")
    weights = networks.weights(workload, 1)
    inputs, targets = networks.batch(workload, 4, 1)

    def gradients(rounding, branches):
        run = Pass(True, np.ones(4), rounding, forced=branches)
        forward_backward(workload.nodes, workload.loss, weights, inputs, targets, run)
        return run

    want = gradients(exact, {})
    for seed in range(3):
        got = gradients(Perturbed(seed), want.branches)
        for name, value in want.gradients.items():
            if name.endswith(".bias") and np.abs(value).max() < 1e-12:
                continue
            error = np.abs(got.gradients[name] - value).max() / np.abs(value).max()
            assert UNIT / 100 < error < 1e4 * UNIT, name


@pytest.mark.parametrize("shape", [(), (7,), (40_000,), (3, 5, 9000), (70, 6000)])
def test_noise_is_drawn_in_one_run_over_an_array_however_it_is_cut(shape):
    value = np.random.default_rng(5).normal(size=shape)
    flat = Perturbed(6)(value.reshape(-1), 9, 2.0).reshape(shape)
    np.testing.assert_array_equal(flat, Perturbed(6)(value, 9, 2.0))


def test_what_only_noise_needs_is_found_where_there_is_noise():
    value = np.ones(10)
    found = Perturbed(7)(value, lambda: 4, lambda: 3.0)
    np.testing.assert_array_equal(found, Perturbed(7)(value, 4, 3.0))

    def unneeded():
        raise AssertionError

    assert exact(value, unneeded, unneeded) is value
