"""Data-parallel training by `torch.nn.parallel.DistributedDataParallel`, as people run it under ``torchrun``: a process
for each rank, gloo between CPUs and NCCL between GPUs.

Each rank has a session of its own part of every batch, whose network is wrapped; gradients are averaged while they are
computed, in buckets, and every rank's optimizer steps by the same mean. What people leave at its default stays there.
This process is rank 0 and tells the others what to do (`..shared.ranks`), where under ``torchrun`` each would run the
same loop by itself: a step begins when the message arrives.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from dlbench.contract import Plan, SessionBase
from dlbench.errors import PlanRefused
from dlbench.helpers.refusals import refuse_unless
from dlbench.spec.workload import Weights, Workload

from ..shared import ranks
from . import runtime
from .adapter import Session

MODE = "eager"
PRECISIONS = ("fp32",)
_STORE: Any = distributed.TCPStore  # type: ignore[attr-defined]


def refuse(plan: Plan, workload: Workload, device: torch.device) -> None:
    """Refuses what several ranks do not do here.

    Raises
    ------
    PlanRefused : another mode or precision, a batch that cannot be cut evenly or leaves too little to normalise, or
        fewer GPUs than ranks.
    """
    refuse_unless(
        "torch on several ranks",
        plan,
        modes=(MODE,),
        precisions=PRECISIONS,
        worlds=(plan.world,),
    )
    if device.type == "cuda":
        left = torch.cuda.device_count() - (device.index or 0)
        if left < plan.world:
            raise PlanRefused(
                f"{plan.world} ranks need a GPU each; from {device} on there are {left}"
            )
    if plan.batch % plan.world:
        raise PlanRefused(f"a batch of {plan.batch:,} cannot be cut evenly for {plan.world} ranks")
    norm = workload.untrainable(plan.batch // plan.world)
    if norm is not None:
        raise PlanRefused(
            f"{norm.name} would normalise a single value: {plan.world} ranks have a sample each of {plan.batch}"
        )


class Replica(Session):
    """A rank's own session: its part of every batch, and gradients that are those of all ranks."""

    def __init__(
        self, plan: Plan, workload: Workload, weights: Weights, device: torch.device, rank: int
    ) -> None:
        super().__init__(plan, workload, weights, device)
        self._parallel: DistributedDataParallel | None = None
        if self._trained:
            devices = None if device.type == "cpu" else [device]
            self._parallel = DistributedDataParallel(self._network, device_ids=devices)
            self._forward = self._parallel
        # else each rank would draw the same masks
        torch.manual_seed((plan.seed * plan.world + rank) % 2**63)

    def _outputs(self, batch: Any) -> torch.Tensor:
        with self._inference_mode():
            outputs: torch.Tensor = self._network(batch[0])
            return outputs

    def infer(self, batch: Any) -> torch.Tensor:
        """Outputs of its part, by running statistics that are rank 0's, as the next step's would be."""
        if self._network.training:
            for statistic in self._network.buffers():
                distributed.broadcast(statistic, 0)
        return super().infer(batch)

    def step_alone(self, batch: Any) -> None:
        """A step by this rank's own gradients."""
        with self._parallel.no_sync() if self._parallel else contextlib.nullcontext():
            self.train_step(batch)


class Rank:
    """What a rank does when it is told to: things that rank 0 names by numbers."""

    replica: type[Replica] = Replica

    def __init__(self, rank: int = 0) -> None:
        self._rank = rank
        self._things: dict[int, Any] = {}

    def drop(self, number: int) -> None:
        """Forgets a thing."""
        self._things.pop(number, None)

    def join(self, rank: int, world: int, port: int, device: str) -> None:
        """Becomes one of the ranks; returns when all have."""
        self._rank = rank
        store = _STORE("127.0.0.1", port, is_master=False, timeout=_patience())
        _join(store, rank, world, device)

    def open(
        self, number: int, plan: Plan, workload: Workload, weights: Weights, device: str
    ) -> None:
        """Opens a session by the plan of one rank."""
        where = torch.device(device)
        if where.type == "cuda":
            where = torch.device("cuda", (where.index or 0) + self._rank)
            torch.cuda.set_device(where)
        runtime.set_threads(plan.threads)
        runtime.set_strict_fp32()
        self._things[number] = self.replica(plan, workload, weights, where, self._rank)

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

    def threads(self) -> int:
        """CPU threads of its process."""
        return torch.get_num_threads()

    def facts(self, session: int) -> Mapping[str, str | int]:
        """A session's."""
        found: Mapping[str, str | int] = self._things[session].facts
        return found


def serve(leader: Connection) -> None:
    """What a rank's process does."""
    rank = Rank()
    ranks.obey(leader, rank, rank.drop)


@dataclasses.dataclass
class _Team:
    """The ranks of this process; there is one process group in a process, and so one team."""

    world: int
    kind: str
    module: str
    others: ranks.Ranks
    own: Rank
    store: Any

    def end(self) -> None:
        """Ends the other ranks."""
        self.others.end()
        if distributed.is_initialized():
            distributed.destroy_process_group()


_teams: list[_Team] = []


