"""A workload: one network with its loss and optimizer, the thing every backend must compute alike."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.errors import WorkloadError
from dlbench.rng import uniform
from dlbench.spec import layers as spec
from dlbench.spec.decode import array, choose, decode, nearest, shown, table
from dlbench.spec.network import Node, Parameter, Shape, read_network, walk
from dlbench.spec.quantization import Calibration, read_calibration
from dlbench.spec.training import (
    LOSSES,
    OPTIMIZERS,
    SCHEDULES,
    Constant,
    CrossEntropy,
    Loss,
    Optimizer,
    Schedule,
)

Weights = dict[str, npt.NDArray[np.float32]]


@dataclasses.dataclass(frozen=True)
class Workload:
    """One network, its loss and its optimizer, with nothing about where or how fast it runs.

    `calibration` holds the scales of activations that inference in integers needs; None where there is none.
    """

    input_shape: Shape
    nodes: tuple[Node, ...]
    loss: Loss
    optimizer: Optimizer
    schedule: Schedule = Constant()
    calibration: Calibration | None = None

    @property
    def output_shape(self) -> Shape:
        """Shape of one sample's output (the logits)."""
        return self.nodes[-1].output_shape

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """All arrays of the network, running statistics included, in the order of computation."""
        return tuple(parameter for node in walk(self.nodes) for parameter in node.parameters)

    @property
    def parameter_count(self) -> int:
        """Number of trained values."""
        return sum(p.size for p in self.parameters if p.trainable)

    @property
    def forward_flops(self) -> int:
        """Floating-point operations of one sample's forward pass; see `Node.forward_flops`."""
        return sum(node.forward_flops for node in walk(self.nodes))

    @property
    def training_flops(self) -> int:
        """Floating-point operations of one sample's forward and backward pass, the optimizer left out."""
        return sum(node.training_flops for node in walk(self.nodes))

    @property
    def first_frozen(self) -> Node | None:
        """The first layer that training leaves as it is; None where there is none."""
        return next((node for node in walk(self.nodes) if node.frozen), None)

    @property
    def has_dropout(self) -> bool:
        """Whether a training step draws random masks."""
        return any(isinstance(n.layer, spec.Dropout) and n.layer.rate > 0 for n in walk(self.nodes))

    def replicas(self, world: int) -> int:
        """How many parts of a batch are normalised each by its own statistics where `world` ranks share it; 1 where
        nothing is, and it makes no difference who has which samples."""
        norms = any(_uses_batch(node) for node in walk(self.nodes))
        return world if norms else 1

    def untrainable(self, batch: int) -> Node | None:
        """The first batch normalisation that a batch of this size gives one value per channel or feature, on which it
        cannot be trained; None where there is none."""
        return next(
            (
                node
                for node in walk(self.nodes)
                if _uses_batch(node) and batch * math.prod(node.input_shape[1:]) == 1
            ),
            None,
        )

    def without_dropout(self) -> Workload:
        """The same workload with every dropout rate 0, so that a training step is a function."""

        def calm(layer: spec.Layer) -> spec.Layer:
            return (
                dataclasses.replace(layer, rate=0.0) if isinstance(layer, spec.Dropout) else layer
            )

        return dataclasses.replace(self, nodes=map_layers(self.nodes, calm))

    def at(self, input_shape: Shape) -> Workload:
        """The same layers by the same names on samples of another shape, with the parameters that they have there.

        Raises
        ------
        WorkloadError : a layer that does not fit.
        """
        table = self.to_table()
        layers = [_without_sizes(layer) for layer in table["layers"]]
        return read_workload(table | {"input_shape": list(input_shape), "layers": layers})

    def to_table(self) -> dict[str, Any]:
        """The plain table that `read_workload` turns into an equal workload."""
        words = {kind: word for kinds in (OPTIMIZERS, SCHEDULES) for word, kind in kinds.items()}
        optimizer = dataclasses.asdict(self.optimizer)
        if self.optimizer.decay_biases_and_norms:
            # left out, since the digests in earlier records are of tables without it
            del optimizer["decay_biases_and_norms"]
        if self.optimizer.clip_norm is None:
            del optimizer["clip_norm"]
        calibration = self.calibration and {"calibration": self.calibration.to_table()}
        return {
            "input_shape": list(self.input_shape),
            "layers": [_layer_table(node) for node in self.nodes],
            "loss": _loss_table(self.loss),
            "optimizer": {"type": words[type(self.optimizer)], **optimizer},
            "schedule": {"type": words[type(self.schedule)], **dataclasses.asdict(self.schedule)},
            **(calibration or {}),
        }

    @property
    def digest(self) -> str:
        """SHA-256 of the workload, the key under which anything computed from it is kept."""
        return hashlib.sha256(json.dumps(self.to_table(), sort_keys=True).encode()).hexdigest()


def _uses_batch(node: Node) -> bool:
    """Whether a layer normalises by statistics of the batch that it trains on."""
    return isinstance(node.layer, spec.BatchNorm) and not node.frozen


def map_layers(
    nodes: tuple[Node, ...], change: Callable[[spec.Layer], spec.Layer]
) -> tuple[Node, ...]:
    """The same nodes with `change` applied to each layer; shapes and names stay."""
    return tuple(
        dataclasses.replace(
            node,
            layer=change(node.layer),
            bodies=tuple(map_layers(body, change) for body in node.bodies),
        )
        for node in nodes
    )


