"""Kernels with one barrier or one check taken away, and whether launches notice it.

All of a file's mutants are compiled at once: each barrier and each check can be switched off by its number
(`host_mutant`). Run as a program in a sanitized process, where each mutant is tried in a child of its own,
since what it does may well end it.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy.typing as npt
import sanitized
from host_device import HostDevice, LaunchError, Schedule
from recorded import FILES, KERNELS, record
from recorder import Recorded

Array = npt.NDArray[Any]
Read = Callable[[Sequence[str], Mapping[str, int]], str]

_CAST = r"(?:\((?:unsigned|int|long long)\))?"
_TERM = rf"{_CAST}[A-Za-z_][\w.]*(?:\[\w+\]|\(\w+\))?"
_SUM = rf"{_TERM}(?: [+*] (?:{_TERM}|\d+))*"
_MUTABLE = re.compile(rf"__syncthreads\(\)|{_SUM} (?P<sign><|>=) (?:{_SUM}|\d+)")
# What is no check of a place: loops, what the compiler decides, and comments.
_PASSED_OVER = re.compile(r"^\s*(?://|#|template|static_assert)|\bfor \(|//.*$", re.MULTILINE)
_UNNOTICED, _NOTICED, _BROKEN = 0, 1, 2
_LIMIT_S = 60
_ORDERS = (Schedule("shuffled", 1), Schedule("reversed"), Schedule("forward"))

# file, line of code, and what may be taken away from it unseen: why that is so
HARMLESS = {
    ("gemm", "bool more = k + BK < end;", "k + BK < end"): (
        "saves the last step's loads, which would be zeros: every source checks its own end"
    ),
    (
        "norm",
        "if (threadIdx.x < CT && channel < channels) {",
        "threadIdx.x < CT",
    ): "the other threads of a channel hold the same sums and would write them again",
    (
        "norm",
        "if (blockIdx.x == 0 && threadIdx.x < CT) {",
        "threadIdx.x < CT",
    ): "the other threads of a channel hold the same sums and would write them again",
    (
        "weight_gradient",
        "bool there = index < KH * KW * shape.channels;",
        "index < KH * KW * shape.channels",
    ): "saves loads of rows that are not stored; whether they lie in the image is checked again",
}


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One thing that can be taken away.

    Attributes
    ----------
    file : its name.
    number : what ``host_mutant`` must be.
    what : the barrier or the comparison.
    line : the line of code that it stands in.
    """

    file: str
    number: int
    what: str
    line: str

    @property
    def place(self) -> tuple[str, str, str]:
        """What `HARMLESS` calls it."""
        return self.file, self.line, self.what


def switchable(file: str, text: str, first: int) -> tuple[str, list[Mutant]]:
    """A text whose barriers and checks can be switched off, numbered from `first` on."""
    mutants: list[Mutant] = []

    def switch(match: re.Match[str]) -> str:
        start, end = text.rfind("\n", 0, match.start()) + 1, text.find("\n", match.end())
        barrier = match[0] == "__syncthreads()"
        if not barrier and _PASSED_OVER.search(text[start:end]):
            return match[0]
        number = first + len(mutants)
        mutants.append(Mutant(file, number, match[0], text[start:end].strip()))
        if barrier:
            return f"(host_mutant == {number} ? (void)0 : {match[0]})"
        inside = (
            f"host_mutant == {number} ||" if match["sign"] == "<" else f"host_mutant != {number} &&"
        )
        return f"({inside} {match[0]})"

    return _MUTABLE.sub(switch, text), mutants


def mutants_of(folder: Path, files: Sequence[str]) -> list[Mutant]:
    """All mutants of these files; no two have one number."""
    return [
        mutant
        for place, file in enumerate(files)
        for mutant in switchable(file, (folder / f"{file}.cu").read_text("utf-8"), 1000 * place)[1]
    ]


def reader(folder: Path, files: Sequence[str] = ()) -> Read:
    """Reads sources as the backend does, with the mutants of `files` in them."""

    def text(source: str) -> str:
        found = (folder / f"{source}.cu").read_text("utf-8")
        return (
            switchable(source, found, 1000 * files.index(source))[0] if source in files else found
        )

    def read(sources: Sequence[str], defines: Mapping[str, int]) -> str:
        constants = (f"#define {name} {value}" for name, value in defines.items())
        return "\n".join(itertools.chain(constants, map(text, sources)))

    return read


def unnoticed(launches: Sequence[Recorded], folder: Path, files: Sequence[str]) -> list[Mutant]:
    """Those that are not known as harmless, change nothing in any order of threads, and touch nothing that
    they may not.

    `folder` holds the files that the launches' kernels are made from.
    """
    devices = [HostDevice(reader(folder, files), schedule) for schedule in _ORDERS]
    # what takes little notices most
    launches = sorted(launches, key=lambda each: math.prod(each.grid) * math.prod(each.block))
    right = [launch.again(devices[0]) for launch in launches]
    waiting = [each for each in mutants_of(folder, files) if each.place not in HARMLESS]
    running, found = {}, []
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            mutant = waiting.pop()
            child = os.fork()
            if not child:
                _exit_with(lambda: _notices(mutant, launches, right, devices))  # noqa: B023
            running[child] = mutant
        child, status = os.wait()
        mutant, code = running.pop(child), os.waitstatus_to_exitcode(status)
        if code == _UNNOTICED:
            found.append(mutant)
        elif code not in (_NOTICED, sanitized.FOUND, -signal.SIGALRM):
            raise RuntimeError(f"{mutant.file} without {mutant.what} could not be tried: {code}")
    return found


def _notices(
    mutant: Mutant,
    launches: Sequence[Recorded],
    right: Sequence[list[Array]],
    devices: Sequence[HostDevice],
) -> bool:
    """Whether any launch differs from the true one; the sanitizer ends the process otherwise."""
    for device in devices:
        for launch, expected in zip(launches, right, strict=True):
            if mutant.file not in launch.sources:
                continue
            kernel = device.kernel(launch.sources, dict(launch.defines), launch.name)
            kernel.ready.mutate(mutant.number)
            try:
                got = launch.again(device)
            except LaunchError:
                return True
            if any(a.tobytes() != b.tobytes() for a, b in zip(expected, got, strict=True)):
                return True
    return False


def _exit_with(noticed: Callable[[], bool]) -> NoReturn:
    """Ends this child with what it found."""
    code = _BROKEN
    try:
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 2)
        signal.alarm(_LIMIT_S)  # a loop without its end
        code = _NOTICED if noticed() else _UNNOTICED
    finally:
        os._exit(code)


def main() -> None:
    """Prints, as JSON, the mutants that no launch notices, of all files of the backend."""
    found = unnoticed(record(reader(KERNELS, FILES)), KERNELS, FILES)
    print(json.dumps([mutant.place for mutant in found]))


if __name__ == "__main__":
    main()
