"""The oracle's results that a run needs, computed beside what else it does before timing, so that nobody waits for them
while frameworks load. Nothing that is timed may run then."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import os
import queue
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from dlbench.plan.request import ALL, Request
from dlbench.record.case import Case
from dlbench.record.facts import TimedResult
from dlbench.spec.verification import SECTION, to_table
from dlbench.spec.workload import Workload
from dlbench.worker.launch import Launch, Successors, launch_of
from dlbench.worker.measurements import ORACLE, Job
from dlbench.worker.supervisor import Ended

Key = tuple[int, str, int] | tuple[int, str, int, int]
"""A batch size, a precision and into how many parts batch statistics cut the batch; with the seed of initial weights,
what a session that trained is held against."""

_KEEPING = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TOP_PAD_": str(2**28),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
}
"""Has the C library on Linux keep what the oracle frees, for its next arrays: fresh pages for each of them take up to a
fifth of its time."""

_BOTH = 2
"""Threads of each part: whichever is computed to the last has both cores then."""
_MOST_TOGETHER = 2 * 10**7
"""Parameters of a network that is verified side by side: the perturbed runs of each part of the oracle hold all
gradients and moments in float64."""


def key_of(case: Case, workload: Workload) -> Key:
    """What a case is verified against."""
    return case.batch, case.precision, workload.replicas(case.world)


class References:
    """Results in the making; see `started_references`. `begin` starts the work on one, or on each of its two parts, of
    which the steps are the same for all batches; `end` ends the processes that have nothing to do."""

    def __init__(
        self,
        begin: Callable[[Job], Future[Ended[TimedResult]]],
        end: Callable[[], None],
        parts: bool = False,
    ) -> None:
        self._begin = begin
        self._end = end
        self._parts = parts
        self._steps: dict[str, Future[Ended[TimedResult]]] = {}
        self._futures: dict[Key, list[Future[Ended[TimedResult]]]] = {}

    def want(self, jobs: Mapping[Key, Job]) -> None:
        """Starts the work on those that are not in the making yet."""
        for key, job in jobs.items():
            if key in self._futures:
                continue
            if not self._parts:
                self._futures[key] = [self._begin(job)]
                continue
            precision = job["precision"]
            part = {**job, "threads": _BOTH}
            if precision not in self._steps:
                self._steps[precision] = self._begin({**part, "part": "steps"})
            self._futures[key] = [self._steps[precision], self._begin({**part, "part": "timed"})]

    def failure(self, key: Key) -> Ended[Any] | None:
        """How the work on one went wrong, None where it did not; waits for it."""
        for future in self._futures[key]:
            ended = future.result()
            if ended.status != "ok":
                reason = f"the float64 oracle could not be computed: {ended.reason}"
                return Ended("failed", reason, output=ended.output)
        return None

    def is_known(self, key: Key) -> bool:
        """Whether there is nothing to wait for."""
        return all(future.done() for future in self._futures[key])

    def failures(self) -> list[str]:
        """Why some could not be computed; waits for all, and leaves no process."""
        failures = [failure.reason for failure in map(self.failure, self._futures) if failure]
        self._end()
        return failures


def started_references(request: Request) -> contextlib.AbstractContextManager[References]:
    """Starts the work on all that a request needs; what is not done at the end of the context is stopped."""
    threads = _threads(request)
    # it tells of every layer, and of large networks each pass takes minutes: no limit but that of silence
    launch = launch_of(None, threads, request.limit_s, phase_s=math.inf)
    launch = dataclasses.replace(launch, environment={**launch.environment, **_KEEPING})
    parts = request.chosen_threads > 1 and verifies_side_by_side(request)
    return started(jobs_of(request, certain_precisions(request)), launch, parts)


def verifies_side_by_side(request: Request) -> bool:
    """Whether what verification computes goes on side by side: where all of it fits into memory together, and nothing
    is timed, for which the oracle has more to do while frameworks are verified, which need their cores."""
    return (
        request.rounds == 0
        and request.suite.verification is None
        and request.suite.workload.parameter_count <= _MOST_TOGETHER
    )


def certain_precisions(request: Request) -> list[str]:
    """Those that are asked for by name."""
    return [each for each in request.chosen_precisions if each != ALL]


def _threads(request: Request) -> int:
    """Half of the cores are left to what goes on meanwhile, which for a network that is dear is nothing beside it."""
    threads = request.chosen_threads
    return threads if request.suite.verification else max(1, threads // 2)


def jobs_of(
    request: Request, precisions: Iterable[str], weights_file: str | None = None
) -> dict[Key, Job]:
    """All that a request needs in these precisions.

    Parameters
    ----------
    weights_file : the initial weights that workers read; without it only what does not depend on them, where they come
        from a file of the user's.
    """
    job = {
        "workload": request.suite.workload.to_table(),
        "cache_dir": str(request.cache_dir),
        "threads": _threads(request),
        SECTION: to_table(request.suite.verification),
    }
    if request.init_weights is not None:
        job["files"] = {"weights": weights_file}
    precisions = dict.fromkeys(precisions)
    replicas = dict.fromkeys(map(request.suite.workload.replicas, request.worlds or (1,)))
    trains = request.rounds > 0 and "train" in request.chosen_scenarios
    trains = trains and (request.init_weights is None or weights_file is not None)
    jobs: dict[Key, Job] = {}
    # what a trained session is held against comes last, since a verification does not wait for it
    for seed in (None, request.seed) if trains else (None,):
        batches = request.chosen_batches if seed is None else request.batches_of("train")
        for batch, precision, parts in itertools.product(batches, precisions, replicas):
            if batch % parts:
                # there is no such case
                continue
            size = (batch, precision, parts)
            of = {"batch": batch, "precision": precision, "replicas": parts, "seed": seed}
            jobs[size if seed is None else (*size, seed)] = {**job, **of}
    return jobs


@contextlib.contextmanager
def started(jobs: Mapping[Key, Job], launch: Launch, parts: bool = False) -> Iterator[References]:
    """Starts jobs, one after the other or in two `parts` beside each other; those not done at the end of the context
    are stopped."""
    stopped, stop = os.pipe()
    workers = [Successors(launch) for _ in range(2 if parts else 1)]
    idle = queue.SimpleQueue[Successors]()
    for each in workers:
        idle.put(each)

    def compute(job: Job) -> Ended[TimedResult]:
        own = idle.get()
        try:
            return own.ask(ORACLE, job, stop=stopped)
        finally:
            idle.put(own)

    def end() -> None:
        for each in workers:
            each.close()

    try:
        with ThreadPoolExecutor(len(workers)) as pool:
            references = References(lambda job: pool.submit(compute, job), end, parts)
            references.want(jobs)
            try:
                yield references
            finally:
                os.write(stop, b"!")
                pool.shutdown(cancel_futures=True)
                end()
    finally:
        os.close(stopped)
        os.close(stop)
