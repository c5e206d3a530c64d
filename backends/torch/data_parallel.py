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
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from dlbench.contract import Plan
from dlbench.errors import PlanRefused
from dlbench.helpers.refusals import refuse_unless
from dlbench.spec.workload import Weights, Workload

from ..shared import ranked_session, ranks
from ..shared.ranked_session import refuse_parts
from . import runtime
from .adapter import Session

MODE = "eager"
PRECISIONS = ("fp32",)
_STORE: Any = distributed.TCPStore  # type: ignore[attr-defined]


def refuse(plan: Plan, workload: Workload, device: torch.device) -> None:
    """Refuses what several ranks do not do here.

    Raises
    ------
    PlanRefused : another mode or precision, a batch that cannot be cut evenly or leaves too little to normalise,
        fewer GPUs than ranks, or a PyTorch without NCCL.
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
        if not distributed.is_nccl_available():
            raise PlanRefused("ranks on GPUs need NCCL, and this PyTorch was built without it")
    refuse_parts(plan, workload)


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


def own_device(device: torch.device, rank: int) -> torch.device:
    """The device of a rank: the CPU, or a GPU for itself, from the plan's on."""
    if device.type != "cuda":
        return device
    return torch.device("cuda", (device.index or 0) + rank)


def group_backend(device: torch.device) -> str:
    """What carries gradients between ranks: gloo between CPUs, NCCL between GPUs."""
    return "nccl" if device.type == "cuda" else "gloo"


class Rank(ranked_session.Rank):
    """What a rank does when it is told to."""

    replica: type[Replica] = Replica

    def join(self, rank: int, world: int, port: int, device: str) -> None:
        """Becomes one of the ranks; returns when all have."""
        self._rank = rank
        store = _STORE("127.0.0.1", port, is_master=False, timeout=_patience())
        _join(store, rank, world, torch.device(device))

    def open(
        self, number: int, workload: Workload, weights: Weights, plan: Plan, device: str
    ) -> None:
        """Opens a session by the plan of one rank."""
        where = own_device(torch.device(device), self._rank)
        if where.type == "cuda":
            # also NCCL's, whose collectives begin with the network's wrapping
            torch.cuda.set_device(where)
        runtime.set_threads(plan.threads)
        runtime.set_strict_fp32()
        self._things[number] = self.replica(plan, workload, weights, where, self._rank)


def serve(leader: Connection) -> None:
    """What a rank's process does."""
    rank = Rank()
    ranks.obey(leader, rank, rank.drop)


class _Team(ranked_session.Team):
    """The ranks of this process; there is one process group in a process, and so one team."""

    own: Rank

    def __init__(self, world: int, device: torch.device, threads: int, module: str) -> None:
        super().__init__(ranks.Ranks(world, module, threads), sys.modules[module].Rank())
        self.world, self.kind, self.module = world, device.type, module
        with self.others.together():
            self._store = _STORE(
                "127.0.0.1", 0, is_master=True, wait_for_workers=False, timeout=_patience()
            )
            calls = [(rank, world, self._store.port, device.type) for rank in range(world)]
            self.others.tell_each("join", calls)
            _join(self._store, 0, world, device)

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
    _teams.append(_Team(world, device, threads, module))
    return _teams[0]


def _join(store: Any, rank: int, world: int, device: torch.device) -> None:
    distributed.init_process_group(
        group_backend(device), store=store, rank=rank, world_size=world, timeout=_patience()
    )


def _patience() -> datetime.timedelta:
    return datetime.timedelta(seconds=ranks.ANSWER_S)


class ParallelSession(ranked_session.RankedSession):
    """One workload on several ranks; a `dlbench.contract.RanksSession`.

    Parameters
    ----------
    module : what each rank runs: a ``Rank``, and ``serve``, which has one obey.
    """

    _team: _Team

    def __init__(
        self,
        plan: Plan,
        workload: Workload,
        weights: Weights,
        device: torch.device,
        module: str = __name__,
    ) -> None:
        refuse(plan, workload, device)
        own = dataclasses.replace(plan, batch=plan.batch // plan.world, threads=plan.rank_threads)
        team = _team(plan.world, device, plan.rank_threads, module)
        super().__init__(team, plan, workload, weights, own, str(device))
        self._facts["all_reduce"] = distributed.get_backend()

    @property
    def facts(self) -> Mapping[str, str | int]:
        """Rank 0's as they are now, with the threads of all."""
        own = self._team.own.facts(self._session.number)
        return {**own, **self._facts}

    def weights(self) -> Weights:
        """Rank 0's."""
        return self._team.own.weights(self._session.number)
