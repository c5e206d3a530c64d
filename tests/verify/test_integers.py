"""Inference in integers: what is right passes, and each thing that people get wrong is found."""

import dataclasses
import os
import random
import subprocess
import sys

import pytest
from dlbench.backends.torch import integers
from dlbench.backends.torch.adapter import Adapter as Torch
from faulty_integers import FaultyIntegers, known_faults

from dlbench.contract import Plan
from dlbench.errors import PlanRefused
from dlbench.spec import layers as spec
from dlbench.spec.quantization import outline
from dlbench.spec.workload import initial_weights, map_layers, read_workload
from dlbench.verify.check import verify
from dlbench.verify.random_networks import draw_workload

BATCH = 6
# on a processor without VNNI PyTorch's own sums are wrong, which `SATURATES` holds anywhere
RIGHT = (FaultyIntegers, Torch) if integers._observed_sums() == "exact" else (FaultyIntegers,)
CONV = {"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}
EVEN = CONV | {"out_channels": 2}
NORM, RELU = {"type": "batch_norm"}, {"type": "relu"}
END = [{"type": "flatten"}, {"type": "linear", "out_features": 5}]
NETWORKS = {
    "plain": [CONV, RELU, {"type": "dropout", "rate": 0.5}, *END],
    "norms": [CONV | {"bias": False}, NORM, RELU, CONV, RELU, NORM, *END],
    "pools": [
        CONV,
        {"type": "max_pool", "kernel": 3, "stride": 2, "padding": 1},
        CONV | {"stride": 2, "padding": [[0, 1], [2, 1]], "dilation": 2},
        {"type": "avg_pool", "kernel": 2, "stride": 1, "padding": 1},
        {"type": "global_avg_pool"},
        {"type": "linear", "out_features": 5},
    ],
    "joined": [
        CONV,
        {"type": "residual", "body": [CONV, NORM, RELU, CONV, NORM]},
        RELU,
        {
            "type": "residual",
            "shortcut": "option_a",
            "body": [CONV | {"out_channels": 6, "stride": 2}, RELU],
        },
        {"type": "concat", "bodies": [[], [EVEN, RELU], [{"type": "max_pool", "kernel": 1}]]},
        {"type": "concat", "body": [NORM, RELU, EVEN]},
        *END,
    ],
}
# a fault shows where there is what it is about
PLACES = {
    "folded with another eps": "norms",
    "folded with eps outside of the root": "norms",
    "folded without the mean": "norms",
    "a norm by itself is left out": "norms",
    "padding wins a pool": "pools",
    "a mean in the scale of its input": "pools",
    "a mean cut off": "pools",
    "a concat without its own scale": "joined",
    "a sum of rounded parts": "joined",
}


def workload(layers, shape=(2, 7, 8)):
    return read_workload(
        {
            "input_shape": list(shape),
            "layers": layers,
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )


def plan(batch=BATCH, scenario="infer"):
    return Plan("faulty", "cpu", batch, 1, precision="int8", scenario=scenario)


def found(adapter, of, cache_dir, batch=BATCH):
    return verify(adapter, plan(batch), of, cache_dir)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_written_from_the_page_and_what_pytorch_computes_are_right(name, cache_dir):
    for adapter in RIGHT:
        outcome = found(adapter(), workload(NETWORKS[name]), cache_dir)
        assert outcome.reason == ""
        assert max(c.error / c.tolerance for c in outcome.checks) < 0.7


@pytest.mark.parametrize("fault", known_faults())
def test_each_fault_is_found_in_the_first_layer_that_has_it(fault, cache_dir):
    of = workload(NETWORKS[PLACES.get(fault, "plain")])
    outcome = found(FaultyIntegers(fault), of, cache_dir)
    failed = [check for check in outcome.checks if not check.passed]
    assert len(failed) == 1
    assert outcome.reason == failed[0].sentence()
    # a kept output is one of whole networks; all others show where they stand
    assert failed[0].name.split()[0] == ("logits," if fault.startswith("keeps") else "output") or (
        failed[0].name.startswith("probe")
    )


def test_there_are_at_least_twenty_faults():
    assert len(set(known_faults())) == len(known_faults()) >= 20


@pytest.mark.parametrize("layer", ["leaky_relu", "sigmoid", "tanh"])
def test_a_layer_that_int8_has_not_got_is_refused_with_its_name(layer, cache_dir):
    of = workload([CONV, {"type": layer, "name": "bent"}, *END])
    with pytest.raises(PlanRefused, match=rf"int8 has no {layer} \(bent\)"):
        found(FaultyIntegers(), of, cache_dir)


def test_training_is_refused(cache_dir):
    for adapter in (FaultyIntegers(), Torch()):
        with pytest.raises(PlanRefused, match="int8 is for inference"):
            verify(adapter, plan(scenario="train"), workload(NETWORKS["plain"]), cache_dir)


def test_pytorch_refuses_a_network_without_scales():
    of = workload(NETWORKS["plain"])
    weights = initial_weights(of, 0)
    with pytest.raises(PlanRefused, match="needs a calibrated workload"):
        Torch().open(plan(), of, weights)


SATURATES = """
import sys
from pathlib import Path
from dlbench.backends.torch.adapter import Adapter
from dlbench.contract import Plan
from dlbench.spec import layers as spec
from dlbench.spec.quantization import LACKS
from dlbench.spec.workload import initial_weights, map_layers, read_workload
from dlbench.verify.check import verify
layers = [{"type": "conv2d", "out_channels": 32, "kernel": 3}, {"type": "relu"}, {"type": "flatten"},
          {"type": "linear", "out_features": 5}]
of = read_workload({"input_shape": [16, 9, 9], "layers": layers, "optimizer": {"type": "sgd", "learning_rate": 0.1}})
print(verify(Adapter(), Plan("torch", "cpu", 4, 1, "int8", scenario="infer"), of, Path(sys.argv[1])).reason)
"""


def test_onednn_on_a_processor_without_vnni_is_found_to_saturate(cache_dir):
    """oneDNN, kept to what such a processor has, adds pairs of products in int16."""
    kept = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    command = [sys.executable, "-c", SATURATES, str(cache_dir)]
    ended = subprocess.run(command, env=kept, capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("output of "), ended.stdout + ended.stderr


def _random_networks(count, cache_dir, seed=0):
    """Random networks through the backends that are right, and the largest error in tolerances."""
    tried, worst = 0, 0.0
    while tried < count:
        seed += 1
        of, batch = draw_workload(seed)
        of = dataclasses.replace(of, nodes=map_layers(of.nodes, _without_bends))
        try:
            outline(of)
        except PlanRefused:
            continue
        for adapter in RIGHT:
            outcome = found(adapter(), of, cache_dir, batch)
            assert outcome.reason == "", f"seed {seed}, {adapter.__module__}"
            worst = max(worst, *(c.error / c.tolerance for c in outcome.checks))
        tried += 1
    return worst


_BENDS = (
    *(spec.LeakyRelu, spec.Sigmoid, spec.Tanh, spec.Relu6, spec.Silu),
    *(spec.HardSigmoid, spec.HardSwish, spec.Gelu),
)


def _without_bends(layer):
    return spec.Relu() if isinstance(layer, _BENDS) else layer


def test_a_few_random_networks_are_verified(cache_dir):
    assert _random_networks(12, cache_dir) < 0.7


@pytest.mark.soak
def test_five_hundred_random_networks_are_verified(cache_dir):
    assert _random_networks(500, cache_dir, random.SystemRandom().randrange(2**31)) < 0.7
