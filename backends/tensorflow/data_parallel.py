"""Data-parallel training by `tf.distribute.MultiWorkerMirroredStrategy`: a process for each rank, and collectives of
TensorFlow's own between them (ring over gRPC on CPUs).

Each rank has a session of its own part of every batch; the step that its graph holds averages the gradients over ranks
before the update, in the packs that the strategy makes by default. TensorFlow joins a cluster once, when its runtime
starts, and never again after a collective has failed: so this process is none of the ranks, it only leads them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import tensorflow as tf

from dlbench.contract import Plan
from dlbench.errors import PlanRefused
from dlbench.helpers.refusals import refuse_unless
from dlbench.spec.workload import Weights, Workload

from ..shared import ranked_session, ranks
from ..shared.ranked_session import refuse_parts
from .adapter import WORLDS, Batch, Session, start

MODE = "graph"
PRECISIONS = ("fp32",)


def refuse(plan: Plan, workload: Workload) -> None:
    """Refuses what several ranks do not do here.

    Raises
    ------
    PlanRefused : another mode, precision or device, or a batch that cannot be cut evenly or leaves too little to
        normalise.
    """
    refuse_unless(
        "tensorflow on several ranks",
        plan,
        modes=(MODE,),
        precisions=PRECISIONS,
        worlds=WORLDS,
    )
    if plan.device != "cpu":
        raise PlanRefused(
            f"tensorflow trains on one rank on {plan.device}, on {plan.world} on the CPU alone"
        )
    refuse_parts(plan, workload)


class Replica(Session):
    """A rank's own session: its part of every batch, and gradients that are those of all ranks."""

    def __init__(
        self,
        plan: Plan,
        workload: Workload,
        weights: Weights,
        facts: Mapping[str, str | int],
        strategy: Any,
        rank: int,
    ) -> None:
        self._strategy, self._rank, self._is_apart = strategy, rank, False
        super().__init__(plan, workload, weights, facts)
        self._alone = self._step
        self._step = tf.function(self._in_strategy(self._trace_step), autograph=False)
        self._shared = tf.function(self._in_strategy(self._trace_statistics), autograph=False)

    def infer(self, batch: Batch) -> Any:
        """Outputs of its part, by running statistics that are rank 0's."""
        if self._is_apart and self._network.running:
            self._shared()
        self._is_apart = False
        return super().infer(batch)

    def train_step(self, batch: Batch) -> Any:
        """A step by the mean of all ranks' gradients; the loss of its own part."""
        self._is_apart = True
        return super().train_step(batch)

    def step_alone(self, batch: Batch) -> None:
        """A step by this rank's own gradients."""
        self._is_apart = True
        self._alone(batch[0], batch[1])

    def _averaged(self, gradients: list[Any]) -> list[Any]:
        # outside the strategy, in a step alone, they are the rank's own
        if not gradients:
            return gradients
        found: list[Any] = _here().all_reduce(tf.distribute.ReduceOp.MEAN, gradients)
        return found

    def _trace_statistics(self) -> None:
        statistics = list(self._network.running.values())
        own = [tf.identity(each) * float(self._rank == 0) for each in statistics]
        firsts = _here().all_reduce(tf.distribute.ReduceOp.SUM, own)
        for each, value in zip(statistics, firsts, strict=True):
            each.assign(value)

    def _in_strategy(self, function: Any) -> Any:
        def run(*arguments: Any) -> Any:
            return self._strategy.run(function, args=arguments)

        return run


class Rank(ranked_session.Rank):
    """What a rank does when it is told to."""

    replica: type[Replica] = Replica

    def join(self, rank: int, addresses: list[str], threads: int) -> None:
        """Becomes one of the ranks; returns when all have."""
        self._rank = rank
        tf.config.set_visible_devices([], "GPU")
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        task = {"type": "worker", "index": rank}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
        options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=ranks.ANSWER_S)
        self._strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)

    def open(self, number: int, workload: Workload, weights: Weights, plan: Plan) -> None:
        """Opens a session by the plan of one rank."""
        seed = (plan.seed * plan.world + self._rank) % 2**63
        own = dataclasses.replace(plan, world=1, seed=seed)
        self._things[number] = self.replica(
            own, workload, weights, start(own), self._strategy, self._rank
        )


def serve(leader: Connection) -> None:
    """What a rank's process does."""
    rank = Rank()
    ranks.obey(leader, rank, rank.drop)


_teams: dict[tuple[int, int, str], ranked_session.Team] = {}


def _team(world: int, threads: int, module: str) -> ranked_session.Team:
    """The ranks, started now where there are none of that number."""
    wanted = world, threads, module
    for key, team in list(_teams.items()):
        if key != wanted or not team.others.alive:
            team.others.end()
            del _teams[key]
    if not _teams:
        team = ranked_session.Team(ranks.Ranks(world, module, threads, first=0))
        addresses = _free_addresses(world)
        team.do_each("join", [(rank, addresses, threads) for rank in range(world)])
        _teams[wanted] = team
    return _teams[wanted]


def _free_addresses(count: int) -> list[str]:
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]


class ParallelSession(ranked_session.RankedSession):
    """One workload on several ranks; a `dlbench.contract.RanksSession`.

    Parameters
    ----------
    module : what each rank runs: a ``Rank``, and ``serve``, which has one obey.
    """

    def __init__(
        self, plan: Plan, workload: Workload, weights: Weights, module: str = __name__
    ) -> None:
        refuse(plan, workload)
        team = _team(plan.world, plan.rank_threads, module)
        own = dataclasses.replace(plan, batch=plan.batch // plan.world, threads=plan.rank_threads)
        super().__init__(team, plan, workload, weights, own)
        self._facts["all_reduce"] = "ring over gRPC"


def _here() -> Any:
    """The rank that a graph is traced for."""
    return tf.distribute.get_replica_context()
