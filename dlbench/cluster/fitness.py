"""Whether a node can measure now, and what it hands back where it cannot."""

from __future__ import annotations

import dataclasses
import os
import socket
import time

REMEDY = (
    "dlbench doctor tells when it is fit; --max-wait SECONDS, behind the --, gives it longer to come to rest, and"
    " --max-wait 0 measures all the same"
)


@dataclasses.dataclass(frozen=True)
class GivenBack:
    """A shard that a node did not measure, and why the node was not fit."""

    node: str
    reason: str


def node_name() -> str:
    """What people call this node."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def unfit(threads: int | None, patience_s: float) -> str:
    """Why this machine is not fit to measure, in the words of `dlbench doctor`; empty where it is.

    Parameters
    ----------
    threads : that have to be free, by default one for each usable core.
    patience_s : how long it may take to come to rest (s); with 0 every machine is fit.
    """
    from dlbench.analyse.disturbance import causes, passes
    from dlbench.execute.readiness import examine, trouble
    from dlbench.telemetry.idle_check import disturbed_devices

    end_s = time.monotonic() + patience_s
    why = ""
    while patience_s:
        found = examine(devices=disturbed_devices)
        wanted = threads or found.seen.usable_cores or 1
        why = trouble(found, wanted)
        may_pass = found.devices or passes(causes(found.seen, wanted))
        if not why or not may_pass or time.monotonic() > end_s:
            break
    return why
