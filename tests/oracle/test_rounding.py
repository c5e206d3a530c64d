import networks
import numpy as np
import pytest

from dlbench.oracle.layers import Pass
from dlbench.oracle.network import forward_backward
from dlbench.oracle.rounding import UNIT_ROUNDOFF, Perturbed, exact

UNIT = UNIT_ROUNDOFF["fp32"]


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


def test_noise_of_a_coarser_precision_is_larger_by_the_ratio_of_roundings():
    value = np.ones(10_000)
    fine = Perturbed(2)(value, 1, 0.0) - value
    coarse = Perturbed(2, UNIT_ROUNDOFF["tf32"])(value, 1, 0.0) - value
    np.testing.assert_allclose(coarse / 2.0**13, fine, rtol=1e-3, atol=1e-12)


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
