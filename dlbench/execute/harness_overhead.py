"""What the harness measures of itself and of the machine once a run, in workers of their own: what a timing costs,
what sampling does to timings, and how fast the machine multiplies matrices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import msgspec

from dlbench.execute import results
from dlbench.record.facts import PeakResult, SamplingResult, TimerResult
from dlbench.record.schema import Case, Line
from dlbench.telemetry.watch import Watch, Watcher
from dlbench.worker.supervisor import Ended

R = TypeVar("R")


class Run(Protocol):
    """Has a worker do a job on the CPU with the run's threads."""

    def __call__(self, job: Mapping[str, Any], result: type[R], watch: Watch) -> Ended[R]:
        """How that ended."""


@dataclasses.dataclass(frozen=True)
class Overheads:
    """Measures them.

    Parameters
    ----------
    run : has a worker do a job.
    write : takes lines of the record.
    tell : takes a sentence for people when something stays unknown.
    """

    run: Run
    write: Callable[[Line], None]
    tell: Callable[[str], None]

    def null_timing_ns(self) -> float | None:
        """What a timing costs: an empty session through the whole path."""
        ended = self.run({"job": "null"}, TimerResult, Watch())
        if ended.result is None:
            self.tell(f"timer overhead unknown: {ended.reason}")
            return None
        return ended.result.null_timing_ns

    def sampling(self, watcher: Watcher, case: Case) -> None:
        """What the sampler of the host does to work on all threads, on and off in turn."""
        if not watcher.period_ns:
            return
        # work on the CPU cannot tell what asking a GPU's driver does to work on the GPU
        with watcher.beside(msgspec.structs.replace(case, device="cpu"), 0) as watch:
            ended = self.run({"job": "sampling", "threads": case.threads}, SamplingResult, watch)
        if ended.result is None:
            self.tell(f"telemetry overhead unknown: {ended.reason}")
        else:
            self.write(results.sampling(case.threads, ended.result, watch.lines()))

    def peak(self, threads: int) -> None:
        """The matrix-product rate."""
        ended = self.run({"job": "peak"}, PeakResult, Watch())
        if ended.result is None:
            self.tell(f"SGEMM peak unknown: {ended.reason}")
        else:
            self.write(results.peak(0, threads, ended.result))
