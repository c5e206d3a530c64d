"""Runs jobs beside what the runner does meanwhile, so that nobody waits for the oracle while frameworks load.

Nothing that is timed may run then.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Hashable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from dlbench.record.facts import TimedResult
from dlbench.worker.launch import Launch, run_worker
from dlbench.worker.supervisor import Ended

Key = TypeVar("Key", bound=Hashable)


class Background(Generic[Key]):
    """Jobs under way, one after the other; see `started`."""

    def __init__(self, futures: Mapping[Key, Future[Ended[TimedResult]]]) -> None:
        self._futures = futures

    def __contains__(self, key: object) -> bool:
        return key in self._futures

    def result(self, key: Key) -> Ended[TimedResult]:
        """How a job ended; waits for it."""
        return self._futures[key].result()


@contextlib.contextmanager
def started(jobs: Mapping[Key, Mapping[str, Any]], launch: Launch) -> Iterator[Background[Key]]:
    """Starts jobs; those not done at the end of the context are stopped."""
    stopped, stop = os.pipe()
    try:
        with ThreadPoolExecutor(1) as pool:
            futures = {
                key: pool.submit(run_worker, job, launch, TimedResult, stop=stopped)
                for key, job in jobs.items()
            }
            try:
                yield Background(futures)
            finally:
                os.write(stop, b"!")
                pool.shutdown(cancel_futures=True)
    finally:
        os.close(stopped)
        os.close(stop)
