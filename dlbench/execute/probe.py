"""Looks at what a backend is, in a process of its own: a framework that is missing or broken is data."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from dlbench import plugins
from dlbench.plan.backend_status import Found
from dlbench.record.facts import Environment
from dlbench.worker import interpreters
from dlbench.worker.launch import Launch, run_worker, worker_environment


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
    if python is not None and (trouble := interpreters.trouble(name, python)):
        job = {"job": "home", "adapter": plugins.adapter_target(name)}
        known = run_worker(job, Launch(worker_environment(threads, "cpu"), limit_s)).result
        device = known.get("default_device", "cpu")
        return Found("skipped", trouble.reason, trouble.remedy, default_device=device)
    asked: dict[str, Any] = {
        "job": "look",
        "adapter": plugins.adapter_target(name),
        "open": open_session,
        "threads": threads,
    }
    launch = Launch(worker_environment(threads, None), limit_s, python or sys.executable)
    ended = run_worker(asked, launch)
    if ended.status != "ok":
        return Found(ended.status, ended.reason, ended.remedy, ended.output, seconds=ended.wall_s)
    seen = ended.result
    environment = Environment(**seen["environment"])
    if "unavailable" in seen:
        reason, remedy = seen["unavailable"]
        if python is not None:
            reason = f"{reason} in the interpreter of --python {name}"
            remedy = f"with that interpreter: {remedy}" if remedy else ""
        return Found(
            "skipped",
            reason,
            remedy,
            default_device=seen["default_device"],
            environment=environment,
            seconds=ended.wall_s,
        )
    return Found(
        "ok",
        version=seen["version"],
        mode=seen["mode"],
        modes=tuple(seen["modes"]),
        libraries=seen["libraries"],
        devices=tuple((device, description) for device, description in seen["devices"]),
        uuids=seen["uuids"],
        no_gpu=seen["no_gpu"],
        facts=seen["facts"],
        default_device=seen["default_device"],
        environment=environment,
        seconds=ended.wall_s,
    )
