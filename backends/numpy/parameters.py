"""All parameters of a network in one vector, so that the optimizer is a few long passes over memory.

A layer asks for its parameters in the layout it computes with, and says how their axes relate to the
canonical layout. Gradients that every worker makes from its own images exist once a worker and
are added up block by block in the update, while the block is in the cache.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Sequence

import numpy as np
import numpy.typing as npt

from dlbench.spec.workload import Weights

from .optimizers import Moment, Rule
from .workers import Team, Worker, split

Array = npt.NDArray[np.float32]

_BLOCK = 1 << 15
"""Elements updated at a time: weight, gradients and moments of a block fit in the second-level cache."""


class Parameter:
    """An array of the network. `gradients` holds one array a worker, or one where they work on it together."""

    def __init__(
        self, shape: tuple[int, ...], canonical: Sequence[int], trainable: bool, summed: bool
    ) -> None:
        self.shape = shape
        self.axes = tuple(canonical)
        self.trainable = trainable
        self.summed = summed
        self.size = math.prod(shape)
        self.value: Array
        self.gradients: list[Array] = []


class Parameters:
    """The parameters of one session, of which some are `frozen`, by name; `add` them all, then `allocate`."""

    def __init__(self, frozen: Collection[str] = ()) -> None:
        self._frozen = frozen
        self._named: dict[str, Parameter] = {}
        self._decays: list[tuple[int, int, float]] = []
        """Ranges of the vector, and the weight decay of each."""
        self._values: Array
        self._gradients: list[Array]
        self.state = 0
        """Another number with each change of the values."""

    def add(
        self,
        name: str,
        shape: tuple[int, ...],
        canonical: Sequence[int] = (0,),
        *,
        trainable: bool = True,
        summed: bool = False,
    ) -> Parameter:
        """The parameter of that name, new or known, in the caller's layout.

        `canonical`: the order of its axes that makes the canonical layout.
        `summed`: each worker has a gradient of its own, from its own images.
        """
        if name not in self._named:
            trained = trainable and name not in self._frozen
            self._named[name] = Parameter(shape, canonical, trained, summed)
        return self._named[name]

    def allocate(self, team: Team, decay_of: Callable[[str], float]) -> None:
        """Gives all parameters their memory; `decay_of` tells the weight decay of each by name.

        Those that are summed come first, and those of one decay lie together, so that the update's blocks are long.
        """
        ordered = sorted(self._named.items(), key=lambda p: (not p[1].summed, not decay_of(p[0])))
        trained = [p for _, p in ordered if p.trainable]
        total = sum(p.size for p in trained)
        summed = sum(p.size for p in trained if p.summed)
        self._values = team.shared((total,))
        self._gradients = [team.shared((summed if w.index else total,)) for w in team.workers]
        start = 0
        for parameter in trained:
            stop = start + parameter.size
            parameter.value = self._values[start:stop].reshape(parameter.shape)
            for gradients in self._gradients[: None if parameter.summed else 1]:
                parameter.gradients.append(gradients[start:stop].reshape(parameter.shape))
            start = stop
        decays = ((decay_of(name), p.size) for name, p in ordered if p.trainable)
        stop = 0
        for decay, alike in itertools.groupby(decays, lambda pair: pair[0]):
            start, stop = stop, stop + sum(size for _, size in alike)
            self._decays.append((start, stop, decay))
        for _, parameter in ordered:
            if not parameter.trainable:
                parameter.value = team.shared(parameter.shape)

    @property
    def trained_size(self) -> int:
        """Number of trained values."""
        return len(self._values)

    def load(self, weights: Weights) -> None:
        """Copies all arrays in from the canonical layout."""
        for name, parameter in self._named.items():
            view = parameter.value.transpose(parameter.axes)
            view[...] = weights[name].reshape(view.shape)
        self.state += 1

    def copy(self, shapes: dict[str, tuple[int, ...]]) -> Weights:
        """Copies of all arrays in the canonical layout."""
        return {
            name: np.array(
                self._named[name].value.transpose(self._named[name].axes), order="C"
            ).reshape(shape)
            for name, shape in shapes.items()
        }

    def gather(self, squares: npt.NDArray[np.float64], worker: Worker) -> None:
        """The worker's part of adding up all gradients; the sum of their squares goes to its place in `squares`."""
        begin, end = split(0, len(self._values), len(self._gradients))[worker.index]
        squares[worker.index] = 0
        for start in range(begin, end, _BLOCK):
            gradient = self._summed(slice(start, min(start + _BLOCK, end)))
            squares[worker.index] += float(np.dot(gradient, gradient))

    def update(
        self, rule: Rule, told: npt.NDArray[np.float64], worker: Worker, gathered: bool = False
    ) -> None:
        """The worker's part of an optimizer step; `told` are its learning rate, its number, and what gradients that
        were `gathered` are multiplied by."""
        begin, end = split(0, len(self._values), len(self._gradients))[worker.index]
        for low, high, decay in self._decays:
            moment = Moment(float(told[0]), int(told[1]), decay)
            for start in range(max(begin, low), min(end, high), _BLOCK):
                block = slice(start, min(start + _BLOCK, end, high))
                gradient = self._gradients[0][block] if gathered else self._summed(block)
                if gathered:
                    gradient *= np.float32(told[2])
                scratch = worker.buffer("update", gradient.shape)
                rule.update(self._values[block], gradient, block, moment, scratch)

    def _summed(self, block: slice) -> Array:
        """A block of the first worker's gradients, with those of the others added."""
        first, *others = self._gradients
        gradient = first[block]
        for other in others:
            part = other[block]
            gradient[: len(part)] += part
        return gradient
