"""Looks at what a backend is, in a process of its own: a framework that is missing or broken is data."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from dlbench import plugins
from dlbench.environments.recipes import RECIPES
from dlbench.host.machine import usable_cores
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
    """Looks at backends.

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
    with contextlib.ExitStack() as living:
        looks = look_and_stay(tuple(names), threads, open_session, limit_s, own, living, on_look)
        for name, seen, worker in looks:
            found[name] = seen
            if worker is not None:
                worker.close()
    return found


def look(
    name: str, threads: int, open_session: bool, limit_s: float, python: str | None = None
) -> Found:
    """Looks at one backend, under an interpreter of its own if there is one; see `look_at`."""
    return look_at(
        [name],
        threads=threads,
        open_session=open_session,
        limit_s=limit_s,
        pythons={} if python is None else {name: python},
    )[name]


def look_and_stay(
    names: Sequence[str],
    threads: int,
    open_session: bool,
    limit_s: float,
    pythons: Mapping[str, str],
    living: contextlib.ExitStack,
    on_look: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, Found, Worker | None]]:
    """The same, with the process that has imported each backend, which lives on in `living`; None where it cannot be
    used. As many start at once as there are cores: a start keeps one busy. The next starts as soon as any is over. What
    their `environment` has not from the user it has from here."""
    looks = [
        _Look(name, threads, open_session, limit_s, pythons.get(name), living, environment or {})
        for name in names
    ]
    stopped, stop = os.pipe()
    try:
        with ThreadPoolExecutor(max(1, usable_cores())) as pool:
            try:
                outcomes = [pool.submit(look.outcome, stopped) for look in looks]
                for name, outcome in zip(names, outcomes, strict=True):
                    on_look(name)
                    yield name, *outcome.result()
            finally:
                os.write(stop, b"!")
                pool.shutdown(cancel_futures=True)
    finally:
        os.close(stopped)
        os.close(stop)


class _Look:
    """A look at one backend."""

    def __init__(
        self,
        name: str,
        threads: int,
        open_session: bool,
        limit_s: float,
        python: str | None,
        living: contextlib.ExitStack,
        environment: Mapping[str, str],
    ) -> None:
        self._name, self._python = name, python
        target = plugins.adapter_target(name)
        self._asked = {"adapter": target, "open": open_session, "threads": threads}
        self._without = launch_of(name, threads, limit_s)
        launch = launch_of(name, threads, limit_s, python)
        merged = {**environment, **launch.environment}
        self._launch = dataclasses.replace(launch, environment=merged)
        self._living = living

    def outcome(self, stop: int) -> tuple[Found, Worker | None]:
        """What is seen, and the process; it is ended as soon as there is something to read from `stop`."""
        python = self._python
        trouble = None if python is None else interpreters.trouble(self._name, python)
        if trouble:
            home = run_worker(HOME, self._asked, self._without, stop=stop).result
            absent = Found("skipped", trouble.reason, trouble.remedy)
            return (
                dataclasses.replace(absent, **dataclasses.asdict(home)) if home else absent
            ), None
        worker = self._living.enter_context(Worker(self._launch))
        found = _found(worker.ask(LOOK, self._asked, stop=stop), self._name, python)
        if found.status != "ok":
            worker.close()
            return found, None
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
        if python is None:
            remedy = _or_environment(name, remedy)
        else:
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
        worlds=seen.info.worlds,
        freezes=seen.info.freezes,
        facts=seen.facts,
    )


def _or_environment(name: str, remedy: str) -> str:
    """What would help, with the command that makes an environment of the backend where it is its framework that is
    missing."""
    recipe = RECIPES.get(name)
    if recipe is None or importlib.util.find_spec(recipe.module) is not None:
        return remedy
    made = f"dlbench env create {name}"
    return f"{remedy} or {made}" if remedy not in ("", made) else made
