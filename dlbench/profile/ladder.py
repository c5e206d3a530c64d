"""The networks whose steps tell what each layer of a workload costs, and how their steps are timed.

The ladder is the beginnings of the network: what the step of one takes longer than that of the one before is the
layer between them, whatever framework, compiler or graph executes it, so nothing is asked of an adapter. Beginnings
train under the squared error against zeros and by plain gradient descent; what that error costs is measured by networks
of their own, `closing`, and taken off. Layers alone are measured too: behind a `front` that costs little, where they
have to give a gradient back.
"""

from __future__ import annotations

import dataclasses
import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dlbench.contract import Session
from dlbench.measure.timed_steps import garbage_kept
from dlbench.rng import uniform
from dlbench.spec.network import Node, Shape, read_network, walk
from dlbench.spec.training import MeanSquaredError, Sgd
from dlbench.spec.workload import Weights, Workload, initial_weights

Scenario = Literal["train", "infer"]
Kind = Literal["empty", "beginning", "closing", "plain", "whole", "front", "alone", "ceiling"]

_LITTLE = 1e-12
"""A learning rate that leaves the weights as they are, and its products normal numbers."""
_FRONT = "front_of_profile"
"""The name of a layer that no workload will have."""
_BLOCK_S = 0.006
_MOST_STEPS = 40
_WARMUP_STEPS = 4
LEAST_ROUNDS, MOST_ROUNDS = 8, 200

PRODUCT, PRODUCT_SIDE = "product", 1024
"""Of the matrices that are multiplied."""
COPIED = (2**14, 2**17, 2**20, 2**24)
"""Elements that are copied: what is read and written lies in a core's own caches, in the last one, and in memory."""


