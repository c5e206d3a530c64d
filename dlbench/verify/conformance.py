"""What the author of an adapter runs: every layer, loss and optimizer alone, and random networks of them.

A suite proves what that suite needs; this proves the backend.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dlbench.contract import Adapter, Plan
from dlbench.errors import BackendUnavailable, PlanRefused, UsageError
from dlbench.spec.decode import nearest
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
    "conv2d with uneven padding": [_CONV | {"padding": [[0, 2], [1, 0]], "kernel": [4, 3]}],
    "conv2d with dilation": [_CONV | {"dilation": [2, 3], "padding": 1}],
    "conv2d without bias": [_CONV | {"bias": False}],
    "batch_norm": [_CONV, {"type": "batch_norm"}],
    "batch_norm of features": [
        *_END[:1],
        {"type": "linear", "out_features": 5},
        {"type": "tanh"},
        {"type": "batch_norm"},
    ],
    "batch_norm behind a flatten": [_CONV, *_END[:1], {"type": "batch_norm"}],
    "relu": [_CONV, {"type": "relu"}],
    "leaky_relu": [_CONV, {"type": "leaky_relu"}],
    "sigmoid": [_CONV, {"type": "sigmoid"}],
    "tanh": [_CONV, {"type": "tanh"}],
    "max_pool": [_CONV, {"type": "max_pool", "kernel": 2}],
    "max_pool, overlapping": [_CONV, {"type": "max_pool", "kernel": 3, "stride": 2, "padding": 1}],
    "max_pool in ceil mode": [
        _CONV,
        {"type": "max_pool", "kernel": [2, 3], "stride": [2, 4], "ceil_mode": True},
    ],
    "max_pool with uneven padding": [
        _CONV,
        {"type": "max_pool", "kernel": 3, "stride": 2, "padding": [[0, 1], [2, 1]]},
    ],
    "avg_pool": [_CONV, {"type": "avg_pool", "kernel": [2, 3]}],
    "avg_pool, overlapping": [_CONV, {"type": "avg_pool", "kernel": 3, "stride": 2, "padding": 1}],
    "avg_pool in ceil mode": [
        _CONV,
        {"type": "avg_pool", "kernel": [2, 3], "stride": [2, 3], "padding": 1, "ceil_mode": True},
    ],
    "avg_pool that counts padding": [
        _CONV,
        {"type": "avg_pool", "kernel": 3, "stride": 2, "padding": 1, "count_include_pad": True},
    ],
    "avg_pool with uneven padding": [
        _CONV,
        {"type": "avg_pool", "kernel": 3, "stride": 2, "padding": [[0, 1], [2, 1]]},
    ],
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
    "concat of bodies": [
        {
            "type": "concat",
            "bodies": [
                [_CONV | {"kernel": 1}, {"type": "relu"}],
                [_CONV | {"padding": 1, "out_channels": 3}],
                [{"type": "max_pool", "kernel": 3, "stride": 1, "padding": 1}],
            ],
        },
        _CONV,
    ],
}
_WEIGHTS_ALONE: Table = {"weight_decay": 0.1, "decay_biases_and_norms": False}

OPTIMIZERS: dict[str, Table] = {
    "sgd": {"type": "sgd", "learning_rate": 0.1},
    "sgd with momentum": _SGD,
    "sgd with nesterov and weight decay": _SGD | {"nesterov": True, "weight_decay": 0.01},
    "adam": {"type": "adam", "learning_rate": 0.01},
    "adam with weight decay": {"type": "adam", "learning_rate": 0.01, "weight_decay": 0.1},
    "adamw": {"type": "adamw", "learning_rate": 0.01, "weight_decay": 0.1},
    "adagrad": {"type": "adagrad", "learning_rate": 0.01, "weight_decay": 0.01},
    "rmsprop": {"type": "rmsprop", "learning_rate": 0.001, "weight_decay": 0.01},
    "rmsprop with momentum": {"type": "rmsprop", "learning_rate": 0.001, "momentum": 0.9},
    "adadelta": {"type": "adadelta", "learning_rate": 1.0, "weight_decay": 0.01},
    "sgd, biases and norms without decay": _SGD | _WEIGHTS_ALONE,
    "adamw, biases and norms without decay": {"type": "adamw", "learning_rate": 0.01}
    | _WEIGHTS_ALONE,
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
    trace: str = ""
    """Where the backend raised something: its own frames, the innermost last."""


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
        if not optimizer.get("decay_biases_and_norms", True):
            layers.insert(2, {"type": "batch_norm"})
        yield Trial("optimizer", name, _workload(layers, "cross_entropy", optimizer), 3)
    for number in range(seed, seed + networks):
        workload, batch = draw_workload(number)
        yield Trial("random network", f"seed {number}", workload, batch)


def chosen_trials(networks: int, seed: int, only: Sequence[str]) -> list[Trial]:
    """The trials that one of these words names, all where there are none: a group (``layer``), a trial
    (``layer:max_pool``), or a pattern of either (``layer:conv2d*``).

    Raises
    ------
    UsageError : a word that names none.
    """
    every = list(trials(networks, seed))
    names = {trial: f"{trial.group}:{trial.name}" for trial in every}
    for word in only:
        if not any(_names(word, name) for name in names.values()):
            raise UsageError(f"--only {word}: no such trial; {nearest(word, list(names.values()))}")
    return [t for t in every if not only or any(_names(word, names[t]) for word in only)]


def _names(word: str, name: str) -> bool:
    return word == name.partition(":")[0] or fnmatch.fnmatchcase(name, word)


def hold(
    adapter: Adapter,
    plan: Plan,
    tried: Sequence[Trial],
    cache_dir: Path,
    progress: Callable[[str], None] = lambda name: None,
    *,
    fail_fast: bool = False,
) -> list[Verdict]:
    """Holds a backend against the oracle in every trial; the plan's batch is each trial's own.

    Parameters
    ----------
    progress : told each trial as it begins, and one that failed at once.
    fail_fast : whether the first trial that fails is the last.

    Raises
    ------
    BackendUnavailable : from the adapter. Anything else that it raises is the verdict of that trial.
    """
    verdicts: list[Verdict] = []
    trains = "train" in adapter.info().scenarios
    tried = [trial for trial in tried if trains or trial.group not in ("loss", "optimizer")]
    for number, trial in enumerate(tried, 1):
        progress(f"{number} of {len(tried)}, {trial.group}: {trial.name}")
        verdict = _verdict(adapter, dataclasses.replace(plan, batch=trial.batch), trial, cache_dir)
        verdicts.append(verdict)
        if verdict.reason and not verdict.refused:
            progress(f"✗ {trial.group}, {trial.name}: {verdict.reason}")
            if fail_fast:
                break
    return verdicts


def _verdict(adapter: Adapter, plan: Plan, trial: Trial, cache_dir: Path) -> Verdict:
    told = trial.group, trial.name
    try:
        outcome = verify(adapter, plan, trial.workload, cache_dir)
    except BackendUnavailable:
        raise
    except PlanRefused as error:
        return Verdict(*told, str(error), True, 0, 0.0)
    except Exception as error:
        line = traceback.format_exception_only(error)[-1].strip()
        frames = _own_frames(error)
        called = f" (in {frames[0].name})" if frames else ""
        trace = "".join(traceback.format_list(frames))
        return Verdict(*told, f"raised {line}{called}", False, 0, math.inf, trace)
    shares = [c.error / c.tolerance for c in outcome.checks if c.error is not None and c.tolerance]
    worst = max(shares, default=0.0)
    return Verdict(*told, outcome.reason, False, len(outcome.checks), worst)


def _own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames of an error from the adapter's member that was called on."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [Path(frame.filename).parent == Path(__file__).parent for frame in frames]
    last = max((place for place, is_ours in enumerate(ours) if is_ours), default=-1)
    return list(frames[last + 1 :])


def _workload(layers: list[Table], loss: str, optimizer: Table) -> Workload:
    return read_workload(
        {"input_shape": _IMAGE, "layers": layers, "loss": loss, "optimizer": optimizer}
    )
