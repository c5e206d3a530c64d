"""An interpreter for a backend: which one, and whether a worker can run there at all.

Frameworks that do not fit into one environment, or two versions of one framework, are compared in one run
by giving a backend, or a second row of it (``torch@old``), a Python of its own. Nothing of dlbench is
installed there; the worker brings its files along. A record says what such an interpreter has and never
where it lies.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence

from dlbench import plugins
from dlbench.errors import UsageError
from dlbench.worker.launch import own_path_only

LEAST_PYTHON = (3, 11)
"""What the worker's side is written for."""
LEAST_NUMPY = (1, 23)
"""The first NumPy for that Python."""
_LIMIT_S = 30.0
_MARK = "dlbench-probe"
# runs under any Python there has been in twenty years, so that an old one can say that it is old
_PROBE = f"""\
import sys
numpy = "none"
try:
    import numpy
    numpy = numpy.__version__
except Exception:
    numpy = "none" if sys.exc_info()[0].__name__ in ("ImportError", "ModuleNotFoundError") else "broken"
sys.stdout.write("\\n{_MARK} %d.%d.%d %s\\n" % (sys.version_info[:3] + (numpy,)))
"""
_NEEDS = "a worker needs Python {}.{} or later with NumPy {}.{} or later".format(
    *LEAST_PYTHON, *LEAST_NUMPY
)


@dataclasses.dataclass(frozen=True)
class Trouble:
    """Why no worker can run under an interpreter, and what would help; neither says where it lies."""

    reason: str
    remedy: str


def read_pythons(words: Iterable[str]) -> dict[str, str]:
    """What ``--python NAME=PATH`` says, each word: interpreters by backend, as absolute paths.

    A path without a folder is looked for where commands are. The file itself is looked at by `trouble`.

    Raises
    ------
    UsageError : a word of another form, an unknown backend, or a backend that is named twice.
    """
    found: dict[str, str] = {}
    for word in words:
        name, equals, path = word.partition("=")
        if not (name and equals and path):
            raise UsageError(
                f"--python {word!r} is not BACKEND=PATH, like numpy@old=old/bin/python"
            )
        plugins.adapter_target(name)
        if name in found:
            raise UsageError(f"--python {name} is given twice; label one of them, like {name}@old")
        found[name] = _absolute(path)
    return found


def check_pythons(pythons: Mapping[str, str], backends: Sequence[str]) -> None:
    """Holds interpreters against the backends that are to run.

    Raises
    ------
    UsageError : a label without an interpreter, or as for `check_named`.
    """
    for name in backends:
        if "@" in name and name not in pythons:
            raise UsageError(
                f"backend {name!r} has a label, so it needs an interpreter: --python {name}=PATH, or for"
                f" another version, dlbench env create {name.replace('@', '==', 1)}"
            )
    check_named(pythons, backends)


def check_named(pythons: Iterable[str], backends: Sequence[str]) -> None:
    """Refuses an interpreter for a backend that there is none of.

    Raises
    ------
    UsageError : with those there are.
    """
    for name in pythons:
        if name not in backends:
            there = ", ".join(backends) or "none"
            raise UsageError(
                f"--python {name}: no backend of this run is {name}; they are: {there}"
            )


def labelled(pythons: Iterable[str]) -> tuple[str, ...]:
    """Those that are rows of their own, since nothing else names them: ``torch@old``."""
    return tuple(name for name in pythons if "@" in name)


def trouble(name: str, python: str) -> Trouble | None:
    """Why no worker of backend `name` can run under `python`; None if one can.

    Starts it once, which takes about as long as importing NumPy there.
    """
    which, remedy = f"the interpreter of --python {name}", f"give another; {_NEEDS}"
    if os.path.isdir(python):
        return Trouble(f"{which} is a folder", "give the file in it, like bin/python")
    if not os.path.exists(python):
        return Trouble(f"{which} does not exist", remedy)
    try:
        ran = subprocess.run(
            [python, "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LIMIT_S,
            env=own_path_only(os.environ),
            # a numpy.py where dlbench was started is not the interpreter's
            cwd=os.path.abspath(os.sep),
            check=False,
        )
    except OSError as error:
        return Trouble(f"{which} cannot be started ({error.strerror})", remedy)
    except subprocess.TimeoutExpired:
        return Trouble(f"{which} is no Python: it did not answer for {_LIMIT_S:.0f} s", remedy)
    found = re.search(rf"^{_MARK} (\d+)\.(\d+)\.(\d+) (\S+)$", ran.stdout, re.MULTILINE)
    if found is None:
        return Trouble(f"{which} is no Python: it gave no answer", remedy)
    version, numpy = tuple(map(int, found.group(1, 2, 3))), found[4]
    install = (
        f"with that interpreter: python -m pip install 'numpy>={'.'.join(map(str, LEAST_NUMPY))}'"
    )
    if version < LEAST_PYTHON:
        return Trouble(f"{which} is Python {'.'.join(map(str, version))}", remedy)
    if numpy == "none":
        return Trouble(f"{which} has no NumPy", install)
    if numpy == "broken":
        return Trouble(f"{which} has a NumPy that cannot be imported", install)
    if _numbers(numpy) < LEAST_NUMPY:
        return Trouble(f"{which} has NumPy {numpy}", install)
    return None


def _numbers(version: str) -> tuple[int, ...]:
    """The first two parts of a version, for comparison."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def _absolute(path: str) -> str:
    # without following links: a virtual environment is known by the link's own place
    place = os.path.expanduser(path)
    if os.sep not in place:
        place = shutil.which(place) or place
    return os.path.abspath(place)
