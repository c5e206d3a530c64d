"""Runs jobs in fresh worker processes, and turns whatever becomes of them into data.

A backend may raise, exit, crash, hang, print rubbish or run out of memory; each of these is an `Ended` with
its reason here and nothing worse. The runner sleeps until there is something to read, so that it
takes no time from what is being measured.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from dlbench import plugins
from dlbench.worker import protocol
from dlbench.worker.deadline import PHASE_FACTOR, Deadline, processor_s
from dlbench.worker.measurements import Job, Measurement
from dlbench.worker.supervisor import LEAVE_S, Conversation, Ended, OnEpoch

R = TypeVar("R")

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_PATH_VARIABLES = ("PYTHONHOME", "PYTHONPATH")
# The very files of this process, whatever the worker's interpreter has installed: all rows have one harness.
_BOOT = """\
import time
started_ns = time.perf_counter_ns()
import importlib.util, sys
folders = sys.argv[2:]
spec = importlib.util.spec_from_file_location(
    "dlbench", folders[0] + "/__init__.py", submodule_search_locations=folders)
sys.modules["dlbench"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
from dlbench.worker.entry import main
main(int(sys.argv[1]), started_ns)
"""


@dataclasses.dataclass(frozen=True)
class Launch:
    """What a worker is started with.

    Attributes
    ----------
    environment : all its environment variables; see `worker_environment`.
    limit_s : the longest it may go without progress before it is killed; see `dlbench.worker.deadline`.
    phase_s : the longest that one of its phases may take; None for `PHASE_FACTOR` × `limit_s`.
    python : its interpreter; it needs NumPy and the backend's framework, dlbench need not be installed there.
        Another one than this process' own finds its modules by itself, see `own_path_only`.
    folder : a folder that it searches for modules behind all others, for a backend that is not installed; None for
        none.
    """

    environment: Mapping[str, str]
    limit_s: float
    python: str = sys.executable
    folder: str | None = None
    phase_s: float | None = None


def launch_of(
    backend: str | None,
    threads: int | None,
    limit_s: float,
    python: str | None = None,
    phase_s: float | None = None,
) -> Launch:
    """How a worker of a backend is started.

    A backend that is named as ``module:Class`` may lie in the current folder. One that is installed must not be looked
    for there: where its framework is missing, any file of that name would be run in its place.

    Parameters
    ----------
    backend : its name; None for a job without one.
    threads, limit_s, phase_s : see `worker_environment` and `Launch`.
    python : its interpreter, if it has one of its own.
    """
    folder = os.getcwd() if backend is not None and plugins.is_module(backend) else None
    environment = worker_environment(threads)
    return Launch(environment, limit_s, python or sys.executable, folder, phase_s)


def worker_environment(
    threads: int | None, base: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment of a worker. What its adapter wants besides is set there, before the framework is imported.

    Parameters
    ----------
    threads : CPU threads for every library that reads its count from the environment; None leaves them.
    base : what to start from, this process' environment by default.
    """
    environment = dict(os.environ if base is None else base)
    if threads is not None:
        environment.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    environment["PYTHONHASHSEED"] = "0"
    return environment


def own_path_only(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment for another interpreter, without what leads it to this one's modules."""
    return {name: value for name, value in environment.items() if name not in _PATH_VARIABLES}


class Worker:
    """A fresh process that does jobs one after the other, until one goes wrong or the context ends.

    Parameters
    ----------
    launch : with what to start it.
    """

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._child: subprocess.Popen[bytes] | None = None
        self._cannot_start = ""
        self._sleeps = False
        self._is_sent = False
        self._kills_before: int | None = None
        self._phase = "interpreter"
        self._output = bytearray()
        self._began_s = time.perf_counter()
        self._spawned_ns = time.perf_counter_ns()
        self._channel, theirs = socket.socketpair()
        with theirs:
            command = [launch.python, "-P", "-X", "faulthandler", "-c", _BOOT, str(theirs.fileno())]
            try:
                self._child = subprocess.Popen(
                    [*command, *_folders()],
                    bufsize=0,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    pass_fds=(theirs.fileno(),),
                    env=launch.environment
                    if launch.python == sys.executable
                    else own_path_only(launch.environment),
                    start_new_session=True,
                )
            except OSError as error:
                self._cannot_start = hide_home(
                    f"{launch.python} cannot be started: {error.strerror}"
                )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close(leaves=error[0] is None)

    @property
    def pid(self) -> int | None:
        """The process, which leads a group of its own; None once it has ended."""
        return None if self._child is None else self._child.pid

    def send(self, measurement: Measurement[Any], job: Job) -> None:
        """Has a job begun; `ask` with the same one waits for it. Meanwhile others may be sent theirs."""
        if self._child is None:
            return
        self._kills_before = _kills_for_memory()
        self._channel.setblocking(True)
        # what has become of a process that is gone, `ask` tells
        with contextlib.suppress(OSError):
            self._channel.sendall(self._message(measurement, job))
        self._is_sent = True

    def _message(self, measurement: Measurement[Any], job: Job) -> bytes:
        return protocol.encode(
            {
                "job": measurement.name,
                "spawned_ns": self._spawned_ns,
                "search_path": _search_path(self._launch),
                **job,
            }
        )

    def ask(
        self,
        measurement: Measurement[R],
        job: Job,
        on_phase: Callable[[str], None] = lambda phase: None,
        stop: int | None = None,
        on_epoch: OnEpoch = lambda number, accuracy, train_s: None,
    ) -> Ended[R]:
        """Has a job done and waits for it. A worker of which one went wrong has ended.

        Parameters
        ----------
        measurement : what to do.
        job : what it needs to know; its name, the worker's search path and the time of its start are added here.
        on_phase : told each phase that the worker enters, the first being the one that it is in.
        stop : a descriptor; the worker is ended as soon as there is something to read from it.
        on_epoch : told each epoch of a training that is over; see `dlbench.worker.training.train`.

        Raises
        ------
        KeyboardInterrupt : as it comes; the worker is ended before.
        """
        began_s, self._began_s = self._began_s or time.perf_counter(), 0.0
        child = self._child
        if child is None:
            return Ended("failed", self._cannot_start or f"it has ended in {self._phase}")
        is_sent, self._is_sent = self._is_sent, False
        kills_before = self._kills_before if is_sent else _kills_for_memory()
        message = None if is_sent else self._message(measurement, job)
        assert child.stdout is not None
        talk = Conversation(
            self._channel.fileno(),
            child.stdout.fileno(),
            measurement.result,
            _deadline(self._launch, child.pid),
            on_phase,
            self._phase,
            self._output,
            on_epoch,
        )
        leaves = False
        try:
            with _exit_descriptor(child) as exited:
                leaves = talk.hold(message, exited, stop)
        finally:
            self._phase = talk.phase
            if not talk.has_result:
                _end(child, leaves)
        returncode = child.poll()
        if returncode is not None:
            talk.take_rest()
        kills = _kills_for_memory()
        for_memory = None if None in (kills, kills_before) else kills != kills_before
        ended = talk.verdict(returncode or 0, for_memory)
        if ended.result is None:
            self.close(leaves=False)
        return dataclasses.replace(
            ended,
            reason=hide_home(ended.reason),
            output=hide_home(ended.output),
            wall_s=time.perf_counter() - began_s,
        )

    def sleep(self) -> None:
        """Has the system hold the process and all of its group, whatever they do, until `wake`."""
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        """Lets it go on, if it was put to sleep."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._child is not None and self._sleeps != (number == signal.SIGSTOP):
            self._sleeps = number == signal.SIGSTOP
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, number)

    def close(self, leaves: bool = True) -> None:
        """Ends the process with all that it started; one that `leaves` gets a moment to."""
        self.wake()
        child, self._child = self._child, None
        # which tells it that there are no more jobs
        self._channel.close()
        if child is not None:
            with child.stdout or contextlib.nullcontext():
                _end(child, leaves)


class Successors:
    """Processes of one kind, each of which does jobs until one goes wrong; the next takes the place of the last. They
    end with the context, or before, by `close`."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._last: Worker | None = None

    def __enter__(self) -> Successors:
        return self

    def __exit__(self, *error: object) -> None:
        self.close(leaves=error[0] is None)

    def ask(self, measurement: Measurement[R], job: Job, **options: Any) -> Ended[R]:
        """Has a job done by the last of them, or by a fresh one; see `Worker.ask`."""
        if self._last is None or self._last.pid is None:
            self._last = Worker(self._launch)
        return self._last.ask(measurement, job, **options)

    def close(self, leaves: bool = True) -> None:
        """Ends the last; jobs that come later have another."""
        last, self._last = self._last, None
        if last is not None:
            last.close(leaves)


def run_worker(
    measurement: Measurement[R],
    job: Job,
    launch: Launch,
    on_phase: Callable[[str], None] = lambda phase: None,
    stop: int | None = None,
) -> Ended[R]:
    """Has one job done by a fresh process; see `Worker.ask`."""
    with Worker(launch) as worker:
        return worker.ask(measurement, job, on_phase, stop)


def _deadline(launch: Launch, pid: int) -> Deadline:
    phase_s = PHASE_FACTOR * launch.limit_s if launch.phase_s is None else launch.phase_s
    return Deadline(launch.limit_s, phase_s, functools.partial(processor_s, pid))


def hide_home(text: str) -> str:
    """The text with the user's home folder as ``~``: a record names no user."""
    home = os.path.expanduser("~")
    if home in ("~", "/"):
        return text
    return re.sub(rf"{re.escape(home.rstrip('/'))}(?![\w-]|\.\w)", "~", text)


@contextlib.contextmanager
def _exit_descriptor(child: subprocess.Popen[bytes]) -> Iterator[int | None]:
    """A descriptor that becomes readable when the child ends, where the system has such a thing.

    The end of its socket tells the same, unless a process that the child left behind holds it open.
    """
    try:
        descriptor = os.pidfd_open(child.pid)
    except (AttributeError, OSError):
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _end(child: subprocess.Popen[bytes], leaves: bool) -> None:
    """Ends the child with all that it started, and collects it; one that `leaves` gets a moment to."""
    try:
        if leaves:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(LEAVE_S)
    finally:
        # also when a second interrupt comes while waiting
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _kills_for_memory() -> int | None:
    """How often this machine has killed a process for memory; None where that cannot be read."""
    try:
        counters = Path("/proc/vmstat").read_text("ascii")
    except OSError:
        return None
    found = re.search(r"^oom_kill (\d+)$", counters, re.MULTILINE)
    return int(found[1]) if found else None


def _folders() -> list[str]:
    """Where the worker finds the package dlbench: its folder, then the one that holds the backends' folder,
    which lies elsewhere in a checkout."""
    import dlbench

    folders = list(dlbench.__path__)
    backends = find_spec("dlbench.backends")
    if backends is not None:
        folders += [str(Path(place).parent) for place in backends.submodule_search_locations or ()]
    return list(dict.fromkeys(folders))


def _search_path(launch: Launch) -> list[str]:
    """What a worker under this interpreter searches behind its own path, without the current folder unless its
    backend may lie there; another one has its own modules."""
    here = os.getcwd()
    places = [os.path.abspath(place) for place in sys.path]
    if launch.python != sys.executable:
        return []
    own = [place for place in places if place != here]
    return own if launch.folder is None else [*own, launch.folder]
