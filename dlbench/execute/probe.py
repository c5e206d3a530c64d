"""Looks at what a backend is, in a process of its own: a framework that is missing or broken is data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dlbench import plugins
from dlbench.contract import BackendInfo
from dlbench.plan.backend_status import Found
from dlbench.record.facts import Environment
from dlbench.worker import interpreters
from dlbench.worker.launch import launch_of, run_worker


def look_at(
    backends: Sequence[str] | None = None,
    *,
    threads: int = 1,
    open_session: bool = True,
    limit_s: float = 60.0,
    pythons: Mapping[str, str] | None = None,
) -> dict[str, Found]:
    """Looks at backends one after the other.

    Parameters
    ----------
    backends : names, or ``module:Class``; None for all that are installed, and those that have an interpreter.
    threads : CPU threads of the session.
    open_session : whether a small session is opened, to see what it observes.
    limit_s : the longest a look may take.
    pythons : interpreters by backend; the others run under this one.

    Raises
    ------
    UsageError : no such backend.
    """
    own = pythons or {}
    names = dict.fromkeys((*plugins.adapter_names(), *own)) if backends is None else backends
    return {name: look(name, threads, open_session, limit_s, own.get(name)) for name in names}


def look(
    name: str, threads: int, open_session: bool, limit_s: float, python: str | None = None
) -> Found:
    """Looks at one backend, under an interpreter of its own if there is one; see `look_at`."""
    target = plugins.adapter_target(name)
    if python is not None and (trouble := interpreters.trouble(name, python)):
        launch = launch_of(name, threads, limit_s)
        known = run_worker({"job": "home", "adapter": target}, launch).result
        return Found("skipped", trouble.reason, trouble.remedy, **known)
    asked: dict[str, Any] = {"job": "look", "adapter": target}
    asked |= {"open": open_session, "threads": threads}
    ended = run_worker(asked, launch_of(name, threads, limit_s, python))
    if ended.status != "ok":
        return Found(ended.status, ended.reason, ended.remedy, ended.output, seconds=ended.wall_s)
    seen = ended.result
    known = {
        "title": seen["title"],
        "default_device": seen["default_device"],
        "environment": Environment(**seen["environment"]),
        "seconds": ended.wall_s,
    }
    if "unavailable" in seen:
        reason, remedy = seen["unavailable"]
        if python is not None:
            reason = f"{reason} in the interpreter of --python {name}"
            remedy = f"with that interpreter: {remedy}" if remedy else ""
        return Found("skipped", reason, remedy, **known)
    info = msgspec.convert(seen["info"], BackendInfo)
    return Found(
        "ok",
        version=info.version,
        devices=info.devices,
        modes=info.modes,
        precisions=info.precisions,
        scenarios=info.scenarios,
        libraries=info.libraries,
        absent=info.absent,
        facts=seen["facts"],
        **known,
    )
