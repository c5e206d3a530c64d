"""The networks whose steps tell what each layer of a workload costs.

The ladder is the beginnings of the network: what the step of one takes longer than that of the one before is the
layer between them, whatever framework, compiler or graph executes it, so nothing is asked of an adapter. Beginnings
train under the squared error against zeros and by plain gradient descent; what that error costs is measured by networks
of their own, `closing`, and taken off. Layers alone are measured too: behind a `front` that costs little, where they
have to give a gradient back.

A block (residual, concat) is one layer, or is opened: then each of its bodies has a ladder of its own on what comes
before the block, and what the block takes beyond these is what joins them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dlbench.rng import uniform
from dlbench.spec.network import Node, Shape, read_network
from dlbench.spec.training import MeanSquaredError, Sgd
from dlbench.spec.workload import Weights, Workload, initial_weights

Scenario = Literal["train", "infer"]
Kind = Literal["empty", "beginning", "closing", "plain", "whole", "front", "alone", "ceiling"]

_LITTLE = 1e-12
"""A learning rate that leaves the weights as they are, and its products normal numbers."""
_FRONT = "front_of_profile"
"""The name of a layer that no workload will have."""

PRODUCT, PRODUCTS, PRODUCT_SIDE = "product", "products", 1024
"""One product of matrices of that side, and `PRODUCTS_DEPTH` in a row: the difference has nothing of the call and of
what a session does with its output, which was up to 5 % of a product by NumPy."""
PRODUCTS_DEPTH = 3
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
        can: `PRODUCT` a matrix product, `PRODUCTS` several, ``copy N`` the copy of so many elements, through a relu.
    batch : samples a step, where that is not the plan's.
    front : the name of the front that an ``alone`` stands behind.
    before : of an ``alone`` without a front, the layer that makes what it reads; empty for the network's input.
    """

    kind: Kind
    name: str
    workload: Workload
    front: str = ""
    batch: int | None = None
    before: str = ""

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
    """What tells how fast the backend multiplies matrices, and how fast it copies what lies in caches and in memory."""
    side = PRODUCT_SIDE
    layer = {"type": "linear", "out_features": side, "bias": False}
    products = [
        Rung("ceiling", name, _network((side,), [layer] * depth), batch=side)
        for name, depth in ((PRODUCT, 1), (PRODUCTS, PRODUCTS_DEPTH))
    ]
    copies = [
        Rung("ceiling", f"copy {elements}", _network((elements,), [{"type": "relu"}]), batch=1)
        for elements in COPIED
    ]
    return [*products, *copies]


def inference_rungs(workload: Workload, inside: bool = False) -> list[Rung]:
    """The ladder of inference, and each layer alone; `inside`, also of what blocks hold."""
    empty = _network((1, 1, 1), [{"type": "flatten"}])
    sequences = list(_sequences(workload.nodes, (), inside))
    rungs = [Rung("empty", "", empty), *(_beginning(workload, each) for each in sequences)]
    for *before, node in sequences:
        alone = _alone(workload, node)
        rungs.append(Rung("alone", node.name, alone, before=before[-1].name if before else ""))
    return [*rungs, *ceilings()]


def training_rungs(workload: Workload, inside: bool = False) -> list[Rung]:
    """The ladder of training, and each layer alone; `inside`, also of what blocks hold."""
    sequences = list(_sequences(workload.nodes, (), inside))
    beginnings = [_beginning(workload, each) for each in sequences]
    rungs = [Rung("empty", "", _closing(1)), *beginnings]
    sizes = {_elements(rung.workload.output_shape) for rung in beginnings if trains(rung)} - {1}
    rungs += (Rung("closing", str(size), _closing(size)) for size in sorted(sizes))
    if not isinstance(workload.loss, MeanSquaredError) or not is_plain(workload):
        rungs.append(Rung("plain", "", dataclasses.replace(workload, optimizer=_plain_descent())))
    rungs.append(Rung("whole", "", workload))
    fronts: dict[Shape, Rung] = {}
    for *_, node in sequences:
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


def _sequences(
    nodes: tuple[Node, ...], before: tuple[Node, ...], inside: bool
) -> Iterator[tuple[Node, ...]]:
    """The beginnings of a network; `inside`, also those that end within a block's bodies."""
    for node in nodes:
        for body in node.bodies if inside else ():
            yield from _sequences(body, before, inside)
        before = (*before, node)
        yield before


def _beginning(workload: Workload, nodes: tuple[Node, ...]) -> Rung:
    part = dataclasses.replace(
        workload, nodes=nodes, loss=MeanSquaredError(), optimizer=_plain_descent()
    )
    return Rung("beginning", nodes[-1].name, part)


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


def _elements(shape: Shape) -> int:
    return math.prod(shape)
