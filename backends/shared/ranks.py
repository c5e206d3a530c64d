"""The ranks of a data-parallel training in fresh interpreters beside this process, which leads them and may itself be
rank 0.

Each obeys one call after the other, in the order in which all get them. A rank that raises says so and ends, so that no
collective waits for it longer than its sockets take to close; what has become of a rank is told as the cause of what
fails here. None outlives this process: the kernel kills them with it (`PR_SET_PDEATHSIG`), and elsewhere they see the
end of their pipe.

Nothing here knows a framework. What a rank does stands in a module that it imports, see `serve`.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
import traceback
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from dlbench.errors import DlbenchError

from .parent import end_with_parent

START_S = 120.0
"""The longest a rank may take to start and import its framework."""
ANSWER_S = 60.0
"""The longest a rank may not answer, and a collective may wait for one: a step's ranks differ by far less."""
_FATE_S = 2.0
"""How long it may take until it is seen what has become of a rank, once something went wrong."""
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_PACKAGE = __name__.partition(".")[0]

_Said = tuple[str, float, Any]
"""``answer``, ``error``, ``memory`` or ``end``; when (s); what."""

# The very files of this process, wherever it has them from.
_BOOT = """\
import importlib.util, sys
from multiprocessing.connection import Connection
leader = Connection(int(sys.argv[1]))
package, sys.path[:], folders, module = leader.recv()
spec = importlib.util.spec_from_file_location(
    package, folders[0] + "/__init__.py", submodule_search_locations=folders)
sys.modules[package] = found = importlib.util.module_from_spec(spec)
spec.loader.exec_module(found)
importlib.import_module(module).serve(leader)
"""


class RankError(RuntimeError):
    """A rank that died, failed or does not answer, and with it the training."""


