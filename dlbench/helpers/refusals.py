"""What a backend lacks, in one wording for all: a framework that is not there, a plan or a network that is not
carried out."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from dlbench.contract import Plan
from dlbench.errors import BackendUnavailable, PlanRefused
from dlbench.spec.layers import KINDS
from dlbench.spec.network import Node, walk
from dlbench.spec.training import LOSSES, OPTIMIZERS
from dlbench.spec.workload import Workload

_WORDS: dict[type[Any], str] = {
    kind: word for kinds in (KINDS, LOSSES, OPTIMIZERS) for word, kind in kinds.items()
}


def require(module: str, title: str, remedy: str) -> Any:
    """A framework's module.

    Parameters
    ----------
    module : its name for ``import``.
    title : what people call it.
    remedy : the command that would install it.

    Raises
    ------
    BackendUnavailable : it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        reason = f"{title} is not installed"
        if error.name != module:
            reason = f"{title} cannot be imported ({error})"
        raise BackendUnavailable(reason, remedy) from error
    except (ImportError, OSError) as error:
        raise BackendUnavailable(f"{title} cannot be imported ({error})", remedy) from error


def refuse_unless(
    backend: str,
    plan: Plan,
    workload: Workload | None = None,
    *,
    devices: Sequence[str] | None = None,
    precisions: Sequence[str] = ("fp32",),
    modes: Sequence[str] = ("",),
    has: Collection[type[Any]] | None = None,
    lacks: Iterable[tuple[type[Any], str]] = (),
    worlds: Collection[int] = (1,),
) -> str:
    """Refuses a plan, and a workload where one is given, that asks for more than a backend has.

    Parameters
    ----------
    backend : what the refusal calls it.
    devices : names, or kinds alone, that a plan may ask for; None where the backend looks itself.
    precisions, modes : what a plan may ask for; the first mode is that of a plan without one.
    has : the classes of `dlbench.spec.layers` and `dlbench.spec.training` that it has: layers, losses and optimizers;
        None for all that there are.
    lacks : options that it has not got, each as a class of `has` and the name of a field, which must stay at its
        default.
    worlds : numbers of ranks that a plan may ask for.

    Returns
    -------
    The mode in force.

    Raises
    ------
    PlanRefused : the first thing that is missing, with what there is instead.
    """
    if devices is not None and plan.device not in devices:
        raise PlanRefused(f"{backend} computes on {' or '.join(devices)}, not on {plan.device!r}")
    if plan.precision not in precisions:
        raise PlanRefused(
            f"{backend} computes in {' or '.join(precisions)}, not in {plan.precision!r}"
        )
    if plan.world not in worlds:
        have = "one rank" if set(worlds) == {1} else f"{' or '.join(map(str, worlds))} ranks"
        raise PlanRefused(f"{backend} trains on {have}, not on {plan.world}")
    mode = plan.mode or modes[0]
    if mode not in modes:
        have = "one mode, " if len(modes) == 1 else "the modes "
        named = f"{have}{' and '.join(modes)}" if modes[0] else "one way of executing"
        raise PlanRefused(f"{backend} has {named}; it has no {mode!r}")
    if workload is not None:
        for part in (*(n.layer for n in walk(workload.nodes)), workload.loss, workload.optimizer):
            _refuse_part(backend, part, has, lacks)
    return mode


def no_freeze(node: Node) -> str:
    """What a backend that trains every layer says of one that is frozen."""
    return f"this backend has no freeze: it trains every layer, and {node.name} is frozen"


def _refuse_part(
    backend: str,
    part: Any,
    has: Collection[type[Any]] | None,
    lacks: Iterable[tuple[type[Any], str]],
) -> None:
    kind = type(part)
    if has is not None and kind not in has:
        raise PlanRefused(f"{backend} has no {_WORDS[kind]}")
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}
    for of, option in lacks:
        if of is kind and getattr(part, option) != defaults[option]:
            raise PlanRefused(f"{backend} has no {option} for {_WORDS[kind]}")
