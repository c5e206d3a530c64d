"""What the author of an adapter runs: what a session owes, every layer, loss and optimizer alone, and random networks.

A suite proves what that suite needs; this proves the backend.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import math
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dlbench.contract import Adapter, Plan
from dlbench.errors import BackendUnavailable, ContractError, PlanRefused, UsageError
from dlbench.record.facts import Verdict
from dlbench.spec.decode import nearest
from dlbench.spec.layers import KINDS
from dlbench.spec.network import walk
from dlbench.spec.workload import Workload, read_workload
from dlbench.verify.check import verify
from dlbench.verify.checks.arithmetic import ARITHMETIC
from dlbench.verify.random_networks import draw_workload
from dlbench.verify.sessions.guard import Guarded
from dlbench.verify.sessions.reuse import Once, Reusing
from dlbench.verify.sessions.rules import RULES, check_rule

Table = dict[str, Any]

_OF_TRAINING = ("loss", "optimizer")

_IMAGE = [2, 9, 11]
_CONV: Table = {"type": "conv2d", "out_channels": 4, "kernel": 3}
_BODY: list[Table] = [
    {"type": "conv2d", "out_channels": 7, "kernel": 3, "stride": 2, "padding": 1},
    {"type": "batch_norm"},
]
_END: list[Table] = [{"type": "flatten"}, {"type": "linear", "out_features": 3}]
_SGD: Table = {"type": "sgd", "learning_rate": 0.1}
_MOMENTUM = _SGD | {"momentum": 0.9}

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
    "avg_pool that counts padding, in ceil mode": [
        _CONV,
        {
            "type": "avg_pool",
            "kernel": 3,
            "stride": [2, 3],
            "padding": [1, 0],
            "ceil_mode": True,
            "count_include_pad": True,
        },
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
    "concat": [
        {
            "type": "concat",
            "body": [_CONV | {"padding": 1, "out_channels": 2}, {"type": "relu"}],
        },
        _CONV,
    ],
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
    "sgd": _SGD,
    "sgd with momentum": _MOMENTUM,
    "sgd with nesterov and weight decay": _MOMENTUM | {"nesterov": True, "weight_decay": 0.01},
    "adam": {"type": "adam", "learning_rate": 0.01},
    "adam with weight decay": {"type": "adam", "learning_rate": 0.01, "weight_decay": 0.1},
    "adamw": {"type": "adamw", "learning_rate": 0.01, "weight_decay": 0.1},
    "adagrad": {"type": "adagrad", "learning_rate": 0.01, "weight_decay": 0.01},
    "rmsprop": {"type": "rmsprop", "learning_rate": 0.001, "weight_decay": 0.01},
    "rmsprop with momentum": {"type": "rmsprop", "learning_rate": 0.001, "momentum": 0.9},
    "adadelta": {"type": "adadelta", "learning_rate": 1.0, "weight_decay": 0.01},
    "sgd, biases and norms without decay": _MOMENTUM | _WEIGHTS_ALONE,
    "adamw, biases and norms without decay": {"type": "adamw", "learning_rate": 0.01}
    | _WEIGHTS_ALONE,
}


class Backend:
    """A backend in this process, with what its trials share."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter
        self.sessions = Reusing(adapter)
        self.once = Once()


@dataclasses.dataclass(frozen=True)
class Trial:
    """One network that the backend is to be held against, in all that verification compares; in the group ``session``
    by one of `dlbench.verify.sessions.rules`."""

    group: str
    name: str
    workload: Workload
    batch: int

    @property
    def label(self) -> str:
        """``layer:conv2d with stride``, as it is chosen by."""
        return f"{self.group}:{self.name}"


def trials(networks: int, seed: int) -> Iterator[Trial]:
    """What a session owes, every layer, loss and optimizer alone, then `networks` random networks from `seed` on."""
    for name in RULES:
        layers = [_CONV, {"type": "tanh"}, *_END]
        yield Trial("session", name, _workload(layers, "cross_entropy", _MOMENTUM), 4)
    for name, layers in LAYERS.items():
        ends = any(layer["type"] in ("flatten", "global_avg_pool") for layer in layers)
        tail = [{"type": "linear", "out_features": 3}] if ends else _END
        yield Trial("layer", name, _workload([*layers, *tail], "cross_entropy", _SGD), 4)
    for loss in ("cross_entropy", "mean_squared_error"):
        yield Trial("loss", loss, _workload([*_END], loss, _SGD), 5)
    for name, optimizer in OPTIMIZERS.items():
        # one network for all of them, and one with a parameter of every role where roles make a difference
        norm = [] if optimizer.get("decay_biases_and_norms", True) else [{"type": "batch_norm"}]
        layers = [_CONV, {"type": "tanh"}, *norm, *_END]
        yield Trial("optimizer", name, _workload(layers, "cross_entropy", optimizer), 3)
    for number in range(seed, seed + networks):
        workload, batch = draw_workload(number)
        yield Trial("random network", f"seed {number}", workload, batch)


