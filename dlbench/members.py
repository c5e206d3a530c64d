"""Holds what somebody wrote as a backend against the contract, by its form: which members there are, whether they can
be called as the core calls them, and what `info` gives. What they compute is for `dlbench.verify` to see.

Each error names the member, what it is, and what it should be, with the nearest name where one is missing.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

from dlbench.contract import (
    Adapter,
    AdapterBase,
    BackendInfo,
    Device,
    Plan,
    Session,
    SessionBase,
    Span,
    Track,
)
from dlbench.errors import ContractError
from dlbench.spec.decode import nearest
from dlbench.spec.network import walk
from dlbench.spec.workload import Weights, Workload

Call = tuple[int, tuple[str, ...]]
"""How a member is called: with so many arguments by position, and these by name."""

_ADAPTER: Mapping[str, Call] = {"info": (0, ()), "open": (3, ())}
_MAY_BE_LEFT_OUT: Mapping[str, Call] = {
    "environment": (1, ()),
    "start": (1, ()),
    "loader": (2, ()),
}
_INFERS: Mapping[str, Call] = {
    "upload": (2, ()),
    "infer": (1, ()),
    "download": (1, ()),
    "synchronize": (0, ()),
}
_TRAINS: Mapping[str, Call] = {
    **_INFERS,
    "train_step": (1, ()),
    "weights": (0, ()),
    "load": (1, ("keep_optimizer",)),
}
_RANKS: Mapping[str, Call] = {"rank_weights": (0, ()), "alone_ns": (2, ())}
_WORDS = {
    "open": "plan, workload, weights",
    "environment": "plan",
    "start": "plan",
    "loader": "plan, batches",
    "upload": "inputs, targets",
    "infer": "batch",
    "train_step": "batch",
    "download": "result",
    "load": "weights, *, keep_optimizer=False",
    "alone_ns": "batch, steps",
}


def adapter_of(found: Any, name: str) -> AdapterBase:
    """An adapter of what `name` names; a class that does not derive from `AdapterBase` gets its defaults behind its
    own.

    Raises
    ------
    ContractError : it is no class, lacks `info` or `open`, or these cannot be called.
    """
    if not isinstance(found, type):
        kind = type(found)
        is_one = all(callable(getattr(found, member, None)) for member in _ADAPTER)
        hint = f"; name its class, like {kind.__module__}:{kind.__name__}" if is_one else ""
        should = "a class with info and open"
        raise ContractError(f"{name} is {described(found)}, should be {should}{hint}")
    if not issubclass(found, AdapterBase):
        found = type(found.__name__, (found, AdapterBase), {})
    try:
        adapter: AdapterBase = found()
    except TypeError as error:
        raise ContractError(f"{name} cannot be made without arguments: {error}") from error
    for member in _ADAPTER:
        own = getattr(adapter, member)
        if own is None or getattr(own, "__func__", None) is getattr(AdapterBase, member):
            raise ContractError(_missing(f"class {name}", member, adapter))
    for member, call in {**_ADAPTER, **_MAY_BE_LEFT_OUT}.items():
        _check_call(f"class {name}", member, getattr(adapter, member), call)
    return adapter


def info_of(adapter: Adapter) -> BackendInfo:
    """What a backend says that it is.

    Raises
    ------
    ContractError : no `BackendInfo`, or one with something else in it than it should have.
    BackendUnavailable : from the adapter.
    """
    info: Any = adapter.info()
    if not isinstance(info, BackendInfo):
        raise ContractError(
            f"info() gives {described(info)}, should give a dlbench.contract.BackendInfo"
        )
    if not _is_text(info.version):
        raise ContractError(f"info().version is {described(info.version)}, should be a text")
    _check_items("devices", info.devices, Device, "of dlbench.contract.Device")
    for name in ("modes", "precisions", "scenarios"):
        _check_items(name, getattr(info, name), str, "of texts")
    for device in info.devices:
        if not _is_text(device.name):
            raise ContractError(
                f"info() has a Device whose name is {described(device.name)}, should be like 'cpu' or 'cuda:0'"
            )
    if "infer" not in info.scenarios or set(info.scenarios) - {"infer", "train"}:
        told = ", ".join(map(repr, info.scenarios)) or "nothing"
        raise ContractError(
            f"info().scenarios is {told}, should be 'train' and 'infer', or 'infer' alone"
        )
    worlds: Any = info.worlds
    if isinstance(worlds, str) or not isinstance(worlds, Sequence) or 1 not in worlds:
        raise ContractError(
            f"info().worlds is {described(worlds)}, should be a tuple of whole numbers, 1 among them"
        )
    if not isinstance(info.freezes, bool):
        raise ContractError(f"info().freezes is {described(info.freezes)}, should be True or False")
    for name in ("libraries", "absent"):
        if not isinstance(getattr(info, name), Mapping):
            given = described(getattr(info, name))
            raise ContractError(f"info().{name} is {given}, should be a dictionary of texts")
    return info


def open_session(adapter: Adapter, plan: Plan, workload: Workload, weights: Weights) -> Session:
    """A session, with all the members that a plan of its scenario calls for.

    Raises
    ------
    ContractError : it lacks one, or one cannot be called.
    BackendUnavailable, PlanRefused : from the adapter, as anything else that it raises.
    """
    session: Any = adapter.open(plan, workload, weights)
    if session is None:
        raise ContractError("open() gives None, should give a session")
    trains = plan.scenario == "train"
    what = f"session {type(session).__name__}"
    ranks = _RANKS if plan.world > 1 else {}
    for member, call in {**(_TRAINS if trains else _INFERS), **ranks}.items():
        if getattr(session, member, None) is None:
            raise ContractError(_missing(what, member, session))
        _check_call(what, member, getattr(session, member), call)
    if trains and not _is_number(getattr(session, "learning_rate", None)):
        if not hasattr(session, "learning_rate"):
            raise ContractError(_missing(what, "learning_rate", session))
        rate = described(session.learning_rate)
        raise ContractError(f"learning_rate of {what} is {rate}, should be a number")
    if not isinstance(getattr(session, "facts", None), Mapping):
        if not hasattr(session, "facts"):
            raise ContractError(_missing(what, "facts", session))
        given = described(session.facts)
        raise ContractError(f"facts of {what} is {given}, should be a dictionary")
    return cast(Session, session)


def offers_spans(session: Any) -> bool:
    """Whether a session may say what its steps spend on each layer; a mode may refuse it still."""
    spans = getattr(session, "spans", None)
    return spans is not None and getattr(spans, "__func__", None) is not SessionBase.spans


def check_spans(spans: Sequence[Any], workload: Workload) -> None:
    """Holds what a session says of its steps against the contract.

    Raises
    ------
    ContractError : something else than a `Span`, one of a layer or a pass that there is not, one that takes less than
        no time; two of a step that overlap.
    """
    known = {node.name for node in walk(workload.nodes)}
    ends: dict[int, int] = {}
    for span in spans:
        if not isinstance(span, Span):
            raise ContractError(f"spans() has {described(span)}, should have dlbench.contract.Span")
        shown = f"a span of step {span.step} ({'+'.join(span.layers) or span.name})"
        if strange := [name for name in span.layers if name not in known]:
            raise ContractError(
                f"{shown} names a layer {strange[0]!r}: {nearest(strange[0], sorted(known))}"
            )
        if span.track not in get_args(Track):
            raise ContractError(
                f"{shown} is of {span.track!r}, should be {', '.join(get_args(Track))}"
            )
        if span.took_ns < 0 or span.began_ns < 0 or span.step < 0:
            raise ContractError(f"{shown} begins or lasts less than 0")
    for span in sorted(spans, key=lambda each: (each.step, each.began_ns, each.took_ns)):
        if span.began_ns < ends.get(span.step, 0):
            raise ContractError(
                f"a span of step {span.step} ({'+'.join(span.layers) or span.name}) overlaps the one before it"
            )
        ends[span.step] = span.began_ns + span.took_ns


def described(value: Any) -> str:
    """What a thing is, short enough for a sentence: ``None``, ``a str ('cpu')``, ``an object of Session``."""
    if value is None:
        return "None"
    kind = type(value)
    if isinstance(value, str | int | float | bool):
        return f"a {kind.__name__} ({value!r:.40})"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if callable(value):
        return f"a function ({getattr(value, '__name__', kind.__name__)})"
    if kind.__module__ == "builtins":
        return f"a {kind.__name__}"
    return f"an object of {kind.__name__}"


def nearest_member(thing: Any, member: str) -> str:
    """The hint of an error about a member that is missing: the nearest that is there."""
    there = [name for name in dir(thing) if not name.startswith("__") and name != member]
    hint = nearest(member, there) if there else ""
    return hint if hint.startswith("did you mean") else ""


def _missing(what: str, member: str, thing: Any) -> str:
    """That a member is not there, or None; how it is called; and the nearest name."""
    is_none = hasattr(thing, member) and getattr(thing, member) is None
    known = {**_ADAPTER, **_TRAINS, **_RANKS}
    call = f"({_WORDS.get(member, '')})" if member in known else ""
    hint = nearest_member(thing, member)
    said = f"{member}{call} of {what} is {'None' if is_none else 'missing'}"
    return f"{said}; {hint}" if hint else said


def _check_call(what: str, member: str, function: Any, call: Call) -> None:
    """Whether a member can be called as the core does."""
    words = f"{member}({_WORDS.get(member, '')})"
    if not callable(function):
        raise ContractError(f"{member} of {what} is {described(function)}, should be {words}")
    count, names = call
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        # written in C, which tells nothing
        return
    try:
        signature.bind(*[None] * count, **dict.fromkeys(names))
    except TypeError as error:
        shown = f"{member}{signature}"
        raise ContractError(f"{member} of {what} is {shown}, should be {words}: {error}") from None


def _check_items(name: str, items: Any, kind: type, words: str) -> None:
    if isinstance(items, str) or not isinstance(items, Sequence):
        raise ContractError(f"info().{name} is {described(items)}, should be a tuple {words}")
    for item in items:
        if not isinstance(item, kind):
            raise ContractError(f"info().{name} has {described(item)}, should be a tuple {words}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_number(value: Any) -> bool:
    """Whether it can be multiplied like one; frameworks have scalars of their own."""
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return not isinstance(value, str)
