"""What a worker really loaded: two versions of a code are only compared when each process ran its own.

An editable install, a stale build folder or a cache can put one version in the other's place, and the
comparison would then be of a program with itself. So the worker puts its version's folder first and says
afterwards which files came from there.
"""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_BACKENDS = "dlbench.backends"
_PACKAGE_FOLDERS = {"site-packages", "dist-packages"}


def put_first(own: Mapping[str, Any]) -> None:
    """Has this process import from a version's own folder.

    Parameters
    ----------
    own : ``path``, folders to search before all others, ``last``, folders to search after them; ``working_tree``,
        the folder that the version was made from and must not be loaded from, or None; and ``backends``, a folder
        to be the package `dlbench.backends`, or None: the core stays that of the runner.
    """
    if own["working_tree"] is not None:
        tree = Path(own["working_tree"]).resolve()
        sys.path[:] = [place for place in sys.path if not _is_source(Path(place).resolve(), tree)]
    sys.path[:0] = own["path"]
    sys.path += [place for place in own["last"] if place not in sys.path]
    if own["backends"] is not None:
        folder = Path(own["backends"])
        spec = importlib.util.spec_from_file_location(
            _BACKENDS, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        if spec is None or spec.loader is None:
            raise ImportError(f"{folder} is no package")
        package = importlib.util.module_from_spec(spec)
        sys.modules[_BACKENDS] = package
        spec.loader.exec_module(package)


def look(own: Mapping[str, Any], adapter: str) -> dict[str, Any]:
    """What has been imported until now.

    Parameters
    ----------
    own : as for `put_first`.

    Returns
    -------
    ``adapter``: the file of the adapter's module; ``files``: SHA-256 by relative path of all that was loaded
    from the version's own folders; ``packages``: the file of every other top-level package but Python's and
    dlbench's own; ``working_tree``: the files, relative to it, that came from there all the same; ``python``: the
    interpreter's version.
    """
    own_folders = [Path(place).resolve() for place in own["path"]]
    tree = None if own["working_tree"] is None else Path(own["working_tree"]).resolve()
    files: dict[str, str] = {}
    packages: dict[str, str] = {}
    strays: list[str] = []
    for name, module in list(sys.modules.items()):
        place = getattr(module, "__file__", None)
        if not isinstance(place, str):
            continue
        file = Path(place).resolve()
        folder = next((each for each in own_folders if file.is_relative_to(each)), None)
        if folder is not None and file.is_file():
            files[file.relative_to(folder).as_posix()] = hashlib.sha256(
                file.read_bytes()
            ).hexdigest()
            continue
        if _is_core(name) or name.partition(".")[0] in sys.stdlib_module_names:
            continue
        if "." not in name:
            packages[name] = str(file)
        if tree is not None and _is_source(file, tree):
            strays.append(file.relative_to(tree).as_posix())
    module = sys.modules[adapter.partition(":")[0]]
    return {
        "adapter": str(Path(module.__file__ or "").resolve()),
        "files": files,
        "packages": packages,
        "working_tree": sorted(set(strays)),
        "python": platform.python_version(),
    }


def _is_core(name: str) -> bool:
    """Whether a module is the harness, which is the runner's in every worker."""
    ours = name == "dlbench" or name.startswith("dlbench.")
    return ours and not (name == _BACKENDS or name.startswith(f"{_BACKENDS}."))


def _is_source(place: Path, tree: Path) -> bool:
    """Whether a place is of a working tree, and of no environment that lies in it."""
    if not place.is_relative_to(tree):
        return False
    for prefix in (Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()):
        if prefix.is_relative_to(tree) and place.is_relative_to(prefix):
            return False
    return _PACKAGE_FOLDERS.isdisjoint(place.relative_to(tree).parts)