def example_of(group: str, word: str) -> Trial:
    """The trial that shows what a word of a suite means: of this group the one that is called so, else for a layer the
    first whose network has it.

    Raises
    ------
    LookupError : no trial has it.
    """
    members = [trial for trial in trials(0, 0) if trial.group == group]
    kind = KINDS.get(word)
    having = (t for t in members if any(type(n.layer) is kind for n in walk(t.workload.nodes)))
    found = next((t for t in members if t.name == word), None) or next(having, None)
    if found is None:
        raise LookupError(f"no trial of {group} has {word}")
    return found


def chosen_trials(networks: int, seed: int, only: Sequence[str]) -> list[Trial]:
    """The trials that one of these words names, all where there are none: a group (``layer``), a trial
    (``layer:max_pool``), or a pattern of either (``layer:conv2d*``).

    Raises
    ------
    UsageError : a word that names none.
    """
    every = list(trials(networks, seed))
    labels = [trial.label for trial in every]
    for word in only:
        if not any(_names(word, label) for label in labels):
            raise UsageError(f"--only {word}: no such trial; {nearest(word, labels)}")
    return [t for t in every if not only or any(_names(word, t.label) for word in only)]


def is_of_training(trial: Trial) -> bool:
    """Whether a trial asks nothing of a backend that only infers."""
    return any(_names(word, trial.label) for word in _OF_TRAINING)


def _names(word: str, name: str) -> bool:
    return word == name.partition(":")[0] or fnmatch.fnmatchcase(name, word)


def judge(backend: Backend, plan: Plan, trial: Trial, cache_dir: Path) -> Verdict:
    """Holds a backend against the oracle in one trial, whose batch takes the place of the plan's.

    Raises
    ------
    BackendUnavailable : from the adapter. Anything else that it raises is the verdict.
    """
    plan, told = dataclasses.replace(plan, batch=trial.batch), (trial.group, trial.name)
    try:
        verdict = _verdict(backend, plan, trial, cache_dir)
    except BackendUnavailable:
        raise
    except PlanRefused as error:
        verdict = Verdict(*told, str(error), refused=True)
    except ContractError as error:
        verdict = Verdict(*told, str(error))
    except Exception as error:
        line = traceback.format_exception_only(error)[-1].strip()
        frames = _own_frames(error)
        called = f" (in {frames[0].name})" if frames else ""
        trace = "".join(traceback.format_list(frames))
        verdict = Verdict(*told, f"raised {line}{called}", trace=trace)
    if verdict.reason:
        backend.sessions.forget()
    return verdict


def _verdict(backend: Backend, plan: Plan, trial: Trial, cache_dir: Path) -> Verdict:
    if trial.group == "session":
        adapter = Guarded(backend.adapter)
        checks = tuple(check_rule(trial.name, adapter, plan, trial.workload, cache_dir))
        reason = next((check.sentence() for check in checks if not check.passed), "")
    else:
        # at one batch, since others have their own; each further one is a network more to compile
        outcome = verify(
            backend.sessions,
            plan,
            trial.workload,
            cache_dir,
            once=backend.once,
            small_batch=trial.batch,
        )
        checks, reason = outcome.checks, outcome.reason
    # a probe of arithmetic allows one rounding and no more, which many come near
    measured = [c for c in checks if not c.name.startswith(ARITHMETIC)]
    shares = [c.error / c.tolerance for c in measured if c.error is not None and c.tolerance]
    worst = max(shares, default=0.0)
    told = trial.group, trial.name
    return Verdict(*told, reason, checks=len(checks), worst=worst if math.isfinite(worst) else None)


def _own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames of an error from the adapter's member that was called on."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [Path(__file__).parent in Path(frame.filename).parents for frame in frames]
    last = max((place for place, is_ours in enumerate(ours) if is_ours), default=-1)
    return list(frames[last + 1 :])


def _workload(layers: list[Table], loss: str, optimizer: Table) -> Workload:
    return read_workload(
        {"input_shape": _IMAGE, "layers": layers, "loss": loss, "optimizer": optimizer}
    )
