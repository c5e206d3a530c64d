"""Sessions as verification sees them: what a member takes and gives is held against the contract on the way, since an
array of another type, or one that is still alive, may be right by its numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench import members
from dlbench.contract import Adapter, BackendInfo, DeviceClock, Plan, Session
from dlbench.errors import ContractError
from dlbench.spec.workload import Weights, Workload

_KEPT = 4
"""Of so many arrays that a member gave, whether they change later is looked at."""


class Guarded:
    """An adapter whose sessions are guarded."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    def info(self) -> BackendInfo:
        """What the adapter says, if that is what it should give; see `members.info_of`."""
        return members.info_of(self._adapter)

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> Session:
        """A guarded session."""
        return GuardedSession(
            members.open_session(self._adapter, plan, workload, weights), plan, workload
        )


@dataclasses.dataclass(frozen=True)
class _Result:
    """What a member gave to be downloaded."""

    thing: Any
    member: str
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class _Given:
    """An array that a member gave, and what it was then."""

    member: str
    name: str
    array: npt.NDArray[Any]
    copy: npt.NDArray[Any]

    def check(self) -> None:
        # what is no number is equal to itself here; looking for it takes longer than comparing
        is_equal = np.array_equal(self.array, self.copy)
        if not is_equal and not np.array_equal(self.array, self.copy, equal_nan=True):
            raise ContractError(
                f"{self.member} gives live arrays: {self.name} changed after it was given; give copies"
            )


class GuardedSession:
    """A session that raises `ContractError` where a member gives what it should not, with the member's name."""

    def __init__(self, session: Session, plan: Plan, workload: Workload) -> None:
        self._session = session
        self._world = plan.world
        self._output_shape = (plan.batch, *workload.output_shape)
        self._parameters = {p.name: p.shape for p in workload.parameters}
        self._downloads: list[_Given] = []
        self._weights: list[_Given] = []

    @property
    def learning_rate(self) -> float:
        """The session's own."""
        return self._session.learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        self._session.learning_rate = rate

    @property
    def device_clock(self) -> DeviceClock | None:
        """The session's own, where it has one."""
        return getattr(self._session, "device_clock", None)

    @property
    def facts(self) -> Mapping[str, str | int]:
        """The session's own."""
        return self._session.facts

    def upload(self, inputs: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> Any:
        """A resident batch."""
        return self._session.upload(inputs, targets)

    def infer(self, batch: Any) -> Any:
        """A result, which `download` takes."""
        return _Result(self._session.infer(batch), "infer()", self._output_shape)

    def train_step(self, batch: Any) -> Any:
        """A result, which `download` takes."""
        return _Result(self._session.train_step(batch), "train_step()", ())

    def download(self, result: _Result) -> npt.NDArray[np.float32]:
        """The array, if it is one of float32 and of the right shape.

        Raises
        ------
        ContractError : it is not, or one that was given before has changed.
        """
        array = self._session.download(result.thing)
        what = f"download() of what {result.member} gave"
        _check_array(what, array, result.shape)
        self._look_at_what_was_given()
        if isinstance(array, np.ndarray):
            kept = _Given("download()", f"what {result.member} gave", array, array.copy())
            self._downloads = [*self._downloads, kept][-_KEPT:]
        return array

    def weights(self) -> Weights:
        """The weights, if they are arrays of float32 of the right shapes; which names there are, is not asked here.

        Raises
        ------
        ContractError : they are not, or what was given before has changed.
        """
        weights: Any = self._session.weights()
        if not isinstance(weights, Mapping):
            given = members.described(weights)
            raise ContractError(f"weights() gives {given}, should give arrays by parameter name")
        for name, array in weights.items():
            if name in self._parameters:
                _check_array(f"weights()[{name!r}]", array, self._parameters[name])
        self._look_at_what_was_given()
        self._weights = [
            _Given("weights()", name, array, array.copy())
            for name, array in weights.items()
            if name in self._parameters
        ]
        return dict(weights)

    def load(self, weights: Weights, *, keep_optimizer: bool = False) -> None:
        """Puts the session at other weights."""
        self._session.load(weights, keep_optimizer=keep_optimizer)

    def synchronize(self) -> None:
        """Waits for the device."""
        self._session.synchronize()

    def rank_weights(self) -> Sequence[Weights]:
        """Every rank's weights, if each has all that a session's has.

        Raises
        ------
        ContractError : there are not as many as ranks, or one's are not what they should be.
        """
        found: Any = self._session.rank_weights()  # type: ignore[attr-defined]
        if not isinstance(found, Sequence) or len(found) != self._world:
            given = (
                f"{len(found)} of them" if isinstance(found, Sequence) else members.described(found)
            )
            raise ContractError(
                f"rank_weights() gives {given}, should give those of {self._world} ranks"
            )
        for rank, weights in enumerate(found):
            for name, shape in self._parameters.items():
                what = f"rank_weights()[{rank}][{name!r}]"
                if name not in weights:
                    raise ContractError(f"{what} is missing")
                _check_array(what, weights[name], shape)
        return found

    def alone_ns(self, batch: Any, steps: int) -> Sequence[Sequence[int]]:
        """The session's own."""
        found: Sequence[Sequence[int]] = self._session.alone_ns(batch, steps)  # type: ignore[attr-defined]
        return found

    def _look_at_what_was_given(self) -> None:
        for given in (*self._downloads, *self._weights):
            given.check()


def _check_array(what: str, array: Any, shape: tuple[int, ...]) -> None:
    # a scalar of NumPy's is as good as an array without axes
    if not isinstance(array, np.ndarray | np.generic):
        given = members.described(array)
        raise ContractError(f"{what} is {given}, should be a NumPy array of float32")
    if array.dtype != np.float32:
        raise ContractError(f"{what} is an array of {array.dtype}, should be one of float32")
    if array.shape != shape:
        raise ContractError(f"{what} has shape {array.shape}, should have {shape}")
