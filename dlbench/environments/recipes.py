"""What is installed into the environment of a backend; the recipes themselves stand in ``recipes.toml``."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from importlib import resources

from dlbench.errors import UsageError
from dlbench.spec.decode import nearest

_VERSION = re.compile(r"[0-9][\w.+!-]*", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """An environment for a backend.

    Attributes
    ----------
    framework : the distribution whose version may be chosen, as ``name==version``.
    module : what is imported of it; where it can be, a run needs no environment.
    beside : what else is installed, in the same form.
    last_python : the last one that it can be installed for (``3.11``); empty where there is no such limit.
    """

    framework: str
    module: str
    beside: tuple[str, ...]
    last_python: str = ""

    def fits(self, python: tuple[int, int]) -> bool:
        """Whether it can be installed for a Python of that version."""
        last = tuple(map(int, self.last_python.split("."))) if self.last_python else python
        return python <= last

    def requirements(self, version: str = "") -> tuple[str, ...]:
        """What an installer is asked for. Beside another version of the framework than the recipe's, the versions of
        the rest are left to the installer, since the pinned ones may not fit."""
        name, _, pin = self.framework.partition("==")
        if version in ("", pin):
            return self.framework, *self.beside
        return f"{name}=={version}", *(each.partition("==")[0] for each in self.beside)


def _read() -> dict[str, Recipe]:
    text = resources.files(__package__).joinpath("recipes.toml").read_text("utf-8")
    return {
        backend: Recipe(**{**told, "beside": tuple(told["beside"])})
        for backend, told in tomllib.loads(text).items()
    }


RECIPES = _read()
"""By backend."""


def read_word(word: str) -> tuple[str, str]:
    """The backend and the version of ``BACKEND[==VERSION]``, or of the name of an environment, ``BACKEND[@VERSION]``;
    the version is empty where none is said.

    Raises
    ------
    UsageError : there is no recipe for it, or that is no version.
    """
    backend, sign, version = re.split(r"(==|@)", f"{word}==", maxsplit=1)
    version = version.removesuffix("==")
    if backend not in RECIPES:
        raise UsageError(f"there is no recipe for {backend!r}; {nearest(backend, list(RECIPES))}")
    if word != backend and not _VERSION.fullmatch(version):
        like = RECIPES[backend].framework.partition("==")[2]
        raise UsageError(f"{sign}{version} is no version; like {backend}=={like}")
    return backend, version


def name_of(backend: str, version: str) -> str:
    """What an environment is called, and the rows that run in it: ``torch``, or ``torch@2.12``."""
    return f"{backend}@{version}" if version else backend