def _team(world: int, device: torch.device, threads: int, module: str) -> _Team:
    """The ranks, started now where there are none of that number."""
    for team in list(_teams):
        same = (team.world, team.kind, team.module) == (world, device.type, module)
        if same and team.others.alive:
            return team
        _teams.remove(team)
        team.end()
    if sys.platform == "linux":
        # whatever this machine's name resolves to
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    others = ranks.Ranks(world, module, threads)
    with others.together():
        store = _STORE("127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=_patience())
        calls = [(rank, world, store.port, device.type) for rank in range(world)]
        others.tell_each("join", calls)
        _join(store, 0, world, device.type)
    own: Rank = sys.modules[module].Rank()
    _teams.append(_Team(world, device.type, module, others, own, store))
    return _teams[0]


def _join(store: Any, rank: int, world: int, kind: str) -> None:
    backend = "gloo" if kind == "cpu" else "nccl"
    distributed.init_process_group(
        backend, store=store, rank=rank, world_size=world, timeout=_patience()
    )


def _patience() -> datetime.timedelta:
    return datetime.timedelta(seconds=ranks.ANSWER_S)


class _Thing:
    """What every rank has a part of."""

    def __init__(self, team: _Team) -> None:
        self.number = team.others.number()
        self._drop = team.others.drop, team.own.drop

    def __del__(self) -> None:
        for drop in self._drop:
            drop(self.number)


class _Outputs(_Thing):
    """Outputs of a batch's parts."""


class ParallelSession(SessionBase):
    """One workload on several ranks; a `dlbench.contract.RanksSession`.

    Parameters
    ----------
    module : what each rank runs: a ``Rank``, and ``serve``, which has one obey.
    """

    def __init__(
        self,
        plan: Plan,
        workload: Workload,
        weights: Weights,
        device: torch.device,
        module: str = __name__,
    ) -> None:
        refuse(plan, workload, device)
        self._world = plan.world
        self._team = _team(plan.world, device, plan.rank_threads, module)
        self._session = _Thing(self._team)
        own = dataclasses.replace(plan, batch=plan.batch // plan.world, threads=plan.rank_threads)
        self._do("open", self._session.number, own, workload, weights, str(device))
        self._learning_rate = workload.optimizer.learning_rate
        threads = sum(self._ask("threads"))
        facts = self._team.own.facts(self._session.number)
        self._facts: dict[str, str | int] = {
            **facts,
            "threads": threads,
            "rank_threads": facts["threads"],
            "ranks": self._world,
            "all_reduce": distributed.get_backend(),
        }

    @property
    def facts(self) -> Mapping[str, str | int]:
        """Rank 0's, with the threads of all."""
        own = self._team.own.facts(self._session.number)
        return {**own, **self._facts}

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = value
        self._do("set_rate", self._session.number, value)

    def upload(self, inputs: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> _Thing:
        """Each rank's part, where its steps read it."""
        batch = _Thing(self._team)
        parts = zip(np.split(inputs, self._world), np.split(targets, self._world), strict=True)
        calls = [(self._session.number, batch.number, *part) for part in parts]
        with self._team.others.together():
            self._team.others.tell_each("upload", calls)
            self._team.own.upload(*calls[0])
        return batch

    def infer(self, batch: _Thing) -> _Outputs:
        """Each rank infers its part."""
        outputs = _Outputs(self._team)
        self._do("infer", self._session.number, batch.number, outputs.number)
        return outputs

    def train_step(self, batch: _Thing) -> _Thing:
        """One step of all ranks."""
        loss = _Thing(self._team)
        self._do("train_step", self._session.number, batch.number, loss.number)
        return loss

    def download(self, result: _Thing) -> npt.NDArray[np.float32]:
        """Outputs of the whole batch, or its mean loss."""
        parts = self._ask("download", self._session.number, result.number)
        if isinstance(result, _Outputs):
            return np.concatenate(parts)
        return _mean(parts)

    def weights(self) -> Weights:
        """Rank 0's."""
        return self._team.own.weights(self._session.number)

    def rank_weights(self) -> Sequence[Weights]:
        """Every rank's."""
        return self._ask("weights", self._session.number)

    def alone_ns(self, batch: _Thing, steps: int) -> Sequence[Sequence[int]]:
        """What each rank's own steps took, without any all-reduce."""
        return self._ask("alone_ns", self._session.number, batch.number, steps)

    def load(self, weights: Weights, *, keep_optimizer: bool = False) -> None:
        """Puts every rank at the same weights."""
        self._do("load", self._session.number, weights, keep_optimizer)

    def synchronize(self) -> None:
        """Returns when the slowest rank is done."""
        self._ask("synchronize", self._session.number)

    def _do(self, name: str, *arguments: Any) -> None:
        """Has every rank do something, this one among them."""
        with self._team.others.together():
            self._team.others.tell(name, *arguments)
            getattr(self._team.own, name)(*arguments)

    def _ask(self, name: str, *arguments: Any) -> list[Any]:
        """What every rank answers, rank 0 first."""
        with self._team.others.together():
            answers: Callable[[], list[Any]] = self._team.others.asking(name, *arguments)
            own = getattr(self._team.own, name)(*arguments)
            return [own, *answers()]


def _mean(losses: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    """Of equal parts."""
    return np.asarray(np.mean(np.asarray(losses, np.float64)), np.float32)
