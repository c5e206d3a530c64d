"""Faults of an adapter of cuDNN, planted one by one: each is caught, by the oracle or by the stub."""

from __future__ import annotations

import pytest
from dlbench.backends.cudnn import algorithms, handles, layers, norm, pool, products
from dlbench.backends.cudnn.library import AVERAGE_WITH_PADDING, DEFAULT_MATH, ONE, RELU
from stub import StubAdapter, biased_variance, verdict_of, workload_of

from dlbench.spec import layers as spec
from dlbench.verify.conformance import Trial

CONV = {"type": "conv2d", "out_channels": 4, "kernel": [3, 2], "padding": [1, 0]}
NETWORK = [
    CONV,
    {"type": "batch_norm"},
    {"type": "tanh"},
    {"type": "avg_pool", "kernel": 3, "stride": 2, "padding": 1},
    {"type": "residual", "body": [CONV | {"kernel": 3, "padding": 1}]},
    {"type": "flatten"},
    {"type": "linear", "out_features": 3},
]
TRIAL = Trial("planted", "fault", workload_of([2, 6, 7], NETWORK), 4)


def reason(cache_dir):
    return verdict_of(StubAdapter(), TRIAL, cache_dir).reason


def test_without_a_fault_it_is_verified(cache_dir):
    assert "" == reason(cache_dir)


def test_a_running_variance_of_the_biased_estimate_is_caught(cache_dir):
    with biased_variance():
        found = reason(cache_dir)
    assert "running_variance after the step" in found


def wrapped(patch, owner, name, change):
    """Lets `change` have the arguments of a function or method first."""
    kept = getattr(owner, name)
    patch.setattr(owner, name, lambda *args: kept(*change(*args)))


def _flipped(patch):
    patch.setattr(handles, "CROSS_CORRELATION", 0)


def _added_to_the_weights_gradient(patch):
    def change(self, program, kind, first, second, alpha, target, beta):
        beta = ONE if kind == "BackwardFilter" else beta
        return self, program, kind, first, second, alpha, target, beta

    wrapped(patch, products.Convolution, "_call", change)


def _added_to_the_biases_gradient(patch):
    def change(program, name, *args):
        if name == "cudnnConvolutionBackwardBias":
            args = (*args[:3], ONE, *args[4:])
        return program, name, *args

    wrapped(patch, layers, "call", change)


def _overwritten_where_two_paths_meet(patch):
    patch.setattr(layers, "add", layers.copy)


def _tf32_in_convolutions(patch):
    patch.setitem(handles.MATH_TYPES, "fp32", DEFAULT_MATH)


def _tf32_in_linear_layers(patch):
    patch.setitem(handles._MATH_MODES, "fp32", handles.CUBLAS_TF32_MATH)


def _padding_of_rows_for_columns(patch):
    patch.setattr(products, "even_padding", lambda node, layer: layer.even_padding[::-1])


def _padding_that_counts(patch):
    patch.setattr(pool, "AVERAGE_WITHOUT_PADDING", AVERAGE_WITH_PADDING)


def _another_algorithm_than_a_deterministic_one(patch):
    patch.setattr(algorithms, "DETERMINISTIC", 0)


def _momentum_the_other_way_round(patch):
    def change(program, name, *args):
        args = list(args)
        if name == "cudnnBatchNormalizationForwardTraining":
            args[10] = 1 - args[10]
        return program, name, *args

    wrapped(patch, norm, "call", change)


def _an_epsilon_of_its_own(patch):
    def change(program, name, *args):
        args = list(args)
        if name == "cudnnBatchNormalizationForwardTraining":
            args[13] = 1e-3
        return program, name, *args

    wrapped(patch, norm, "call", change)


def _another_activation(patch):
    patch.setitem(layers.ACTIVATIONS, spec.Tanh, (RELU, 0.0))


FAULTS = {
    _flipped: "output of conv1",
    _added_to_the_weights_gradient: "gradient of conv2.weight, step 2",
    _added_to_the_biases_gradient: "gradient of linear1.bias, step 2",
    _overwritten_where_two_paths_meet: "gradient of norm1.shift",
    _tf32_in_convolutions: "output of conv1",
    _tf32_in_linear_layers: "output of linear1",
    _padding_of_rows_for_columns: "an output of 6 x 6 where 4 x 8 come out",
    _padding_that_counts: "output of avg_pool1",
    _another_algorithm_than_a_deterministic_one: "an algorithm that is not deterministic",
    _momentum_the_other_way_round: "norm1.running_mean after the step",
    _an_epsilon_of_its_own: "gradient of",
    _another_activation: "output of tanh1",
}
"""Each with what is said of it."""


@pytest.mark.parametrize("plant", FAULTS, ids=lambda plant: plant.__name__.strip("_"))
def test_a_fault_is_caught(plant, cache_dir, monkeypatch):
    plant(monkeypatch)
    assert FAULTS[plant] in reason(cache_dir)
