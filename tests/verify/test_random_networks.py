"""Random small networks through the whole verification, on every backend: none may fail.

The seeds are fresh in every run, on purpose: a tolerance that is only right for a fixed set of
networks is not right. A failure names its seed, from which `draw_workload` makes the same network.
"""

import importlib
import random

import pytest

from dlbench.contract import Plan
from dlbench.verify.check import verify
from dlbench.verify.drawing import draw_workload

MODULES = {
    "numpy": ("numpy", "dlbench.backends.numpy_cpu"),
    "torch": ("torch", "dlbench.backends.torch_eager"),
    "tensorflow": ("tensorflow", "dlbench.backends.tensorflow_graph"),
}
FEW = {"numpy": 25, "torch": 25, "tensorflow": 6}
MANY = {"numpy": 2000, "torch": 2000, "tensorflow": 200}


@pytest.fixture(scope="module")
def seeds():
    """The same fresh seeds for all backends, so that the oracle's results are shared."""
    return random.SystemRandom().sample(range(2**31), max(MANY.values()))


def problems(name, seeds, cache_dir):
    """What was found wrong, with the seed it was found at."""
    framework, module = MODULES[name]
    pytest.importorskip(framework)
    adapter = importlib.import_module(module).Adapter()
    found = []
    for seed in seeds:
        workload, batch = draw_workload(seed)
        try:
            reason = verify(adapter, Plan(name, "cpu", batch, 1), workload, cache_dir).reason
        except Exception as error:
            reason = repr(error)
        if reason:
            found.append(f"draw_workload({seed}): {reason}")
    return found


@pytest.mark.parametrize("name", MODULES)
def test_a_few_networks_drawn_afresh_are_verified(name, seeds, cache_dir):
    assert problems(name, seeds[: FEW[name]], cache_dir) == []


@pytest.mark.soak
@pytest.mark.parametrize("name", MODULES)
def test_two_thousand_networks_drawn_afresh_are_verified(name, seeds, cache_dir):
    assert problems(name, seeds[: MANY[name]], cache_dir) == []


def test_a_seed_gives_the_same_network_again_and_another_seed_another():
    (first, batch), (again, same) = draw_workload(7), draw_workload(7)
    assert (first, batch) == (again, same)
    assert draw_workload(8)[0] != first


def test_the_networks_drawn_hold_every_kind_of_layer_loss_and_optimizer():
    drawn = [draw_workload(seed)[0].to_table() for seed in range(300)]
    words = {word for table in drawn for word in _words(table["layers"])}
    assert words >= {
        *("conv2d", "batch_norm", "relu", "leaky_relu", "sigmoid", "tanh", "max_pool", "avg_pool"),
        *("global_avg_pool", "flatten", "linear", "residual", "option_a", "concat"),
    }
    assert {table["loss"] for table in drawn} == {"cross_entropy", "mean_squared_error"}
    kinds = {table["optimizer"]["type"] for table in drawn}
    assert kinds == {"sgd", "adam", "adamw", "adagrad"}


def _words(tables):
    for table in tables:
        yield table["type"]
        yield from _words(table.get("body", []))
        yield from _words(table.get("shortcut", []))
