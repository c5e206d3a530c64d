"""Data-parallel training on several devices of one process, as JAX' users have it: `jax.shard_map` over a mesh, with
the batch cut along it and the state replicated.

On the CPU the devices are XLA's own (``--xla_force_host_platform_device_count``): they share the process' thread pool.
Each computes the update for itself, from gradients that an all-reduce has averaged.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dlbench.contract import Plan
from dlbench.errors import PlanRefused
from dlbench.helpers.functional import (
    Array,
    Batch,
    Function,
    FunctionalAdapter,
    FunctionalSession,
    Shared,
)
from dlbench.spec.workload import Weights, Workload

from ..shared.ranked_session import refuse_parts

_AXIS = "rank"
_CUT, _WHOLE = PartitionSpec(_AXIS), PartitionSpec()


def _refuse(plan: Plan, workload: Workload) -> None:
    if plan.device != "cpu":
        raise PlanRefused(
            f"jax trains on one rank on {plan.device}, on {plan.world} on the CPU alone"
        )
    there = len(jax.devices("cpu"))
    if there < plan.world:
        flag = f"XLA_FLAGS=--xla_force_host_platform_device_count={plan.world}"
        raise PlanRefused(
            f"jax has {there} CPU devices for {plan.world} ranks; {flag} makes as many"
        )
    refuse_parts(plan, workload)


def session(
    adapter: FunctionalAdapter, plan: Plan, workload: Workload, weights: Weights
) -> FunctionalSession:
    """A session of several ranks.

    Raises
    ------
    PlanRefused : another device than the CPU, fewer devices than ranks, a batch that cannot be cut evenly or leaves too
        little to normalise.
    """
    _refuse(plan, workload)
    return _RankedSession(adapter, plan, workload, weights)


def _shared(plan: Plan) -> Shared:
    """Losses and gradients are averaged; running statistics are rank 0's; masks each rank's own."""

    def number(step: Array) -> Array:
        return step * plan.world + jax.lax.axis_index(_AXIS)

    def joined(loss: Array, gradients: Any, moved: Any) -> tuple[Array, Any, Any]:
        loss, gradients = jax.lax.pmean((loss, gradients), _AXIS)
        firsts = jax.tree.map(lambda each: jax.lax.all_gather(each, _AXIS)[0], moved)
        return loss, gradients, firsts

    return Shared(number, joined)


def inference(adapter: FunctionalAdapter, plan: Plan, workload: Workload) -> Function:
    """Each rank's part of a batch, compiled."""
    function = adapter.inference_step(plan, workload)
    compiled: Function = jax.jit(_mapped(function, plan.world, (_WHOLE, _WHOLE, _CUT), _CUT))
    return compiled


def training(adapter: FunctionalAdapter, plan: Plan, workload: Workload) -> Function:
    """A step of all ranks, compiled; it consumes the state."""
    function = adapter.training_step(plan, workload, _shared(plan))
    specs = (_WHOLE, _CUT, _CUT, _WHOLE)
    mapped = _mapped(function, plan.world, specs, (_WHOLE, _WHOLE))
    compiled: Function = jax.jit(mapped, donate_argnums=0)
    return compiled


def _mapped(function: Function, world: int, inputs: Any, outputs: Any) -> Function:
    # unchecked, gradients are a rank's own until they are averaged
    mapped: Function = jax.shard_map(
        function, mesh=_mesh(world), in_specs=inputs, out_specs=outputs, check_vma=False
    )
    return mapped


@functools.cache
def _mesh(world: int) -> Mesh:
    return Mesh(np.array(jax.devices("cpu")[:world]), (_AXIS,))


class _RankedSession(FunctionalSession):
    """A session of several ranks; a `dlbench.contract.RanksSession`."""

    def __init__(
        self, adapter: FunctionalAdapter, plan: Plan, workload: Workload, weights: Weights
    ) -> None:
        self._world = plan.world
        self._cut = NamedSharding(_mesh(plan.world), _CUT)
        self._everywhere = NamedSharding(_mesh(plan.world), _WHOLE)
        self._one_step = adapter.training_step(plan, workload)
        super().__init__(adapter, plan, workload, weights)

    @property
    def facts(self) -> Mapping[str, str | int]:
        """With the number of ranks."""
        return {**super().facts, "ranks": self._world}

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = value
        rate = self._adapter.put(np.array(value, np.float32), "scalar")
        self._rate = jax.device_put(rate, self._everywhere)

    def upload(self, inputs: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> Batch:
        """Each rank's part on its device."""
        x, wanted = super().upload(inputs, targets)
        return jax.device_put(x, self._cut), jax.device_put(wanted, self._cut)

    def load(self, weights: Weights, *, keep_optimizer: bool = False) -> None:
        """Puts every rank at the same weights."""
        super().load(weights, keep_optimizer=keep_optimizer)
        self._state = jax.device_put(self._state, self._everywhere)

    def rank_weights(self) -> Sequence[Weights]:
        """What lies on each rank's device."""
        arrays = self._state["trained"] | self._state["running"]
        return [
            {name: self._get(name, _part(arrays[name], rank)) for name in self._roles}
            for rank in range(self._world)
        ]

    def alone_ns(self, batch: Batch, steps: int) -> Sequence[Sequence[int]]:
        """What each device's own steps took, side by side, without any all-reduce."""
        step = jax.jit(self._one_step, donate_argnums=0)
        devices = list(_mesh(self._world).devices)

        def given(rank: int) -> tuple[Any, ...]:
            parts = jax.tree.map(lambda each: _part(each, rank), (self._state, *batch, self._rate))
            copies: tuple[Any, ...] = jax.device_put(jax.tree.map(np.array, parts), devices[rank])
            return copies

        def take(rank: int, count: int) -> list[int]:
            state, x, targets, rate = given(rank)
            found = []
            for _ in range(count):
                began_ns = time.perf_counter_ns()
                loss, state = step(state, x, targets, rate)
                jax.block_until_ready((loss, state))
                found.append(time.perf_counter_ns() - began_ns)
            return found

        for rank in range(self._world):
            # compiled for each device
            take(rank, 1)
        with ThreadPoolExecutor(self._world) as pool:
            return list(pool.map(take, range(self._world), [steps] * self._world))


def _part(array: Array, rank: int) -> Array:
    """What of an array lies on a rank's device."""
    device = _mesh_device(array, rank)
    return next(shard.data for shard in array.addressable_shards if shard.device == device)


def _mesh_device(array: Array, rank: int) -> Any:
    return array.sharding.mesh.devices[rank]