@dataclasses.dataclass(frozen=True)
class Rung:
    """A network to time.

    Attributes
    ----------
    kind : ``empty`` does next to nothing; ``beginning`` ends with the layer `name`; ``closing`` has an output of as
        many elements as `name` says, made at little cost; ``plain`` is the whole under plain gradient descent,
        ``whole`` the workload; ``front`` makes an input of the shape `name` at little cost; ``alone`` is the layer
        `name` by itself, behind its front where that is not empty; ``ceiling`` does one thing as fast as the backend
        can: `PRODUCT` a matrix product, a number the copy of so many elements, through a relu.
    batch : samples a step, where that is not the plan's.
    front : the name of the front that an ``alone`` stands behind.
    """

    kind: Kind
    name: str
    workload: Workload
    front: str = ""
    batch: int | None = None

    def inputs(
        self, given: npt.NDArray[np.float32], before: npt.NDArray[np.float32] | None
    ) -> npt.NDArray[np.float32]:
        """What it reads: the workload's own inputs `given` (N×…), what the layers `before` it make of them, or drawn
        values."""
        if self.kind in ("beginning", "plain", "whole"):
            return given
        if before is not None:
            return before
        shape = (self.batch or len(given), *self.workload.input_shape)
        return uniform(shape, 1.0, 0, "profile", self.kind, self.name)

    def targets(self, given: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What it is trained towards: the workload's own targets `given`, or zeros."""
        if self.kind in ("plain", "whole"):
            return given
        return np.zeros((self.batch or len(given), *self.workload.output_shape), np.float32)

    def weights(self, initial: Weights) -> Weights:
        """What it starts from: the workload's `initial` weights, as far as they are its own."""
        own = initial_weights(self.workload, 0)
        if self.kind in ("empty", "closing", "front", "ceiling"):
            return own
        return {name: initial.get(name, value) for name, value in own.items()}


def ceilings() -> list[Rung]:
    """What tells how fast the backend multiplies matrices, and how fast it moves what lies in caches and in memory."""
    side = PRODUCT_SIDE
    product = _network((side,), [{"type": "linear", "out_features": side, "bias": False}])
    copies = [
        Rung("ceiling", str(elements), _network((elements,), [{"type": "relu"}]), batch=1)
        for elements in COPIED
    ]
    return [Rung("ceiling", PRODUCT, product, batch=side), *copies]


def inference_rungs(workload: Workload) -> list[Rung]:
    """The ladder of inference, and each layer alone."""
    empty = _network((1, 1, 1), [{"type": "flatten"}])
    rungs = [Rung("empty", "", empty), *_beginnings(workload, len(workload.nodes))]
    alone = (Rung("alone", n.name, _alone(workload, n)) for n in workload.nodes)
    return [*rungs, *alone, *ceilings()]


def training_rungs(workload: Workload) -> list[Rung]:
    """The ladder of training, and each layer alone."""
    nodes = workload.nodes
    rungs = [Rung("empty", "", _closing(1)), *_beginnings(workload, len(nodes))]
    sizes = {_elements(node.output_shape) for node in nodes[_first_trained(nodes) :]} - {1}
    rungs += (Rung("closing", str(size), _closing(size)) for size in sorted(sizes))
    if not isinstance(workload.loss, MeanSquaredError) or not is_plain(workload):
        rungs.append(Rung("plain", "", dataclasses.replace(workload, optimizer=_plain_descent())))
    rungs.append(Rung("whole", "", workload))
    fronts: dict[Shape, Rung] = {}
    for node in nodes:
        if not node.needs_input_gradient:
            rungs.append(Rung("alone", node.name, _alone(workload, node)))
            continue
        shape = node.input_shape
        front = fronts.setdefault(shape, Rung("front", "×".join(map(str, shape)), _front(shape)))
        rungs.append(Rung("alone", node.name, _behind(front.workload, node), front.name))
    return [*rungs, *fronts.values(), *ceilings()]


def trains(rung: Rung) -> bool:
    """Whether a network has anything to train."""
    return any(p.trainable for p in rung.workload.parameters)


def is_plain(workload: Workload) -> bool:
    """Whether its optimizer is gradient descent without anything else."""
    rule = workload.optimizer
    return isinstance(rule, Sgd) and not (rule.momentum or rule.weight_decay or rule.nesterov)


class Blocks:
    """The blocks of one kind of step of an open network.

    Parameters
    ----------
    session : of the network, at `initial`.
    batch : resident there.
    step : ``train`` or ``infer``.
    """

    def __init__(
        self, rung: Rung, session: Session, batch: Any, step: Scenario, initial: Weights
    ) -> None:
        self.rung, self.step = rung, step
        self.medians_ns: list[int] = []
        self._session, self._batch, self._initial = session, batch, initial
        self._run = session.train_step if step == "train" else session.infer
        warm = [self._one() for _ in range(_WARMUP_STEPS)]
        self._steps = math.ceil(_BLOCK_S * 1e9 / max(min(warm[1:]), 1))
        self._steps = min(_MOST_STEPS, self._steps)

    def one(self) -> None:
        """Times a block, behind a step that finds the caches as others have left them."""
        if self.rung.kind == "whole" and self.step == "train":
            # the others stay where they are
            self._session.load(self._initial)
        self._one()
        self.medians_ns.append(round(statistics.median(self._one() for _ in range(self._steps))))

    def _one(self) -> int:
        """The duration of the next step (ns)."""
        run, batch, synchronize = self._run, self._batch, self._session.synchronize
        begin = time.perf_counter_ns()
        result = run(batch)
        synchronize()
        end = time.perf_counter_ns()
        # what the step returned is given up here, off the clock
        del result
        return end - begin


def time_rounds(blocks: Sequence[Blocks], budget_s: float, beat: Callable[[], None]) -> int:
    """Times a block of each in turn, forwards and backwards by turns, until the budget (s) is used up; the number of
    rounds."""
    end_s = time.monotonic() + budget_s
    with garbage_kept():
        for number in range(1, MOST_ROUNDS + 1):
            for each in blocks if number % 2 else reversed(blocks):
                each.one()
                beat()
            gc.collect()
            if number >= LEAST_ROUNDS and time.monotonic() > end_s:
                break
    return number


def _beginnings(workload: Workload, count: int) -> Iterator[Rung]:
    for end in range(1, count + 1):
        part = dataclasses.replace(
            workload,
            nodes=workload.nodes[:end],
            loss=MeanSquaredError(),
            optimizer=_plain_descent(),
        )
        yield Rung("beginning", part.nodes[-1].name, part)


def _alone(workload: Workload, node: Node) -> Workload:
    return dataclasses.replace(
        workload,
        input_shape=node.input_shape,
        nodes=(node,),
        loss=MeanSquaredError(),
        optimizer=_plain_descent(),
    )


def _behind(front: Workload, node: Node) -> Workload:
    return dataclasses.replace(front, nodes=(*front.nodes, node))


def _front(shape: Shape) -> Workload:
    if len(shape) == 1:
        return _closing(shape[0])
    channels, height, width = shape
    conv = {"type": "conv2d", "out_channels": channels, "kernel": 1, "bias": False}
    return _network((1, height, width), [conv | {"name": _FRONT}])


def _closing(elements: int) -> Workload:
    """An outer product: its output is as large as that, and little is computed for it."""
    layer = {"type": "linear", "out_features": elements, "bias": False, "name": _FRONT}
    return _network((1,), [layer])


def _network(shape: Shape, layers: list[dict[str, Any]]) -> Workload:
    return Workload(shape, read_network(layers, shape), MeanSquaredError(), _plain_descent())


def _plain_descent() -> Sgd:
    return Sgd(learning_rate=_LITTLE)


def _first_trained(nodes: Sequence[Node]) -> int:
    """The place of the first node that has anything to train."""
    for place, node in enumerate(nodes):
        if any(p.trainable for inner in walk((node,)) for p in inner.parameters):
            return place
    return len(nodes)


def _elements(shape: Shape) -> int:
    return math.prod(shape)
