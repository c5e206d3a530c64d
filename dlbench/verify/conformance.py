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

from dlbench.contract import Adapter, Plan
from dlbench.errors import BackendUnavailable, ContractError, PlanRefused, UsageError
from dlbench.record.facts import Check, Verdict
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
from dlbench.verify.single_parts import (
    CONV,
    END,
    FROZEN,
    IMAGE,
    LAYERS,
    LOSSES,
    MOMENTUM,
    OPTIMIZERS,
    SGD,
    SHRINKING,
    Table,
)

_OF_TRAINING = ("loss", "optimizer", "freeze")


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


def trials(networks: int, seed: int, freezes: bool = False) -> Iterator[Trial]:
    """What a session owes, every layer, loss and optimizer alone, frozen layers, then `networks` random networks from
    `seed` on, in some of which layers are frozen if `freezes`."""
    for name in RULES:
        layers = [CONV, {"type": "tanh"}, *END]
        yield Trial("session", name, _workload(layers, "cross_entropy", MOMENTUM), 4)
    for name, layers in LAYERS.items():
        ends = any(layer["type"] in ("flatten", "global_avg_pool") for layer in layers)
        tail = [{"type": "linear", "out_features": 3}] if ends else END
        yield Trial("layer", name, _workload([*layers, *tail], "cross_entropy", SGD), 4)
    for name, loss in LOSSES.items():
        yield Trial("loss", name, _workload([*END], loss, SGD), 5)
    for name, optimizer in OPTIMIZERS.items():
        # one network for all of them, and one with a parameter of every role where roles make a difference
        norm = [] if optimizer.get("decay_biases_and_norms", True) else [{"type": "batch_norm"}]
        layers = [CONV, {"type": "tanh"}, *norm, *END]
        yield Trial("optimizer", name, _workload(layers, "cross_entropy", optimizer), 3)
    for name, layers in FROZEN.items():
        yield Trial("freeze", name, _workload([*layers, *END], "cross_entropy", SHRINKING), 4)
    for number in range(seed, seed + networks):
        workload, batch = draw_workload(number, freezes=freezes)
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


def chosen_trials(
    networks: int, seed: int, only: Sequence[str], freezes: bool = False
) -> list[Trial]:
    """The `trials` that one of these words names, all where there are none: a group (``layer``), a trial
    (``layer:max_pool``), or a pattern of either (``layer:conv2d*``).

    Raises
    ------
    UsageError : a word that names none.
    """
    every = list(trials(networks, seed, freezes))
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
        checks = _ruled(backend.adapter, plan, trial, cache_dir)
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


def _ruled(adapter: Adapter, plan: Plan, trial: Trial, cache_dir: Path) -> tuple[Check, ...]:
    """Tries a rule of sessions by sgd with momentum, whose state shows more, or without it where that is refused."""
    workload = trial.workload
    plain = read_workload(workload.to_table() | {"optimizer": SGD})
    try:
        return tuple(check_rule(trial.name, Guarded(adapter), plan, workload, cache_dir))
    except PlanRefused:
        return tuple(check_rule(trial.name, Guarded(adapter), plan, plain, cache_dir))


def _own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames of an error from the adapter's member that was called on."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [Path(__file__).parent in Path(frame.filename).parents for frame in frames]
    last = max((place for place, is_ours in enumerate(ours) if is_ours), default=-1)
    return list(frames[last + 1 :])


def _workload(layers: list[Table], loss: str | Table, optimizer: Table) -> Workload:
    return read_workload(
        {"input_shape": IMAGE, "layers": layers, "loss": loss, "optimizer": optimizer}
    )