def read_workload(given: Mapping[str, Any], paths: Mapping[str, str] | None = None) -> Workload:
    """A workload from its table; `paths` says what the file calls each of the five keys.

    Raises
    ------
    WorkloadError : anything that does not fit, with the path of the field.
    """
    where = {key: key for key in ("input_shape", "layers", "loss", "optimizer", "schedule")} | dict(
        paths or {}
    )
    shape = _shape(given.get("input_shape"), where["input_shape"])
    nodes = read_network(given.get("layers"), shape, where["layers"])
    loss = _read_loss(given.get("loss", "cross_entropy"), where["loss"])
    optimizer_kind, optimizer = choose(
        OPTIMIZERS, table(given.get("optimizer"), where["optimizer"]), where["optimizer"]
    )
    schedule_kind, schedule = choose(
        SCHEDULES,
        table(given.get("schedule", {"type": "constant"}), where["schedule"]),
        where["schedule"],
    )
    if not any(node.is_trained for node in nodes):
        frozen = next((node for node in walk(nodes) if node.frozen), None)
        if frozen is not None:
            raise WorkloadError(
                where["layers"],
                f": every layer with parameters is frozen, {frozen.name} the first, so there is nothing to train;"
                " leave out the freeze of one",
            )
    output = nodes[-1].output_shape
    if isinstance(loss, CrossEntropy) and len(output) != 1:
        raise WorkloadError(
            where["layers"],
            f": cross_entropy needs one row of logits, the last layer gives {output}; add a flatten or linear",
        )
    if isinstance(loss, CrossEntropy) and output[0] < 2:
        raise WorkloadError(
            where["layers"], ": cross_entropy needs at least 2 logits, the last layer gives 1"
        )
    return Workload(
        input_shape=shape,
        nodes=nodes,
        loss=loss,
        optimizer=decode(optimizer_kind, optimizer, where["optimizer"]),
        schedule=decode(schedule_kind, schedule, where["schedule"]),
        calibration=read_calibration(given["calibration"], "calibration")
        if "calibration" in given
        else None,
    )


def _read_loss(given: Any, path: str) -> Loss:
    """A loss from its word, or from a table with its options."""
    if isinstance(given, Mapping):
        kind, rest = choose(LOSSES, given, path)
        return decode(kind, rest, path)
    if not isinstance(given, str) or given not in LOSSES:
        raise WorkloadError(path, f" = {shown(given)} is unknown; {nearest(given, list(LOSSES))}")
    return LOSSES[given]()


def _loss_table(loss: Loss) -> str | dict[str, Any]:
    """The word alone where it says everything, as in earlier records."""
    word = next(word for word, kind in LOSSES.items() if kind is type(loss))
    options = {
        field.name: getattr(loss, field.name)
        for field in dataclasses.fields(loss)
        if getattr(loss, field.name) != field.default
    }
    return {"type": word, **options} if options else word


def initial_weights(workload: Workload, seed: int) -> Weights:
    """The weights every backend starts from, in the canonical layout (float32).

    Weights are uniform in ±√(6 / fan_in) (He et al. 2015, "Delving deep", with the uniform law), from integers of a
    counter-based generator keyed by (seed, parameter name): the same bits on every machine. Biases,
    shifts and running means are 0, scales and running variances 1.
    """
    return {p.name: initial_value(p, seed) for p in workload.parameters}


def initial_value(parameter: Parameter, seed: int) -> npt.NDArray[np.float32]:
    """What one parameter is in `initial_weights`."""
    if parameter.role == "weight":
        return uniform(
            parameter.shape, math.sqrt(6 / parameter.fan_in), seed, "weights", parameter.name
        )
    value = 1 if parameter.role in ("scale", "running_variance") else 0
    return np.full(parameter.shape, value, np.float32)


def digest_of(weights: Weights) -> str:
    """A digest of all values, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(weights[name].tobytes())
    return digest.hexdigest()


def _shape(given: Any, path: str) -> Shape:
    shape = tuple(array(given, path))
    for size in shape:
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 2**53:
            raise WorkloadError(path, f" = {shown(given)} must be integers of 1 or more")
    if len(shape) not in (1, 3):
        raise WorkloadError(
            path, f" = {shown(given)} must be [channels, height, width] or [features]"
        )
    return shape


def _layer_table(node: Node) -> dict[str, Any]:
    result: dict[str, Any] = {"type": spec.WORDS[type(node.layer)]}
    for field in dataclasses.fields(node.layer):
        value = getattr(node.layer, field.name)
        if value is None or (field.metadata.get("later") and value == field.default):
            continue
        result[field.name] = _plain(value)
    result["name"] = node.name
    bodies = [[_layer_table(inner) for inner in body] for body in node.bodies]
    match node.layer:
        case spec.Residual():
            result["body"], result["shortcut"] = bodies
        case spec.Concat():
            result |= {"body": bodies[1]} if node.is_dense else {"bodies": bodies}
        case spec.Scale():
            (result["body"],) = bodies
    return result


def _without_sizes(layer: Mapping[str, Any]) -> dict[str, Any]:
    """A layer's table without the size of its input, which follows from what is before it."""
    found = {key: value for key, value in layer.items() if key != "in_features"}
    for key in ("body", "shortcut"):
        if key in found:
            found[key] = [_without_sizes(inner) for inner in found[key]]
    if "bodies" in found:
        found["bodies"] = [[_without_sizes(inner) for inner in body] for body in found["bodies"]]
    return found


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
