"""The environments that there are: made whole or not at all, one folder each.

A folder without its mark is what a killed process left; it counts for nothing, and goes when it is met.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import fcntl
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from dlbench.environments.recipes import RECIPES, Recipe, name_of, read_word
from dlbench.errors import BackendUnavailable, UsageError
from dlbench.worker.launch import own_path_only

_MARK = "dlbench-environment.json"
_TOLD_LINES = 12
"""Of an installer's output, in the message of its failure."""
_VERSIONS = """\
import importlib.metadata, json, platform, sys
there = {name: importlib.metadata.version(name) for name in sys.argv[1:]}
sys.stdout.write(json.dumps([platform.python_version(), there]))
"""


@dataclasses.dataclass(frozen=True)
class Environment:
    """One that is whole.

    Attributes
    ----------
    name : ``torch``, or with the version that was chosen, ``torch@2.12``.
    folder : where it lies.
    python_version : of its interpreter.
    packages : versions of what the recipe names.
    made : when (UTC).
    """

    name: str
    folder: Path
    python_version: str
    packages: Mapping[str, str]
    made: str

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return _python(self.folder)

    @property
    def size_bytes(self) -> int:
        """What its files take."""
        total = 0
        for folder, _, files in os.walk(self.folder):
            for file in files:
                with contextlib.suppress(OSError):
                    total += os.lstat(os.path.join(folder, file)).st_size
        return total


