"""How far sums in order may be off: terms that repeat, and samples that cancel one another."""

import numpy as np

from dlbench.oracle.layers import Pass, repetition


def test_terms_that_rounding_alone_tells_apart_repeat():
    random = np.random.default_rng(1)
    values = random.choice([1.0, 0.7, 1e-3, 0.0], (2, 3, 4000))
    noise = 1e-7 * random.standard_normal(values.shape) * (values > 0)
    exact, noisy = repetition(values), repetition(values + noise)
    assert 1500 < exact < 2500
    assert noisy > exact / 3


def test_terms_of_all_sizes_hardly_repeat():
    values = np.random.default_rng(2).standard_normal((4, 3, 4000))
    assert repetition(values) <= 2


def test_equal_terms_of_equal_samples_repeat_as_often_as_there_are_samples():
    assert repetition(np.ones((4, 3, 100))) == 400


def test_sums_that_cancel_were_large_on_the_way():
    random = np.random.default_rng(3)
    dy = random.uniform(0.5, 1.5, (2, 1, 40_000))
    dy[1] *= -dy[0].sum() / dy[1].sum()
    run = Pass(True, np.ones(2))
    (partial,) = run.partial_sums(dy)
    on_the_way = np.abs(np.cumsum(dy)).max()
    assert on_the_way < partial < 3 * on_the_way
    error = abs(float(np.cumsum(dy.astype(np.float32), dtype=np.float32)[-1]) - dy.sum())
    noise = 2.0**-24 * np.sqrt(dy.size)
    # the terms alone do not explain what sums in order lose
    assert 8 * noise * np.sqrt(np.square(dy).sum()) < error < 8 * noise * partial
