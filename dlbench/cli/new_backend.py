"""`dlbench new-backend NAME`: a file to begin a backend with, which runs and passes conformance as it stands."""

from __future__ import annotations

import importlib.util
import keyword
from importlib import resources
from pathlib import Path

from dlbench import plugins
from dlbench.errors import UsageError


def write_start(name: str, functional: bool, folder: Path) -> Path:
    """Writes ``NAME.py`` into a folder, and says where.

    Raises
    ------
    UsageError : the name is none for a module, or another's; or the file is there, or cannot be written.
    """
    if not name.isidentifier() or keyword.iskeyword(name):
        raise UsageError(f"{name!r} is no name for a Python module; like my_backend")
    path = folder / f"{name}.py"
    if path.exists():
        raise UsageError(f"{path.name} is there already; choose another name, or move it away")
    if name in plugins.adapter_names() or _is_installed(name):
        raise UsageError(
            f"{name!r} is the name of a backend or a module that is installed; like my_{name}"
        )
    style = "functional" if functional else "class"
    text = (
        resources.files("dlbench.backends.starts").joinpath(f"{style}_style.py").read_text("utf-8")
    )
    try:
        # nobody else's file of this name, made meanwhile, is overwritten
        with path.open("x", encoding="utf-8") as file:
            file.write(text.replace('NAME = "start"', f'NAME = "{name}"'))
    except OSError as error:
        raise UsageError(f"{path.name} cannot be written: {error.strerror}") from error
    return path


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:
        # one that this process was started as
        return True
