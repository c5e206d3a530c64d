"""What is known of a backend on this machine: planning needs it, and starts no process to get it."""

from __future__ import annotations

import dataclasses

from dlbench.record.facts import Environment
from dlbench.worker.supervisor import Status


@dataclasses.dataclass(frozen=True)
class Found:
    """One backend, as seen here.

    Attributes
    ----------
    status : ``ok``; ``skipped`` when it cannot be used here; or how looking at it went wrong.
    reason, remedy : why it is not ``ok``, and what would help.
    output : traceback and last output of a failure.
    version, mode, modes, libraries : as in `dlbench.contract.BackendInfo`.
    devices : name and description of each.
    uuids : by name, of those that have one.
    no_gpu : why there is no CUDA device among them, where the backend told.
    facts : what a session observed (``threads``, …); empty unless one was opened.
    default_device : device of the row of a backend that cannot be used.
    environment : what is installed where its workers run; None where that could not be asked.
    seconds : wall time of the look.
    """

    status: Status
    reason: str = ""
    remedy: str = ""
    output: str = ""
    version: str = ""
    mode: str = ""
    modes: tuple[str, ...] = ()
    libraries: dict[str, str] = dataclasses.field(default_factory=dict)
    devices: tuple[tuple[str, str], ...] = ()
    uuids: dict[str, str] = dataclasses.field(default_factory=dict)
    no_gpu: str = ""
    facts: dict[str, str | int] = dataclasses.field(default_factory=dict)
    default_device: str = "cpu"
    environment: Environment | None = None
    seconds: float = 0.0
