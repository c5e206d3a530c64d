"""Asks oneDNN what it does in a step, in a process of its own, since its answers take time."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import tempfile
from collections.abc import Callable, Iterator

import numpy as np

from dlbench import members
from dlbench.contract import Plan
from dlbench.profile import onednn
from dlbench.record.facts import PrimitivesResult
from dlbench.worker.jobs.common import import_adapter, initial_of, start_device, workload_of
from dlbench.worker.measurements import Job
from dlbench.worker.phases import Phases

_WARMUP_STEPS = 3
"""In which frameworks compile, and lay out weights for good."""


def primitives(job: Job, phases: Phases) -> PrimitivesResult:
    """The primitives of one step; none of a backend that does not compute by oneDNN."""
    os.environ.update(onednn.ENVIRONMENT)
    with _printed() as printed:
        adapter, _ = import_adapter(job, phases)
        plan, workload, weights = Plan(**job["plan"]), workload_of(job), initial_of(job)
        start_device(adapter, plan, phases)
        phases.enter("open")
        session = members.open_session(adapter, plan, workload, weights)
        with np.load(job["files"]["batches"]) as arrays:
            batch = session.upload(arrays["inputs"][0], arrays["targets"][0])
        step = session.train_step if plan.scenario == "train" else session.infer
        for _ in range(_WARMUP_STEPS):
            step(batch)
            session.synchronize()
        printed()
        step(batch)
        session.synchronize()
        lines = printed().splitlines()
    return PrimitivesResult(primitives=onednn.read(lines), seconds=phases.take_seconds())


@contextlib.contextmanager
def _printed() -> Iterator[Callable[[], str]]:
    """Within, what the process prints goes where the function that is given reads what has come since it was asked
    last: libraries print past Python, into the descriptor."""
    sys.stdout.flush()
    kept = os.dup(1)
    flush = ctypes.CDLL(None).fflush
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 1)
        read_bytes = 0

        def printed() -> str:
            nonlocal read_bytes
            flush(None)
            # the position is that of the writers too
            found = os.pread(file.fileno(), os.fstat(file.fileno()).st_size, read_bytes)
            read_bytes += len(found)
            return found.decode(errors="replace")

        try:
            yield printed
        finally:
            flush(None)
            os.dup2(kept, 1)
            os.close(kept)
