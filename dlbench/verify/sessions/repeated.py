"""Ranks that all get the same samples: what they compute together is what one process computes of these alone, so that
every check of a single process holds of them too, at any batch size."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import Adapter, BackendInfo, DeviceClock, Plan, Session
from dlbench.spec.workload import Weights, Workload


class Repeating:
    """An adapter whose sessions of several ranks hand each batch to every rank, instead of a part of it.

    The mean over ranks of equal gradients is that gradient, and each rank's batch statistics are those of the batch.
    """

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    def info(self) -> BackendInfo:
        """What the adapter says."""
        return self._adapter.info()

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> Session:
        """A session whose batch is that of each rank."""
        whole = dataclasses.replace(plan, batch=plan.batch * plan.world)
        return _Repeating(self._adapter.open(whole, workload, weights), plan)


class _Repeating:
    def __init__(self, session: Session, plan: Plan) -> None:
        self._session = session
        self._batch, self._world = plan.batch, plan.world

    @property
    def learning_rate(self) -> float:
        return self._session.learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._session.learning_rate = rate

    @property
    def device_clock(self) -> DeviceClock | None:
        return self._session.device_clock

    @property
    def facts(self) -> Mapping[str, str | int]:
        return self._session.facts

    def upload(self, inputs: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> Any:
        return self._session.upload(
            np.concatenate([inputs] * self._world), np.concatenate([targets] * self._world)
        )

    def infer(self, batch: Any) -> Any:
        return self._session.infer(batch)

    def train_step(self, batch: Any) -> Any:
        return self._session.train_step(batch)

    def download(self, result: Any) -> npt.NDArray[np.float32]:
        array = self._session.download(result)
        return array[: self._batch] if array.ndim else array

    def weights(self) -> Weights:
        return self._session.weights()

    def load(self, weights: Weights, *, keep_optimizer: bool = False) -> None:
        self._session.load(weights, keep_optimizer=keep_optimizer)

    def synchronize(self) -> None:
        self._session.synchronize()
