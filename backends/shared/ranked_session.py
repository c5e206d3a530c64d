"""One session that several ranks have parts of: what it tells them, and what each does when it is told to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dlbench.contract import Plan, Session, SessionBase
from dlbench.errors import PlanRefused
from dlbench.spec.workload import Weights, Workload

from .ranks import Ranks


class Replica(Session, Protocol):
    """A rank's own session: its part of every batch, and steps by the mean of all ranks' gradients."""

    def step_alone(self, batch: Any) -> None:
        """A step by this rank's own gradients, for which it waits for no other."""


class Rank:
    """What a rank does when it is told to: things that the leader names by numbers."""

    def __init__(self, rank: int = 0) -> None:
        self._rank = rank
        self._things: dict[int, Any] = {}

    def drop(self, number: int) -> None:
        """Forgets a thing."""
        self._things.pop(number, None)

    def set_rate(self, session: int, rate: float) -> None:
        """Sets a session's learning rate."""
        self._things[session].learning_rate = rate

    def upload(
        self, session: int, number: int, inputs: npt.NDArray[Any], targets: npt.NDArray[Any]
    ) -> None:
        """Has a session's part of a batch."""
        self._things[number] = self._things[session].upload(inputs, targets)

    def infer(self, session: int, batch: int, number: int) -> None:
        """Infers a part of a batch."""
        self._things[number] = self._things[session].infer(self._things[batch])

    def train_step(self, session: int, batch: int, number: int) -> None:
        """Takes a step; the loss of its own part."""
        self._things[number] = self._things[session].train_step(self._things[batch])

    def download(self, session: int, result: int) -> npt.NDArray[np.float32]:
        """A result as an array."""
        found: npt.NDArray[np.float32] = self._things[session].download(self._things[result])
        return found

    def weights(self, session: int) -> Weights:
        """A session's weights."""
        found: Weights = self._things[session].weights()
        return found

    def load(self, session: int, weights: Weights, keep_optimizer: bool) -> None:
        """Puts a session at other weights."""
        self._things[session].load(weights, keep_optimizer=keep_optimizer)

    def alone_ns(self, session: int, batch: int, steps: int) -> list[int]:
        """What steps took in which no rank waited for another (ns)."""
        replica, part = self._things[session], self._things[batch]
        found = []
        for _ in range(steps):
            began_ns = time.perf_counter_ns()
            replica.step_alone(part)
            replica.synchronize()
            found.append(time.perf_counter_ns() - began_ns)
        return found

    def synchronize(self, session: int) -> None:
        """Waits for the device."""
        self._things[session].synchronize()

    def facts(self, session: int) -> Mapping[str, str | int]:
        """A session's."""
        found: Mapping[str, str | int] = self._things[session].facts
        return found


class Team:
    """All ranks, told as one.

    Parameters
    ----------
    others : the ranks in processes of their own.
    own : rank 0, where this process is it.
    """

    def __init__(self, others: Ranks, own: Rank | None = None) -> None:
        self.others, self.own = others, own

    def do(self, name: str, *arguments: Any) -> None:
        """Has every rank do something."""
        with self.others.together():
            self.others.tell(name, *arguments)
            if self.own:
                getattr(self.own, name)(*arguments)

    def do_each(self, name: str, arguments: Sequence[tuple[Any, ...]]) -> None:
        """Has every rank do something of its own; `arguments` are by rank."""
        with self.others.together():
            self.others.tell_each(name, arguments)
            if self.own:
                getattr(self.own, name)(*arguments[0])

    def ask(self, name: str, *arguments: Any) -> list[Any]:
        """What every rank answers, rank 0 first."""
        with self.others.together():
            answers: Callable[[], list[Any]] = self.others.asking(name, *arguments)
            own = [getattr(self.own, name)(*arguments)] if self.own else []
            return own + answers()

    def drop(self, number: int) -> None:
        """Has the ranks forget a thing."""
        self.others.drop(number)
        if self.own:
            self.own.drop(number)


