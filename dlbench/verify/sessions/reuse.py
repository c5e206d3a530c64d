"""What the verifications of one process share: sessions that are used again, and what has been found out already.

Opening a session is what verification costs a backend that compiles, and many checks are of the same small network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

from dlbench.contract import Adapter, BackendInfo, Plan, Session
from dlbench.spec.workload import Weights, Workload

T = TypeVar("T")


class Reusing:
    """An adapter that opens a session once for a plan and a workload, and gives it again at other weights.

    The first use of a session is of one that was opened at its weights, so that it is seen what `open` makes of them.
    After that `load` has to make it as good as new: what is left over from before is a fault of `load`, and is found as
    wrong figures. Those that differ by nothing but the learning rate are one session, since that can be set.

    Parameters
    ----------
    adapter : the backend.
    keep : of how many sessions at the most; the one that was not used for longest goes first.
    """

    def __init__(self, adapter: Adapter, keep: int = 48) -> None:
        self._adapter = adapter
        self._keep = keep
        self._sessions: dict[Hashable, Session] = {}

    def info(self) -> BackendInfo:
        """What the adapter says."""
        return self._adapter.info()

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> Session:
        """A session at `weights` with a fresh optimizer: a new one, or one that nobody else uses any more. One that
        only infers is always new, since it need not load anything."""
        if plan.scenario != "train":
            return self._adapter.open(plan, workload, weights)
        rate = workload.optimizer.learning_rate
        ruled = dataclasses.replace(workload.optimizer, learning_rate=1.0)
        key = plan, dataclasses.replace(workload, optimizer=ruled).digest
        session = self._sessions.pop(key, None)
        if session is None:
            if len(self._sessions) >= self._keep:
                del self._sessions[next(iter(self._sessions))]
            session = self._adapter.open(plan, workload, weights)
        else:
            session.load(weights)
            session.learning_rate = rate
        self._sessions[key] = session
        return session

    def forget(self) -> None:
        """Gives up all sessions: something went wrong, and what comes next is not to suffer from it."""
        self._sessions.clear()


class Once:
    """Finds out what depends on nothing but a key once, and then knows it."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Any] = {}

    def __call__(self, key: Hashable, find: Callable[[], T]) -> T:
        """What is to be known of a key, found out now if it was not before."""
        if key not in self._known:
            self._known[key] = find()
        return cast(T, self._known[key])