class Store:
    """The environments in a folder.

    Parameters
    ----------
    folder : where they lie, each under its name; made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def all(self) -> list[Environment]:
        """Those that there are, by name."""
        if not self.folder.is_dir():
            return []
        found = (self.find(place.name) for place in sorted(self.folder.iterdir()))
        return [each for each in found if each is not None]

    def find(self, name: str) -> Environment | None:
        """The environment of that name, if it is there and whole."""
        place = self.folder / name
        try:
            told = json.loads((place / _MARK).read_text("utf-8"))
            found = Environment(name, place, told["python"], told["packages"], told["made"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return found if os.access(found.python, os.X_OK) else None

    def create(
        self,
        word: str,
        check: Callable[[str, Path], None] = lambda name, python: None,
        on_step: Callable[[str], None] = lambda text: None,
        on_line: Callable[[str], None] = lambda text: None,
    ) -> tuple[Environment, bool]:
        """The environment that a word names, and whether it had to be made. Whatever goes wrong, nothing of it stays.

        Parameters
        ----------
        word : ``BACKEND[==VERSION]``.
        check : told its name and its interpreter before it counts as made; raises where it is of no use.
        on_step : told what is done next.
        on_line : told what the installer prints.

        Raises
        ------
        UsageError : there is no recipe, or the folder cannot be written.
        BackendUnavailable : the installer failed, with the end of what it printed; or what `check` raises.
        """
        backend, version = read_word(word)
        recipe, name = RECIPES[backend], name_of(backend, version)
        with self._alone():
            if there := self.find(name):
                return there, False
            place = self.folder / name
            _remove(place)
            try:
                wanted = recipe.requirements(version)
                python, version_of_it = _base(backend, recipe)
                on_step(f"making {name} for Python {version_of_it}")
                for command, step in _commands(place, wanted, python):
                    if step:
                        on_step(step)
                    _run(command, on_line)
                on_step("trying it")
                check(name, _python(place))
                self._mark(place, [requirement.partition("==")[0] for requirement in wanted])
            except BaseException:
                _remove(place)
                raise
            made = self.find(name)
            assert made is not None
            return made, True

    def remove(self, name: str) -> None:
        """Removes an environment, also what was left of one.

        Raises
        ------
        UsageError : there is none of that name.
        """
        with self._alone():
            place = self.folder / name_of(*read_word(name))
            if not place.is_dir():
                there = ", ".join(each.name for each in self.all()) or "none"
                raise UsageError(f"there is no environment {name!r}; there are: {there}")
            # first what makes it count, so that half of it never does
            (place / _MARK).unlink(missing_ok=True)
            _remove(place)

    def complete(self, pythons: Mapping[str, str], backends: Iterable[str]) -> dict[str, str]:
        """Interpreters by backend: those that were named, and for other backends that of their environment, where the
        framework cannot be imported by this process or the name has a label."""
        found = dict(pythons)
        for name in backends:
            backend, label, _ = name.partition("@")
            if name in found or backend not in RECIPES:
                continue
            if not label and importlib.util.find_spec(RECIPES[backend].module) is not None:
                continue
            if there := self.find(name):
                found[name] = str(there.python)
        return found

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Lets one process at a time make or remove."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / ".lock").open("w")
        except OSError as error:
            raise UsageError(f"{self.folder} cannot be written: {error.strerror}") from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _mark(self, place: Path, names: list[str]) -> None:
        told = subprocess.run(
            [_python(place), "-c", _VERSIONS, *names],
            capture_output=True,
            text=True,
            check=True,
            env=own_path_only(os.environ),
        )
        python, packages = json.loads(told.stdout)
        made = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        mark = place / _MARK
        partial = mark.with_suffix(".partial")
        partial.write_text(json.dumps({"python": python, "packages": packages, "made": made}))
        partial.rename(mark)


def _python(place: Path) -> Path:
    return place / "bin" / "python"


def _remove(place: Path) -> None:
    if place.exists():
        shutil.rmtree(place, ignore_errors=True)


def _base(backend: str, recipe: Recipe) -> tuple[str, str]:
    """The Python that an environment is made with, as a command, and its version: this one where a recipe has nothing
    against it, else one that uv finds or brings.

    Raises
    ------
    BackendUnavailable : the recipe wants an older one, and there is no uv.
    """
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if recipe.fits(sys.version_info[:2]):
        return sys.executable, here
    last = recipe.last_python
    if not shutil.which("uv"):
        raise BackendUnavailable(
            f"{backend} cannot be installed for a Python after {last}, and this is {here}",
            f"install uv, which brings one, or make an environment with Python {last} and name it by --python",
        )
    return last, last


def _commands(
    place: Path, requirements: tuple[str, ...], base: str
) -> Iterator[tuple[list[str], str]]:
    """What makes an environment, and what a person is told of each command. Both tools keep what they downloaded, for
    the next one.

    Raises
    ------
    BackendUnavailable : neither tool is there.
    """
    python, step = str(_python(place)), f"installing {', '.join(requirements)}"
    if uv := shutil.which("uv"):
        yield [uv, "venv", "--no-project", "--python", base, str(place)], ""
        yield [uv, "pip", "install", "--python", python, *requirements], step
        return
    # not by looking for the module, which has setuptools put its own distutils in place
    if not any(importlib.metadata.distributions(name="pip")):
        raise BackendUnavailable("neither uv nor pip is here to install with", "install uv")
    # a pip of its own would take longer than all the rest
    yield [base, "-m", "venv", "--without-pip", str(place)], ""
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    yield [*pip, "install", "--no-input", "--progress-bar", "off", *requirements], step


def _run(command: list[str], on_line: Callable[[str], None]) -> None:
    """Runs a command and passes on what it prints.

    Raises
    ------
    BackendUnavailable : it failed, with the last that it printed.
    """
    last: deque[str] = deque(maxlen=_TOLD_LINES)
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=own_path_only(os.environ),
    ) as child:
        try:
            assert child.stdout is not None
            for line in child.stdout:
                if text := line.rstrip():
                    last.append(text)
                    on_line(text)
        except BaseException:
            child.kill()
            raise
    if child.returncode:
        tool = Path(command[0]).name if command[1:2] != ["-m"] else command[2]
        raise BackendUnavailable("\n".join([f"{tool} failed:", *(f"  {line}" for line in last)]))
