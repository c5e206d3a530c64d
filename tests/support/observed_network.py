"""A small network of which spans are taken: of each kind of layer one, a block, and names that tell them apart."""

import collections
from collections.abc import Iterable
from typing import Any

from dlbench.contract import AdapterBase, Plan
from dlbench.rng import uniform
from dlbench.spec.workload import Workload, initial_weights, read_workload

_CONV = {"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}
_ADAM = {"type": "adam", "learning_rate": 0.001}


def network(side: int = 8, optimizer: dict[str, object] = _ADAM) -> Workload:
    """For inputs of 2 channels, `side` pixels high and wide, and 3 outputs."""
    return read_workload(
        {
            "input_shape": [2, side, side],
            "layers": [
                {**_CONV, "name": "first"},
                {"type": "relu", "name": "bend"},
                {"type": "batch_norm", "name": "norm"},
                {"type": "residual", "name": "sum", "body": [{**_CONV, "name": "within"}]},
                {"type": "max_pool", "name": "pool", "kernel": 2},
                {"type": "flatten", "name": "flat"},
                {"type": "dropout", "name": "drop", "rate": 0.5},
                {"type": "linear", "name": "last", "out_features": 3},
            ],
            "loss": "mean_squared_error",
            "optimizer": optimizer,
        }
    )


def opened(adapter: AdapterBase, plan: Plan, workload: Workload) -> tuple[Any, Any]:
    """A session, and a batch."""
    session = adapter.open(plan, workload, initial_weights(workload, 0))
    inputs = uniform((plan.batch, *workload.input_shape), 1.0, 0, "inputs")
    return session, session.upload(inputs, uniform((plan.batch, 3), 1.0, 0, "targets"))


def served(spans: Iterable[Any]) -> dict[str, set[str]]:
    """The layers by pass, and what served none."""
    found = collections.defaultdict(set)
    for span in spans:
        found[span.track] |= set(span.layers) or {span.name}
    return found