class Thing:
    """What every rank has a part of, until nobody names it any more."""

    def __init__(self, team: Team) -> None:
        self.number = team.others.number()
        self._drop = team.drop

    def __del__(self) -> None:
        self._drop(self.number)


class Outputs(Thing):
    """Outputs of a batch's parts."""


class RankedSession(SessionBase):
    """One workload on several ranks; a `dlbench.contract.RanksSession`.

    Parameters
    ----------
    opening : what every rank's ``open`` gets beside the number of its session.
    """

    def __init__(
        self, team: Team, plan: Plan, workload: Workload, weights: Weights, *opening: Any
    ) -> None:
        self._world = plan.world
        self._team = team
        self._session = Thing(team)
        self._do("open", workload, weights, *opening)
        self._learning_rate = workload.optimizer.learning_rate
        every = self._ask("facts")
        self._facts: dict[str, str | int] = {
            **every[0],
            "threads": sum(int(each["threads"]) for each in every),
            "rank_threads": every[0]["threads"],
            "ranks": self._world,
        }

    @property
    def facts(self) -> Mapping[str, str | int]:
        """Rank 0's, with the threads of all."""
        return self._facts

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = value
        self._do("set_rate", value)

    def upload(self, inputs: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> Thing:
        """Each rank's part, where its steps read it."""
        batch = Thing(self._team)
        parts = zip(np.split(inputs, self._world), np.split(targets, self._world), strict=True)
        calls = [(self._session.number, batch.number, *part) for part in parts]
        self._team.do_each("upload", calls)
        return batch

    def infer(self, batch: Thing) -> Outputs:
        """Each rank infers its part."""
        outputs = Outputs(self._team)
        self._do("infer", batch.number, outputs.number)
        return outputs

    def train_step(self, batch: Thing) -> Thing:
        """One step of all ranks."""
        loss = Thing(self._team)
        self._do("train_step", batch.number, loss.number)
        return loss

    def download(self, result: Thing) -> npt.NDArray[np.float32]:
        """Outputs of the whole batch, or its mean loss."""
        parts = self._ask("download", result.number)
        if isinstance(result, Outputs):
            return np.concatenate(parts)
        return np.asarray(np.mean(np.asarray(parts, np.float64)), np.float32)

    def weights(self) -> Weights:
        """Rank 0's."""
        found: Weights = self._ask("weights")[0]
        return found

    def rank_weights(self) -> Sequence[Weights]:
        """Every rank's."""
        return self._ask("weights")

    def alone_ns(self, batch: Thing, steps: int) -> Sequence[Sequence[int]]:
        """What each rank's own steps took, without any all-reduce."""
        return self._ask("alone_ns", batch.number, steps)

    def load(self, weights: Weights, *, keep_optimizer: bool = False) -> None:
        """Puts every rank at the same weights."""
        self._do("load", weights, keep_optimizer)

    def synchronize(self) -> None:
        """Returns when the slowest rank is done."""
        self._ask("synchronize")

    def _do(self, name: str, *arguments: Any) -> None:
        self._team.do(name, self._session.number, *arguments)

    def _ask(self, name: str, *arguments: Any) -> list[Any]:
        return self._team.ask(name, self._session.number, *arguments)


def refuse_parts(plan: Plan, workload: Workload) -> None:
    """Refuses a batch that ranks cannot have parts of.

    Raises
    ------
    PlanRefused : it cannot be cut evenly, or leaves a rank too little to normalise.
    """
    if plan.batch % plan.world:
        raise PlanRefused(f"a batch of {plan.batch:,} cannot be cut evenly for {plan.world} ranks")
    part = plan.batch // plan.world
    norm = workload.untrainable(part)
    if norm is not None:
        raise PlanRefused(
            f"{norm.name} would normalise a single value of each of {plan.world} ranks"
        )
