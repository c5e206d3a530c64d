"""The optimizers as pure functions, held against the oracle in every array namespace that there is."""

import dataclasses
import importlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlbench.helpers import update_rules
from dlbench.oracle.optimizers import Update
from dlbench.spec.training import OPTIMIZERS

NAMESPACES = ("numpy", "torch", "jax.numpy", "tensorflow.experimental.numpy")
KINDS = list(OPTIMIZERS.values())


@st.composite
def optimizers(draw):
    """Any optimizer with any of its options, those at the borders among them."""
    kind = draw(st.sampled_from(KINDS))
    choices = {
        "learning_rate": st.sampled_from([1.0, 0.01]),
        "momentum": st.sampled_from([0.0, 0.5, 0.9]),
        "nesterov": st.booleans(),
        "weight_decay": st.sampled_from([0.0, 0.1]),
        "decay_biases_and_norms": st.booleans(),
        "clip_norm": st.sampled_from([None, 0.5, 100.0]),
        "rho": st.sampled_from([0.0, 0.9]),
        "beta1": st.sampled_from([0.0, 0.5, 0.9]),
        "beta2": st.sampled_from([0.0, 0.9, 0.999]),
        "eps": st.sampled_from([1e-8, 1e-3]),
    }
    fields = {field.name for field in dataclasses.fields(kind)}
    return kind(**{name: draw(choices[name]) for name in fields & choices.keys()})


def steps_of(optimizer, namespace, seed=0, count=4):
    """Weights after each of some steps, by the pure functions and by the oracle."""
    xp = importlib.import_module(namespace)
    random = np.random.default_rng(seed)
    start = {"a.weight": random.normal(size=(3, 2)), "a.bias": random.normal(size=5)}
    exact = {name: np.float32(value).astype(np.float64) for name, value in start.items()}
    weights = {name: xp.asarray(np.float32(value)) for name, value in start.items()}
    oracle = Update(optimizer)
    state = update_rules.begin(optimizer, xp, weights)
    for number in range(count):
        rate = optimizer.learning_rate * (1.0, 0.5, 0.25, 2.0)[number]
        drawn = {name: random.normal(size=value.shape) for name, value in start.items()}
        gradients = {name: np.float32(value) for name, value in drawn.items()}
        exact = oracle.step(exact, {n: g.astype(np.float64) for n, g in gradients.items()}, rate)
        given_ = {name: xp.asarray(value) for name, value in gradients.items()}
        weights, state = update_rules.update(optimizer, xp, weights, given_, state, rate)
        yield {name: np.asarray(value) for name, value in weights.items()}, exact


@given(optimizers(), st.integers(0, 3))
def test_every_rule_is_the_oracles_whatever_its_options(optimizer, seed):
    for got, exact in steps_of(optimizer, "numpy", seed):
        for name, value in exact.items():
            assert np.float32 == got[name].dtype
            np.testing.assert_allclose(got[name], value, rtol=1e-4, atol=3e-6)


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("word", OPTIMIZERS)
def test_the_rules_hold_in_every_array_namespace(word, namespace):
    pytest.importorskip(namespace)
    optimizer = OPTIMIZERS[word](learning_rate=0.1, weight_decay=0.01)
    for got, exact in steps_of(optimizer, namespace):
        for name, value in exact.items():
            assert np.float32 == got[name].dtype
            np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-6)


def test_a_step_leaves_what_it_was_given_as_it_was():
    optimizer = OPTIMIZERS["adam"](learning_rate=0.1)
    weights = {"a": np.ones(3, np.float32)}
    state = update_rules.begin(optimizer, np, weights)
    first = update_rules.update(optimizer, np, weights, weights, state, 0.1)
    again = update_rules.update(optimizer, np, weights, weights, state, 0.1)
    np.testing.assert_array_equal(first[0]["a"], again[0]["a"])
    np.testing.assert_array_equal(np.ones(3), weights["a"])


def test_the_first_steps_of_adam_lose_no_digits_to_the_bias_correction():
    """1 − 0.999 in float32 is off by 1e-5; the step would be too."""
    optimizer = OPTIMIZERS["adam"](learning_rate=1.0, eps=1e-30)
    weights = {"a": np.zeros(1, np.float32)}
    state = update_rules.begin(optimizer, np, weights)
    moved, _ = update_rules.update(optimizer, np, weights, {"a": weights["a"] + 3}, state, 1.0)
    assert abs(moved["a"][0] + 1) < 5e-7
