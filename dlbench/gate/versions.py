"""One of the two versions that a gate compares: where its code lies and what runs it."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

from dlbench import plugins
from dlbench.errors import UsageError
from dlbench.gate.pairs import Arm

TARGET_VARIABLE = "DLBENCH_TARGET"
"""Tells a command of ``--setup`` the folder to install into."""


@dataclasses.dataclass(frozen=True)
class Version:
    """A version, ready to be run.

    Attributes
    ----------
    arm : which of the two it is.
    label : what the user calls it.
    python : the interpreter of its processes.
    folder : where its code is installed, or lies; None when it has no code of its own.
    checkout : its repository's files as they were built; None without `folder`.
    working_tree : the user's own files, from which neither version may load; None without `folder`.
    shared : a folder whose code is the same in both versions, searched after all others.
    """

    arm: Arm
    label: str
    python: str = sys.executable
    folder: Path | None = None
    checkout: Path | None = None
    working_tree: Path | None = None
    shared: Path | None = None

    def own(self) -> dict[str, Any]:
        """What a worker is to load from this version; see `dlbench.worker.import_provenance`."""
        path: list[str] = []
        backends: str | None = None
        if self.folder is not None:
            path = [str(self.folder)]
            shipped = self.folder / "dlbench" / "backends"
            backends = str(shipped) if (shipped / "__init__.py").is_file() else None
        return {
            "path": path,
            "last": [] if self.shared is None else [str(self.shared)],
            "backends": backends,
            "working_tree": None if self.working_tree is None else str(self.working_tree),
        }

    def adapter(self, backend: str) -> str | None:
        """The ``module:Class`` of a backend by the version's own entry points; None where it has none of that
        name. A ``module:Class`` is itself."""
        if ":" in backend:
            return plugins.adapter_target(backend)
        return plugins.adapters_in(self.folder).get(backend) if self.folder else None

    def file(self, path: Path) -> Path | None:
        """The version's copy of a file of the repository that `path` lies in, relative to its root."""
        return None if self.checkout is None else self.checkout / path


def targets(base: Version, new: Version, backend: str) -> dict[Arm, str | None]:
    """The adapter of a backend in each version; None where only the other one has it.

    Raises
    ------
    UsageError : neither has it, and it is not installed either.
    """
    found: dict[Arm, str | None] = {"base": base.adapter(backend), "new": new.adapter(backend)}
    if any(found.values()):
        return found
    try:
        here = plugins.adapter_target(backend)
    except UsageError as error:
        raise UsageError(f"--backend: {error}") from None
    return {"base": here, "new": here}


@dataclasses.dataclass(frozen=True)
class Sources:
    """The files of a repository in either version, relative to its root, and those in which the two differ."""

    files: frozenset[str]
    changed: frozenset[str]
