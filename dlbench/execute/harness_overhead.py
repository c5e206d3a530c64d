"""What the harness measures of itself and of the machine once a run, in workers of their own: what a timing costs,
and how fast the machine multiplies matrices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from dlbench.execute import results
from dlbench.record.facts import PeakResult, TimerResult
from dlbench.record.schema import Line
from dlbench.telemetry.watch import Watch
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

    def peak(self, threads: int) -> None:
        """The matrix-product rate."""
        ended = self.run({"job": "peak"}, PeakResult, Watch())
        if ended.result is None:
            self.tell(f"SGEMM peak unknown: {ended.reason}")
        else:
            self.write(results.peak(0, threads, ended.result))
