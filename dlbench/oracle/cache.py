"""The oracle's results on disk, of bounded size.

No result outlives the code that it came from: its name begins with a hash over all of it, the draws of random numbers
included. What was used least recently goes when the cache is full, and other versions' results after a while.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import tempfile
import time
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_BYTES = 6 * 10**9
"""All of the cache is no larger; a file just written stays in any case. VGG-16 alone has 3 GB of gradients and weights
that steps end with."""
OTHER_VERSIONS_S = 7 * 86_400.0
"""How long results of another version of the sources are kept after they were used last."""

_ROOMS = ("oracle", "spec", "verify")
_MODULES = ("rng.py",)

Arrays = dict[str, npt.NDArray[Any]]


def place(cache_dir: Path, source: str, key: bytes) -> Path:
    """Where results lie: `source` is the version of the sources, `key` whatever else they depend on."""
    return cache_dir / "oracle" / f"{source}{hashlib.sha256(key).hexdigest()[:16]}.npz"


def load_arrays(path: Path) -> Arrays | None:
    """The arrays of a kept file, which counts as used now; None where there is none, or a damaged one."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
    except (SyntaxError, tokenize.TokenError, RecursionError):
        # headers are read as Python
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return found


def save_arrays(path: Path, arrays: Arrays) -> None:
    """Writes a file so that a reader sees all of it or nothing, then evicts what is too much; where nothing can be
    written, nothing is kept, which costs time and no more."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".npz")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, **arrays)  # type: ignore[arg-type]
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        evict(path)


def evict(kept: Path) -> None:
    """Removes results of other versions that nobody used for a while, and, while the cache is larger than `MAX_BYTES`,
    what was used least recently, but for `kept`."""
    version, now = kept.name[:16], time.time()
    files = sorted(_files(kept.parent))
    total = sum(size for _, size, _ in files)
    for used_s, size, path in files:
        is_stale = not path.name.startswith(version) and now - used_s > OTHER_VERSIONS_S
        if path != kept and (is_stale or total > MAX_BYTES):
            with contextlib.suppress(OSError):
                path.unlink()
                total -= size


@functools.cache
def source_hash() -> str:
    """A hash over the source of everything that the oracle's results depend on."""
    digest = hashlib.sha256(np.__version__.encode())
    for file in sources():
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def sources() -> list[Path]:
    """The files that `source_hash` covers."""
    package = Path(__file__).parents[1]
    files = [package / name for name in _MODULES]
    return [*files, *(file for room in _ROOMS for file in sorted((package / room).rglob("*.py")))]


def _files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """When each file was used last, its size, and its path."""
    for path in folder.glob("*.npz"):
        with contextlib.suppress(OSError):
            found = path.stat()
            yield found.st_mtime, found.st_size, path
