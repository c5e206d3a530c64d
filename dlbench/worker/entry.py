"""The process that a backend runs in: takes a job, does it, answers, and waits for the next.

It imports the standard library and NumPy only, and whatever the job's adapter brings. Whatever the adapter
raises becomes an answer; what kills the process is the runner's to tell.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, NoReturn

from dlbench import plugins
from dlbench.errors import BackendUnavailable, ContractError, PlanRefused
from dlbench.worker import protocol
from dlbench.worker.phases import Phases

_TRACE_KEPT = 4096
_OUT_OF_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")


def main(channel: int, started_ns: int) -> NoReturn:
    """Does the jobs that come through `channel` (a socket's descriptor), one after the other, until the runner is gone
    or one went wrong; `started_ns` is when this process began."""
    os.set_inheritable(channel, False)
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(channel, jobs), daemon=True).start()

    def tell(event: Mapping[str, Any]) -> None:
        protocol.write(channel, protocol.encode(event))

    job = jobs.get()
    phases = Phases(tell, job["spawned_ns"], started_ns)
    while True:
        answer, well = _answer(job, phases)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):
                continue
        protocol.write(channel, answer)
        if not well:
            # without the teardown of frameworks, which takes long and sometimes crashes
            os._exit(0)
        phases.rest()
        job = jobs.get()
        # that is for the whole process, and done once
        job.pop("own", None)
        phases.work()


def _receive(channel: int, jobs: queue.SimpleQueue[dict[str, Any]]) -> None:
    """Takes the jobs, and ends this process when the runner has no more or is gone, which nothing else would tell."""
    try:
        for job in protocol.messages(channel):
            jobs.put(job)
    finally:
        os._exit(0)


def _answer(job: Mapping[str, Any], phases: Phases) -> tuple[bytes, bool]:
    """The answer to a job as the line that carries it, and whether it is a result."""
    try:
        sys.path += [place for place in job["search_path"] if place not in sys.path]
        if "own" in job:
            from dlbench.worker.import_provenance import put_first

            put_first(job["own"])
        # not above: it brings NumPy, which may be the version's own, and whose absence is an answer
        from dlbench.worker.measurements import MEASUREMENTS

        result = MEASUREMENTS[job["job"]].load()(job, phases)
        return protocol.encode({"event": "result", "result": result}), True
    except BaseException as error:
        # also SystemExit and KeyboardInterrupt: an adapter that raises them has failed like any other
        return protocol.encode(_failure(error, phases)), False


def _failure(error: BaseException, phases: Phases) -> dict[str, Any]:
    trace = "" if _names_nothing(error) else "".join(traceback.format_exception(error))
    remedy, phase = "", phases.current
    if isinstance(error, BackendUnavailable):
        kind, reason, remedy = "skipped", error.reason, error.remedy
    elif isinstance(error, PlanRefused):
        kind, reason = "skipped", str(error)
    elif isinstance(error, ContractError):
        kind, reason = "failed", str(error)
    elif _is_out_of_memory(error, phases.out_of_memory):
        kind, reason = "out_of_memory", f"{_in_one_line(error)} (in {phase})"
    else:
        kind, reason = "failed", f"{_in_one_line(error)} (in {phase})"
    texts = {"reason": reason, "remedy": remedy, "missing": _missing(error)}
    told = {"kind": kind, **{name: text[:_TRACE_KEPT] for name, text in texts.items()}}
    return {"event": "error", **told, "trace": trace[-_TRACE_KEPT:]}


def _names_nothing(error: BaseException) -> bool:
    """Whether the module or the class is missing that a backend is named by: the reason says all that there is."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].filename == plugins.__file__


def _missing(error: BaseException) -> str:
    """The module that could not be found, or ``module:attribute`` where a module has no such attribute; else empty."""
    if isinstance(error, ModuleNotFoundError):
        return error.name or ""
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        return f"{error.obj.__name__}:{error.name}"
    return ""


def _is_out_of_memory(error: BaseException, names: Sequence[str]) -> bool:
    if isinstance(error, MemoryError):
        return True
    if any(kind.__name__ in names for kind in type(error).__mro__):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in _OUT_OF_MEMORY_WORDS)


def _in_one_line(error: BaseException) -> str:
    text = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
