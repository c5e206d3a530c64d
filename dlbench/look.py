"""Looks at what a backend is, in a process of its own: a framework that is missing or broken is data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from dlbench import plugins
from dlbench.conversation import Status
from dlbench.process import Launch, run_worker, worker_environment


@dataclasses.dataclass(frozen=True)
class Found:
    """One backend, as seen here.

    Attributes
    ----------
    status : ``ok``; ``skipped`` when it cannot be used here; or how looking at it went wrong.
    reason, remedy : why it is not ``ok``, and what would help.
    output : traceback and last output of a failure.
    version, mode, modes, libraries : as in `dlbench.contract.BackendInfo`.
    devices : name and description of each.
    uuids : by name, of those that have one.
    facts : what a session observed (``threads``, …); empty unless one was opened.
    default_device : device of the row of a backend that cannot be used.
    seconds : wall time of the look.
    """

    status: Status
    reason: str = ""
    remedy: str = ""
    output: str = ""
    version: str = ""
    mode: str = ""
    modes: tuple[str, ...] = ()
    libraries: dict[str, str] = dataclasses.field(default_factory=dict)
    devices: tuple[tuple[str, str], ...] = ()
    uuids: dict[str, str] = dataclasses.field(default_factory=dict)
    facts: dict[str, str | int] = dataclasses.field(default_factory=dict)
    default_device: str = "cpu"
    seconds: float = 0.0


def look_at(
    backends: Sequence[str] | None = None,
    *,
    threads: int = 1,
    open_session: bool = True,
    limit_s: float = 60.0,
) -> dict[str, Found]:
    """Looks at backends one after the other.

    Parameters
    ----------
    backends : names, or ``module:Class``; None for all that are installed.
    threads : CPU threads of the session.
    open_session : whether a small session is opened, to see what it observes.
    limit_s : the longest a look may take.

    Raises
    ------
    UsageError : no such backend.
    """
    names = plugins.adapter_names() if backends is None else backends
    return {name: look(name, threads, open_session, limit_s) for name in names}


def look(name: str, threads: int, open_session: bool, limit_s: float) -> Found:
    """Looks at one backend; see `look_at`."""
    job = {
        "job": "look",
        "adapter": plugins.adapter_target(name),
        "open": open_session,
        "threads": threads,
    }
    ended = run_worker(job, Launch(worker_environment(threads, None), limit_s))
    if ended.status != "ok":
        return Found(ended.status, ended.reason, ended.remedy, ended.output, seconds=ended.wall_s)
    seen = ended.result
    if "unavailable" in seen:
        reason, remedy = seen["unavailable"]
        return Found(
            "skipped",
            reason,
            remedy,
            default_device=seen["default_device"],
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
        facts=seen["facts"],
        default_device=seen["default_device"],
        seconds=ended.wall_s,
    )
