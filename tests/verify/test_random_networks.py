"""Random small networks through the whole verification, on every backend: none may fail.

The seeds are fresh in every run, on purpose: a tolerance that is only right for a fixed set of
networks is not right. A failure names its seed, from which `draw_workload` makes the same network.
"""

import random

import pytest

from dlbench.cli.conformance import Request, hold
from dlbench.spec.layers import BatchNorm
from dlbench.spec.network import walk
from dlbench.verify.random_networks import draw_workload

FEW = {"numpy": 8, "torch": 8, "tensorflow": 4}
MANY = {"numpy": 2000, "torch": 2000, "tensorflow": 300}


def problems(backend, networks, cache_dir, seed):
    """What was found wrong, with the seed it was found at; each backend in a process of its own, since
    two frameworks in one are more than either promises."""
    held = hold(Request(backend, "cpu", 1, networks, seed, cache_dir))
    if held.trouble is not None:
        return [f"seeds from {seed}: {held.trouble.reason}\n{held.output}"]
    assert sum(verdict.group == "random network" for verdict in held.verdicts) == networks
    assert held.planned == len(held.verdicts)
    return [f"{v.group} {v.name}: {v.reason}" for v in held.verdicts if v.reason]


@pytest.mark.parametrize("backend", FEW)
def test_all_layers_alone_and_a_few_random_networks_are_verified(backend, cache_dir):
    # the same every time, so that a failure is the change's doing; `make soak` draws others
    assert problems(backend, FEW[backend], cache_dir, seed=0) == []


@pytest.mark.soak
@pytest.mark.parametrize("backend", MANY)
def test_two_thousand_networks_drawn_afresh_are_verified(backend, cache_dir):
    seed = random.SystemRandom().randrange(2**31)
    assert problems(backend, MANY[backend], cache_dir, seed) == []


def test_a_seed_gives_the_same_network_again_and_another_seed_another():
    (first, batch), (again, same) = draw_workload(7), draw_workload(7)
    assert (first, batch) == (again, same)
    assert draw_workload(8)[0] != first


def test_the_networks_drawn_hold_every_kind_of_layer_loss_and_optimizer():
    workloads = [draw_workload(seed)[0] for seed in range(300)]
    drawn = [workload.to_table() for workload in workloads]
    words = {layer["type"] for table in drawn for layer in _all(table["layers"])}
    assert words >= {
        *("conv2d", "batch_norm", "relu", "leaky_relu", "sigmoid", "tanh", "max_pool", "avg_pool"),
        *("adaptive_avg_pool", "scale", "conv_transpose2d"),
        *("group_norm", "layer_norm", "local_response_norm"),
        *("relu6", "silu", "hard_sigmoid", "hard_swish", "gelu"),
        *("global_avg_pool", "flatten", "linear", "residual", "option_a", "concat"),
    }
    norms = [n for w in workloads for n in walk(w.nodes) if isinstance(n.layer, BatchNorm)]
    assert {len(norm.input_shape) for norm in norms} == {1, 3}
    layers = [layer for table in drawn for layer in _all(table["layers"])]
    for option in ("ceil_mode", "count_include_pad", "bodies"):
        assert any(layer.get(option) for layer in layers), option
    assert {layer.get("groups", 1) for layer in layers if layer["type"] == "conv2d"} > {1, 2, 3}
    for kind in ("conv2d", "max_pool", "avg_pool"):
        paddings = [layer["padding"] for layer in layers if layer["type"] == kind]
        assert {True, False} == {isinstance(padding[0], list) for padding in paddings}, kind
    losses = [table["loss"] for table in drawn]
    assert {"cross_entropy", "mean_squared_error"} == {x for x in losses if isinstance(x, str)}
    assert {"type", "label_smoothing"} == {key for x in losses if isinstance(x, dict) for key in x}
    kinds = {table["optimizer"]["type"] for table in drawn}
    assert kinds == {"sgd", "adam", "adamw", "adagrad", "rmsprop", "adadelta"}


def _all(tables):
    for table in tables:
        yield table
        for inner in (table.get("body", []), table.get("shortcut", []), *table.get("bodies", [])):
            yield from _all(inner)
