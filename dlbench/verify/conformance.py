"""What the author of an adapter runs: every layer, loss and optimizer alone, and random networks of them.

A suite proves what that suite needs; this proves the backend.
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dlbench.contract import Adapter, Plan
from dlbench.errors import BackendUnavailable, PlanRefused
from dlbench.spec.workload import Workload, read_workload
from dlbench.verify.check import verify
from dlbench.verify.random_networks import draw_workload

Table = dict[str, Any]

_IMAGE = [2, 9, 11]
_CONV: Table = {"type": "conv2d", "out_channels": 4, "kernel": 3}
_BODY: list[Table] = [
    {"type": "conv2d", "out_channels": 4, "kernel": 3, "stride": 2, "padding": 1},
    {"type": "batch_norm"},
]
_END: list[Table] = [{"type": "flatten"}, {"type": "linear", "out_features": 3}]
_SGD: Table = {"type": "sgd", "learning_rate": 0.1, "momentum": 0.9}

LAYERS: dict[str, list[Table]] = {
    "linear": [],
    "linear without bias": [
        {"type": "flatten"},
        {"type": "linear", "out_features": 5, "bias": False},
    ],
    "conv2d": [_CONV],
    "conv2d with stride": [_CONV | {"stride": [2, 3], "kernel": [5, 2]}],
    "conv2d with padding": [_CONV | {"padding": [2, 1], "kernel": [4, 3]}],
    "conv2d with dilation": [_CONV | {"dilation": [2, 3], "padding": 1}],
    "conv2d without bias": [_CONV | {"bias": False}],
    "batch_norm": [_CONV, {"type": "batch_norm"}],
    "relu": [_CONV, {"type": "relu"}],
    "leaky_relu": [_CONV, {"type": "leaky_relu"}],
    "sigmoid": [_CONV, {"type": "sigmoid"}],
    "tanh": [_CONV, {"type": "tanh"}],
    "max_pool": [_CONV, {"type": "max_pool", "kernel": 2}],
    "max_pool, overlapping": [_CONV, {"type": "max_pool", "kernel": 3, "stride": 2, "padding": 1}],
    "avg_pool": [_CONV, {"type": "avg_pool", "kernel": [2, 3]}],
    "avg_pool, overlapping": [_CONV, {"type": "avg_pool", "kernel": 3, "stride": 2, "padding": 1}],
    "global_avg_pool": [_CONV, {"type": "global_avg_pool"}, {"type": "linear", "out_features": 4}],
    "dropout before a linear layer": [_CONV, {"type": "tanh"}, {"type": "dropout", "rate": 0.25}],
    "dropout before a convolution": [_CONV, {"type": "dropout", "rate": 0.5}, _CONV],
    "residual, identity": [
        {
            "type": "residual",
            "body": [{"type": "conv2d", "out_channels": 2, "kernel": 3, "padding": 1}],
        },
    ],
    "residual, option A": [_CONV, {"type": "residual", "shortcut": "option_a", "body": _BODY}],
    "residual, projection": [_CONV, {"type": "residual", "shortcut": "projection", "body": _BODY}],
    "concat": [{"type": "concat", "body": [_CONV | {"padding": 1}, {"type": "relu"}]}, _CONV],
}

OPTIMIZERS: dict[str, Table] = {
    "sgd": {"type": "sgd", "learning_rate": 0.1},
    "sgd with momentum": _SGD,
    "sgd with nesterov and weight decay": _SGD | {"nesterov": True, "weight_decay": 0.01},
    "adam": {"type": "adam", "learning_rate": 0.01},
    "adam with weight decay": {"type": "adam", "learning_rate": 0.01, "weight_decay": 0.1},
    "adamw": {"type": "adamw", "learning_rate": 0.01, "weight_decay": 0.1},
    "adagrad": {"type": "adagrad", "learning_rate": 0.01, "weight_decay": 0.01},
}


@dataclasses.dataclass(frozen=True)
class Trial:
    """One network that the backend is to be held against."""

    group: str
    name: str
    workload: Workload
    batch: int


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How a trial went.

    `reason` is empty where the backend agreed with the oracle; `refused` says that it has not got what the
    trial needs, and said so, which is no failure.
    """

    group: str
    name: str
    reason: str
    refused: bool
    checks: int
    worst: float
    """The largest error, as a share of its tolerance."""


def trials(networks: int, seed: int) -> Iterator[Trial]:
    """Every layer, loss and optimizer alone, then `networks` random networks from `seed` on."""
    for name, layers in LAYERS.items():
        ends = any(layer["type"] in ("flatten", "global_avg_pool") for layer in layers)
        tail = [{"type": "linear", "out_features": 3}] if ends else _END
        yield Trial("layer", name, _workload([*layers, *tail], "cross_entropy", _SGD), 4)
    for loss in ("cross_entropy", "mean_squared_error"):
        yield Trial("loss", loss, _workload([*_END], loss, _SGD), 5)
    for name, optimizer in OPTIMIZERS.items():
        layers = [_CONV, {"type": "tanh"}, *_END]
        yield Trial("optimizer", name, _workload(layers, "cross_entropy", optimizer), 3)
    for number in range(seed, seed + networks):
        workload, batch = draw_workload(number)
        yield Trial("random network", f"seed {number}", workload, batch)


def hold(
    adapter: Adapter,
    plan: Plan,
    networks: int,
    seed: int,
    cache_dir: Path,
    progress: Callable[[str], None] = lambda name: None,
) -> list[Verdict]:
    """Holds a backend against the oracle in every trial; the plan's batch is each trial's own.

    Raises
    ------
    BackendUnavailable : from the adapter. Anything else that it raises is the verdict of that trial.
    """
    verdicts = []
    trains = "train" in adapter.info().scenarios
    for trial in trials(networks, seed):
        if trial.group in ("loss", "optimizer") and not trains:
            continue
        progress(f"{trial.group}: {trial.name}")
        one = dataclasses.replace(plan, batch=trial.batch)
        try:
            outcome = verify(adapter, one, trial.workload, cache_dir)
        except BackendUnavailable:
            raise
        except PlanRefused as error:
            verdicts.append(Verdict(trial.group, trial.name, str(error), True, 0, 0.0))
            continue
        except Exception as error:
            line = traceback.format_exception_only(error)[-1].strip()
            verdicts.append(
                Verdict(trial.group, trial.name, f"raised {line}", False, 0, float("inf"))
            )
            continue
        shares = [
            c.error / c.tolerance for c in outcome.checks if c.error is not None and c.tolerance
        ]
        worst = max(shares, default=0.0)
        count = len(outcome.checks)
        verdicts.append(Verdict(trial.group, trial.name, outcome.reason, False, count, worst))
    return verdicts


def _workload(layers: list[Table], loss: str, optimizer: Table) -> Workload:
    return read_workload(
        {"input_shape": _IMAGE, "layers": layers, "loss": loss, "optimizer": optimizer}
    )
