"""In what two runs differ, so that figures of unlike runs are neither pooled nor compared unsaid.

A difference names both values, because that is what lets a person undo it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from dlbench.record.facts import Environment
from dlbench.record.schema import Data, Machine
from dlbench.text import plural

_UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class Difference:
    """One thing that is not the same: what it is, and its value in a record and now."""

    what: str
    recorded: str
    now: str

    def __str__(self) -> str:
        return f"{self.what} is {self.recorded} in the record and {self.now} now"


def between(what: str, recorded: Any, now: Any) -> list[Difference]:
    """The difference between two values that can be shown as they are; none when they are equal."""
    return [] if recorded == now else [Difference(what, _shown(recorded), _shown(now))]


def machines(recorded: Machine, now: Machine) -> list[Difference]:
    """In what two machines differ, with the versions of the packages that are installed there."""
    found = hardware_differences(recorded, now)
    found += between("the system", recorded.system, now.system)
    found += between("Python", recorded.python, now.python)
    return [*found, *_packages(recorded, now)]


def hardware_differences(recorded: Machine, now: Machine) -> list[Difference]:
    """In what two machines themselves differ; figures of the two are not to be compared then.

    Memory is compared in whole GiB: the kernel keeps a part that is not the same after each start.
    """
    pairs: Mapping[str, tuple[Any, Any]] = {
        "the CPU": (recorded.cpu, now.cpu),
        "the number of physical cores": (recorded.physical_cores, now.physical_cores),
        "the number of logical cores": (recorded.logical_cores, now.logical_cores),
        "the number of usable cores": (recorded.usable_cores, now.usable_cores),
        "memory": (_gib(recorded.memory_bytes), _gib(now.memory_bytes)),
        "the GPU": (", ".join(recorded.gpus) or "none", ", ".join(now.gpus) or "none"),
    }
    return [each for what, pair in pairs.items() for each in between(what, *pair)]


def environments(backend: str, recorded: Environment, now: Environment) -> list[Difference]:
    """In what the environments of a backend's workers differ. Their lists of packages are named where no package
    with a recorded version tells them apart."""
    found = [
        *between(f"the Python of {backend}", recorded.python, now.python),
        *_packages(recorded, now, f" of {backend}"),
    ]
    if found or recorded.packages_digest == now.packages_digest:
        return found
    return [
        Difference(f"the list of packages of {backend}", package_list(recorded), package_list(now))
    ]


def package_list(environment: Environment) -> str:
    """A list of packages as its number and the beginning of its digest: ``84 packages (3f2a91c0)``."""
    return f"{plural(environment.package_count, 'package')} ({environment.packages_digest[:8]})"


def data(recorded: Data, now: Data) -> list[Difference]:
    """Whether two data sets have the same contents."""
    if recorded.fingerprint == now.fingerprint:
        return []
    return [Difference("the data", _contents(recorded), _contents(now))]


def sentence(differences: Iterable[Difference]) -> str:
    """All of them, one after the other."""
    return "; ".join(map(str, differences))


def _contents(data: Data) -> str:
    return f"{data.source or data.name} ({data.fingerprint[:12]})"


def _packages(
    recorded: Machine | Environment, now: Machine | Environment, of: str = ""
) -> list[Difference]:
    found: list[Difference] = []
    # what is in the record alone may be a package that nobody looks for any more; a list's digest tells the rest
    for name in sorted(now.packages):
        versions = (where.packages.get(name, "not installed") for where in (recorded, now))
        found += between(f"the package {name}{of}", *versions)
    return found


def _gib(size_bytes: int | None) -> str:
    return _UNKNOWN if size_bytes is None else f"{size_bytes / 2**30:.0f} GiB"


def _shown(value: Any) -> str:
    if value is None:
        return _UNKNOWN
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))
    return str(value)