class Ranks:
    """Ranks `first` to world - 1.

    Parameters
    ----------
    world : all ranks.
    module : what each imports; it has a function ``serve`` that hands `obey` what carries the calls out.
    threads : CPU threads of each, for every library that reads its number from the environment.
    first : 1 where this process is rank 0, 0 where it only leads.
    """

    def __init__(self, world: int, module: str, threads: int, first: int = 1) -> None:
        self.world = world
        self._first = first
        self._ranks = range(first, world)
        self._dropped: list[int] = []
        self._numbers = 0
        environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads))}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._leads: list[Connection] = []
        self.end = weakref.finalize(self, _end, os.getpid(), self._processes, self._leads)
        for _ in self._ranks:
            ours, theirs = socket.socketpair()
            with theirs:
                command = [sys.executable, "-P", "-c", _BOOT, str(theirs.fileno())]
                self._processes.append(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        pass_fds=(theirs.fileno(),),
                        env=environment,
                    )
                )
            lead = Connection(ours.detach())
            self._leads.append(lead)
            with contextlib.suppress(OSError):
                lead.send((_PACKAGE, sys.path, _folders(), module))
        self._answers_in(START_S)

    @property
    def alive(self) -> bool:
        """Whether all are there."""
        return self.end.alive and all(process.poll() is None for process in self._processes)

    @property
    def processes(self) -> list[int]:
        """Their ids, by rank."""
        return [process.pid for process in self._processes]

    def number(self) -> int:
        """A new name for a thing that each rank has, until it is dropped."""
        self._numbers += 1
        return self._numbers

    def drop(self, number: int) -> None:
        """Has the ranks forget a thing with the next call."""
        self._dropped.append(number)

    def tell(self, name: str, *arguments: Any) -> None:
        """Has each rank do something, without waiting for it."""
        dropped, self._dropped = self._dropped, []
        message = pickle.dumps((dropped, name, arguments, False))
        for rank in self._ranks:
            self._send(rank, message)

    def tell_each(self, name: str, arguments: Sequence[tuple[Any, ...]]) -> None:
        """Has each rank do something of its own, without waiting; `arguments` are by rank, of all of them."""
        dropped, self._dropped = self._dropped, []
        for rank in self._ranks:
            self._send(rank, pickle.dumps((dropped, name, arguments[rank], False)))

    def asking(self, name: str, *arguments: Any) -> Callable[[], list[Any]]:
        """Has each rank do something; the function that comes back waits for what they answer, by rank."""
        dropped, self._dropped = self._dropped, []
        message = pickle.dumps((dropped, name, arguments, True))
        for rank in self._ranks:
            self._send(rank, message)
        # where none of them is here to notice that another does not come to a collective, they do before
        return lambda: self._answers_in(ANSWER_S if self._first else 1.5 * ANSWER_S)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What fails in the ``with`` block is put down to a rank where one has died, failed or does not answer; it is
        the end of all of them in any case.

        Raises
        ------
        RankError, MemoryError : what a rank told, or what became of it.
        """
        try:
            yield
        except BaseException as error:
            is_told = isinstance(error, RankError | MemoryError | DlbenchError)
            told = None if is_told else self._fate(error, time.monotonic(), {})
            self.end()
            if told is not None:
                raise told from error
            raise

    def _send(self, rank: int, message: bytes) -> None:
        try:
            self._lead(rank).send_bytes(message)
        except OSError:
            raise self._last_words(rank) from None

    def _lead(self, rank: int) -> Connection:
        return self._leads[rank - self._first]

    def _answers_in(self, seconds: float) -> list[Any]:
        until_s = time.monotonic() + seconds
        answers = []
        for rank in self._ranks:
            lead = self._lead(rank)
            if not lead.poll(max(0.0, until_s - time.monotonic())):
                raise self._silent(rank, seconds)
            kind, at_s, told = self._received(rank)
            if kind != "answer":
                raise self._fate(told, math.inf, {rank: (kind, at_s, told)}) or told
            answers.append(told)
        return answers

    def _process(self, rank: int) -> subprocess.Popen[bytes]:
        return self._processes[rank - self._first]

    def _received(self, rank: int) -> _Said:
        """What a rank says and when it said so: its answer, or the error that it ended with."""
        try:
            kind, at_s, told = self._lead(rank).recv()
        except (EOFError, OSError):
            return "end", math.inf, self._gone(rank)
        if kind == "answer":
            return kind, at_s, told
        error = MemoryError if kind == "memory" else RankError
        return kind, at_s, error(f"{self._named(rank)}: {told}")

    def _last_words(self, rank: int) -> BaseException:
        """Why a rank that has closed its pipe has done so."""
        while True:
            error: BaseException
            kind, _, error = self._received(rank)
            if kind != "answer":
                return error

    def _fate(
        self, seen: BaseException, seen_s: float, known: Mapping[int, _Said]
    ) -> BaseException | None:
        """What became of the ranks, the likeliest cause of what was seen first: one was killed, one hangs, one failed
        by itself and so the first. None where the fault is rank 0's own, for which the others may be waiting.
        `known` is what some have said already."""
        is_timeout = "timed out" in str(seen).lower() or "timeout" in str(seen).lower()
        wait(self._leads, _FATE_S)
        # the others see the end of the first
        time.sleep(_FATE_S / 4)
        told: list[tuple[float, BaseException]] = []
        for rank in self._ranks:
            if rank not in known and not self._answers_now(rank):
                # before any that told something because of it
                told += [(0.0, self._silent(rank, ANSWER_S))] if is_timeout else []
                continue
            error: BaseException
            kind, at_s, error = known.get(rank) or self._received(rank)
            if kind == "end" and (self._process(rank).poll() or 0) < 0:
                return error
            told += [(at_s, error)] if kind != "answer" and at_s < seen_s else []
        return min(told, key=lambda each: each[0])[1] if told else None

    def _answers_now(self, rank: int) -> bool:
        """Whether there is something to read from a rank, be it the answer to a call that does nothing."""
        lead = self._lead(rank)
        if not lead.poll():
            with contextlib.suppress(OSError):
                lead.send_bytes(pickle.dumps(([], "", (), True)))
        return lead.poll(_FATE_S)

    def _silent(self, rank: int, seconds: float) -> RankError:
        return RankError(f"{self._named(rank)} has not answered for {seconds:g} s")

    def _gone(self, rank: int) -> RankError:
        process = self._process(rank)
        try:
            code = process.wait(_FATE_S)
        except subprocess.TimeoutExpired:
            return RankError(f"{self._named(rank)} has closed its pipe")
        fate = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return RankError(f"{self._named(rank)} has died: {fate}")

    def _named(self, rank: int) -> str:
        return f"rank {rank} of {self.world}"


def obey(leader: Connection, calls: Any, drop: Callable[[int], None]) -> None:
    """What a rank does all its life: carries out the calls that rank 0 makes, methods of `calls`, one by one.

    Parameters
    ----------
    leader : the pipe to rank 0.
    drop : forgets the thing of a number.
    """
    # Ctrl-C is for rank 0 to act on
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    try:
        leader.send(("answer", 0.0, None))
        while True:
            dropped, name, arguments, is_asked = pickle.loads(leader.recv_bytes())
            for number in dropped:
                drop(number)
            answer = getattr(calls, name)(*arguments) if name else None
            if is_asked:
                leader.send(("answer", time.monotonic(), answer))
    except EOFError:
        os._exit(0)
    except BaseException as error:
        at_s, told = time.monotonic(), "".join(traceback.format_exception_only(error)).strip()
        is_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        with contextlib.suppress(OSError):
            # where rank 0's own output goes
            traceback.print_exception(error)
        with contextlib.suppress(OSError):
            leader.send(("memory" if is_memory else "error", at_s, told))
        # no collective is to wait for what this process would still put in order
        os._exit(1)


def _folders() -> list[str]:
    """Where a rank finds the package: its own folder, and the one that holds the backends', elsewhere in a checkout."""
    backends = str(Path(__file__).resolve().parents[2])
    return list(dict.fromkeys([*sys.modules[_PACKAGE].__path__, backends]))


def _end(
    owner: int, processes: Sequence[subprocess.Popen[bytes]], leads: Sequence[Connection]
) -> None:
    if os.getpid() != owner:
        return
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()
    for lead in leads:
        lead.close()
