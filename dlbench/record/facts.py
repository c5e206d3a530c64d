"""Facts that a worker reads and a record keeps, in the standard library alone, since workers import it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Environment:
    """What is installed where a backend's workers run.

    Attributes
    ----------
    python : the version of Python.
    packages : versions of those of `dlbench.host.environment.PACKAGES` that are there.
    package_count : how many distributions there are on the search path.
    packages_digest : SHA-256 of their lines ``name==version``, names normalised as PyPI does, in alphabetical
        order.
    """

    python: str
    packages: dict[str, str]
    package_count: int
    packages_digest: str


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """A window between two readings: what a machine did beside the process that was timed.

    Attributes
    ----------
    window_s : its length.
    other_cores : cores that other processes had, on average.
    stolen_cores : cores that the hypervisor gave to others.
    waiting_share, memory_waiting_share : share of the time in which something waited for a processor, or for memory.
    throttled_share : time that the control group's quota held processes back, over the window's; added up over
        cores.
    preemptions_per_s : how often this process was taken off a core against its will.
    usable_cores : cores that this process may run on, at the end.
    granted_cores : cores that it might run on, had nobody bound it to fewer: its cpuset's, or the machine's.
    quota_cores : processor time a second that its control group grants; None without a limit.
    frequency_hz : mean clock of these cores at the end.
    """

    window_s: float
    other_cores: float | None
    stolen_cores: float | None
    waiting_share: float | None
    memory_waiting_share: float | None
    throttled_share: float | None
    preemptions_per_s: float | None
    usable_cores: int | None
    granted_cores: int | None
    quota_cores: float | None
    frequency_hz: float | None
