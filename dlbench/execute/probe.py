"""Looks at what a backend is, in a process of its own: a framework that is missing or broken is data."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

from dlbench import plugins
from dlbench.plan.backend_status import Found
from dlbench.record.facts import ProbeResult
from dlbench.worker import interpreters
from dlbench.worker.launch import Worker, launch_of, run_worker
from dlbench.worker.measurements import HOME, LOOK
from dlbench.worker.supervisor import Ended


def look_at(
    backends: Sequence[str] | None = None,
    *,
    threads: int = 1,
    open_session: bool = True,
    limit_s: float = 60.0,
    pythons: Mapping[str, str] | None = None,
    on_look: Callable[[str], None] = lambda name: None,
) -> dict[str, Found]:
    """Looks at backends one after the other.

    Parameters
    ----------
    backends : names, or ``module:Class``; None for all that are installed, and those that have an interpreter.
    threads : CPU threads of the session.
    open_session : whether a small session is opened, to see what it observes.
    limit_s : the longest a look may take.
    pythons : interpreters by backend; the others run under this one.
    on_look : told each backend before it is looked at.

    Raises
    ------
    UsageError : no such backend.
    """
    own = pythons or {}
    names = dict.fromkeys((*plugins.adapter_names(), *own)) if backends is None else backends
    found = {}
    for name in names:
        on_look(name)
        found[name] = look(name, threads, open_session, limit_s, own.get(name))
    return found


def look(
    name: str, threads: int, open_session: bool, limit_s: float, python: str | None = None
) -> Found:
    """Looks at one backend, under an interpreter of its own if there is one; see `look_at`."""
    with contextlib.ExitStack() as living:
        return look_and_stay(name, threads, open_session, limit_s, python, living)[0]


def look_and_stay(
    name: str,
    threads: int,
    open_session: bool,
    limit_s: float,
    python: str | None,
    living: contextlib.ExitStack,
) -> tuple[Found, Worker | None]:
    """The same, and the process that has imported the backend, which lives on in `living`; None where it cannot be
    used."""
    target = plugins.adapter_target(name)
    if python is not None and (trouble := interpreters.trouble(name, python)):
        launch = launch_of(name, threads, limit_s)
        home = run_worker(HOME, {"adapter": target}, launch).result
        absent = Found("skipped", trouble.reason, trouble.remedy)
        return (dataclasses.replace(absent, **dataclasses.asdict(home)) if home else absent), None
    with contextlib.ExitStack() as own:
        worker = own.enter_context(Worker(launch_of(name, threads, limit_s, python)))
        asked = {"adapter": target, "open": open_session, "threads": threads}
        found = _found(worker.ask(LOOK, asked), name, python)
        if found.status != "ok":
            return found, None
        living.push(own.pop_all())
        return found, worker


def _found(ended: Ended[ProbeResult], name: str, python: str | None) -> Found:
    seen = ended.result
    if seen is None:
        return Found(ended.status, ended.reason, ended.remedy, ended.output, seconds=ended.wall_s)
    found = functools.partial(
        Found,
        title=seen.declared.title,
        default_device=seen.declared.default_device,
        environment=seen.environment,
        seconds=ended.wall_s,
    )
    if seen.info is None:
        reason, remedy = seen.unavailable or ("", "")
        if python is not None:
            reason = f"{reason} in the interpreter of --python {name}"
            remedy = f"with that interpreter: {remedy}" if remedy else ""
        return found("skipped", reason, remedy)
    return found(
        "ok",
        version=seen.info.version,
        devices=seen.info.devices,
        modes=seen.info.modes,
        precisions=seen.info.precisions,
        scenarios=seen.info.scenarios,
        libraries=seen.info.libraries,
        absent=seen.info.absent,
        facts=seen.facts,
    )
