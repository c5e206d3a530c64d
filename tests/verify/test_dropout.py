import dataclasses

import pytest
import small
from faulty import FaultyAdapter

from dlbench.spec.workload import read_workload
from dlbench.verify.checks.dropout import check_dropout

CONV = {"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}
FLATTEN = {"type": "flatten"}


def linear(size):
    return {"type": "linear", "out_features": size}


def drop(rate):
    return {"type": "dropout", "rate": rate}


def workload(shape, *layers):
    return read_workload(
        {
            "input_shape": shape,
            "layers": list(layers),
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )


NETWORKS = {
    "behind a convolution": ([1, 8, 8], CONV, {"type": "relu"}, drop(0.3), FLATTEN, linear(4)),
    "two, as in the main suite": (
        *([1, 8, 8], CONV, {"type": "relu"}, {"type": "max_pool", "kernel": 2}, drop(0.25)),
        *(FLATTEN, linear(64), {"type": "relu"}, drop(0.5), linear(10)),
    ),
    "two, few features between": (
        *([40], linear(50), drop(0.5), linear(3), {"type": "tanh"}, drop(0.5), linear(2)),
    ),
    "behind batch norm": ([2, 6, 6], CONV, {"type": "batch_norm"}, drop(0.4), FLATTEN, linear(3)),
    "between convolutions": ([2, 6, 6], CONV, drop(0.4), CONV, FLATTEN, linear(3)),
    "inside a block": (
        *([2, 6, 6], CONV, {"type": "residual", "body": [CONV, drop(0.2)]}, FLATTEN, linear(3)),
    ),
    "almost nothing kept": ([60], linear(300), drop(0.95), linear(3)),
    "almost everything kept": ([60], linear(300), drop(0.01), linear(3)),
}


def check(name, adapter=None, seed=0):
    plan = dataclasses.replace(small.plan(), seed=seed)
    return check_dropout(adapter or FaultyAdapter(None), plan, workload(*NETWORKS[name]))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", NETWORKS)
def test_right_masks_pass_wherever_the_dropout_stands(name, seed):
    checks = check(name, seed=seed)
    assert small.failing(checks) == []
    assert any("kept fraction" in c.name for c in checks)


@pytest.mark.parametrize("name", ["behind a convolution", "behind batch norm"])
def test_masks_are_held_to_rate_change_and_independence(name):
    names = " ".join(c.name for c in check(name))
    for part in ("kept fraction", "successive steps", "neighbours", "lost by both samples"):
        assert part in names


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_a_rate_that_is_off_by_a_tenth_is_found(rate):
    right = workload([60], linear(300), drop(rate), linear(3))

    class Off(FaultyAdapter):
        def open(self, plan, given, weights):
            nodes = tuple(
                dataclasses.replace(n, layer=dataclasses.replace(n.layer, rate=rate * 0.9))
                if n.name == "dropout1"
                else n
                for n in given.nodes
            )
            return super().open(plan, dataclasses.replace(given, nodes=nodes), weights)

    assert small.failing(check_dropout(Off(), small.plan(), right))


def test_nothing_is_asked_where_no_mask_is_drawn():
    assert check_dropout(FaultyAdapter(None), small.plan(), small.workload("convolution")) == []
    none = workload([4], linear(5), drop(0.0), linear(3))
    assert check_dropout(FaultyAdapter(None), small.plan(), none) == []
