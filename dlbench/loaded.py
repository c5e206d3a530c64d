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


def put_first(own: Mapping[str, Any]) -> None:
    """Has this process import from a version's own folder.

    Parameters
    ----------
    own : ``path``, folders to search before all others, and ``backends``, a folder to be the package
        `dlbench.backends`, or None: the core stays that of the runner.
    """
    sys.path[:0] = own["path"]
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

    Returns
    -------
    ``adapter``: the file of the adapter's module; ``files``: SHA-256 by relative path of all that was loaded
    from the version's own folders; ``packages``: the file of every other top-level package but Python's and
    dlbench's own; ``python``: the interpreter's version.
    """
    own_folders = [Path(place).resolve() for place in own["path"]]
    files: dict[str, str] = {}
    packages: dict[str, str] = {}
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
        elif "." not in name and name not in sys.stdlib_module_names and name != "dlbench":
            packages[name] = str(file)
    module = sys.modules[adapter.partition(":")[0]]
    return {
        "adapter": str(Path(module.__file__ or "").resolve()),
        "files": files,
        "packages": packages,
        "python": platform.python_version(),
    }
