"""A network with every shape inferred: what all backends, the oracle and the reports walk over.

Layers come in as a list of tables; out come frozen nodes that know their input and output shape,
their parameters, and their cost. Nothing downstream infers a shape a second time.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

from dlbench.errors import PlanRefused, WorkloadError
from dlbench.spec import blocks, windows
from dlbench.spec import layers as spec
from dlbench.spec.decode import array, choose, decode, shown
from dlbench.spec.layers import KINDS, Layer
from dlbench.spec.shapes import Parameter, Role, Shape, format_shape, infer

__all__ = ["Node", "Parameter", "Role", "Shape", "format_shape", "read_network", "walk"]

_MOST_NODES = 10_000
_DEEPEST = 20
_LONGEST_NAME = 100

_NAMES = {
    "conv2d": "conv",
    "batch_norm": "norm",
    "max_pool": "pool",
    "global_avg_pool": "global_pool",
    "adaptive_avg_pool": "adaptive_pool",
    "conv_transpose2d": "conv_transpose",
    "local_response_norm": "response_norm",
}


@dataclasses.dataclass(frozen=True)
class Node:
    """A layer in its place.

    `path` is where the suite file defines it; `needs_input_gradient` is False where nothing before it is trained.
    `bodies` holds the nodes inside a `Residual` (its body, then its shortcut), a `Concat` or a `Scale`; none are the
    identity.
    """

    layer: Layer
    name: str
    path: str = dataclasses.field(compare=False)
    input_shape: Shape
    output_shape: Shape
    parameters: tuple[Parameter, ...] = ()
    needs_input_gradient: bool = True
    bodies: tuple[tuple[Node, ...], ...] = ()

    @property
    def frozen(self) -> bool:
        """Whether its parameters and running statistics stay as they are."""
        return isinstance(self.layer, spec.Freezable) and self.layer.freeze

    @property
    def is_trained(self) -> bool:
        """Whether a training step changes parameters of it, or of the nodes inside."""
        return any(p.trainable for node in walk((self,)) for p in node.parameters)

    @property
    def has_backward(self) -> bool:
        """Whether a training step comes back to it: something in it is trained, or before it."""
        return self.needs_input_gradient or self.is_trained

    @property
    def body(self) -> tuple[Node, ...]:
        """The nodes inside a `Residual` or a `Scale`, or inside a `Concat` that puts one body behind its input; none
        elsewhere.

        Raises
        ------
        PlanRefused : a `Concat` of other bodies. A backend that knows one body refuses it so.
        """
        if isinstance(self.layer, spec.Residual | spec.Scale):
            return self.bodies[0]
        if isinstance(self.layer, spec.Concat):
            if not self.is_dense:
                raise PlanRefused(
                    f"{self.name} is a concat of bodies side by side; this backend has none"
                )
            return self.bodies[1]
        return ()

    @property
    def shortcut(self) -> tuple[Node, ...]:
        """The nodes of a `Residual`'s shortcut; none elsewhere, and where it is the identity."""
        return self.bodies[1] if isinstance(self.layer, spec.Residual) else ()

    @property
    def is_dense(self) -> bool:
        """Whether this is a `Concat` of its input and one body."""
        return isinstance(self.layer, spec.Concat) and len(self.bodies) == 2 and not self.bodies[0]

    @property
    def window_edges(self) -> spec.Edges:
        """What has to lie around the input of a convolution or pool so that its windows are those of one without
        padding and ceil mode; see `dlbench.spec.windows.reach`."""
        assert isinstance(self.layer, windows.Windowed)
        (height, width), (rows, columns) = self.input_shape[1:], self.output_shape[1:]
        return windows.reach(self.layer, (height, width), (rows, columns))

    @property
    def divisors(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What an `AvgPool` divides the sum of a window by: the product of its row's number and its column's."""
        assert isinstance(self.layer, spec.AvgPool)
        (height, width), (rows, columns) = self.input_shape[1:], self.output_shape[1:]
        return windows.divisors(self.layer, (height, width), (rows, columns))

    @property
    def bins(self) -> tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]:
        """The windows of an `AdaptiveAvgPool`: for each row of its output the first row of the input that it averages
        and the one behind the last, then the same of columns."""
        rows, columns = (
            windows.bins(size, count)
            for size, count in zip(self.input_shape[1:], self.output_shape[1:], strict=True)
        )
        return rows, columns

    @property
    def forward_flops(self) -> int:
        """Floating-point operations of one sample: two for each multiply-add of convolutions and
        linear layers (what PyTorch's `FlopCounterMode` counts); everything else is left out."""
        if isinstance(self.layer, spec.Conv2d):
            weight = self.parameters[0]
            return 2 * weight.size * self.output_shape[1] * self.output_shape[2]
        if isinstance(self.layer, spec.ConvTranspose2d):
            return 2 * self.parameters[0].size * self.input_shape[1] * self.input_shape[2]
        if isinstance(self.layer, spec.Linear):
            return 2 * self.parameters[0].size
        return 0

    @property
    def training_flops(self) -> int:
        """Forward, weight gradient where the weight is trained, and where something before needs it, input gradient."""
        return self.forward_flops * (1 + self.is_trained + self.needs_input_gradient)

    @property
    def forward_bytes(self) -> int:
        """float32 bytes that one sample's forward pass has to move at the least: input, output, parameters."""
        if self.bodies:
            return 0
        elements = math.prod(self.input_shape) + math.prod(self.output_shape)
        return 4 * (elements + sum(p.size for p in self.parameters))


def walk(nodes: tuple[Node, ...]) -> Iterator[Node]:
    """All nodes, depth first in the order of computation: the bodies, then the node that joins them."""
    for node in nodes:
        for body in node.bodies:
            yield from walk(body)
        yield node


def read_network(tables: Any, input_shape: Shape, path: str = "network.layers") -> tuple[Node, ...]:
    """The nodes of a network from its list of layer tables.

    Raises
    ------
    WorkloadError : a table that is no layer, or a layer that does not fit its input.
    """
    builder = _Builder()
    nodes, _ = builder.sequence(tables, input_shape, path, has_trained=False)
    if not nodes:
        raise WorkloadError(path, " is empty; a network needs a layer")
    return nodes


class _Builder:
    """Names layers in order and carries the shape from one to the next."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.names: set[str] = set()

    def sequence(
        self, tables: Any, shape: Shape, path: str, has_trained: bool, freeze: bool = False
    ) -> tuple[tuple[Node, ...], Shape]:
        if sum(path.count(word) for word in (".body", ".bodies", ".shortcut")) > _DEEPEST:
            raise WorkloadError(path, f" is nested deeper than {_DEEPEST} levels")
        nodes = []
        for index, given in enumerate(array(tables, path)):
            where = f"{path}[{index}]"
            if path.endswith(".body") and isinstance(given, list | tuple):
                raise WorkloadError(
                    where, " is an array; bodies side by side are written bodies = [[…], […]]"
                )
            for one, place in blocks.repeated(given, where, freeze=freeze):
                node = self.node(one, shape, place, has_trained)
                nodes.append(node)
                shape = node.output_shape
                has_trained = has_trained or node.is_trained
        return tuple(nodes), shape

    def node(self, given: Mapping[str, Any], shape: Shape, path: str, has_trained: bool) -> Node:
        kind, rest = choose(KINDS, given, path)
        blocks.check_freeze(kind, rest, path)
        name = self.name(str(given["type"]), rest, path)
        if kind is spec.Residual:
            return self.residual(rest, name, shape, path, has_trained)
        if kind is spec.Concat:
            return self.concat(rest, name, shape, path, has_trained)
        if kind is spec.Scale:
            return self.scale(rest, name, shape, path, has_trained)
        if issubclass(kind, windows.Windowed) and len(shape) == 3:
            windows.refuse_word(kind, rest, (shape[1], shape[2]), path)
        layer: Layer = decode(kind, rest, path)
        output, parameters = infer(layer, name, shape, path)
        if isinstance(layer, spec.Freezable) and layer.freeze:
            parameters = tuple(dataclasses.replace(p, frozen=True) for p in parameters)
        return Node(layer, name, path, shape, output, parameters, has_trained)

    def name(self, kind: str, rest: dict[str, Any], path: str) -> str:
        if len(self.names) == _MOST_NODES:
            raise WorkloadError(path, f": with this layer there are more than {_MOST_NODES:,}")
        name = rest.pop("name", "")
        if not isinstance(name, str) or (name and not name.replace("_", "a").isalnum()):
            raise WorkloadError(
                f"{path}.name", f" = {shown(name)} must be letters, digits and underscores"
            )
        if not name:
            word = _NAMES.get(kind, kind)
            self.counts[word] = self.counts.get(word, 0) + 1
            name = f"{word}{self.counts[word]}"
        if len(name) > _LONGEST_NAME:
            raise WorkloadError(
                f"{path}.name", f" = {shown(name)} must be at most {_LONGEST_NAME} letters long"
            )
        if name in self.names:
            raise WorkloadError(f"{path}.name", f" = {shown(name)} is taken by an earlier layer")
        self.names.add(name)
        return name

    def residual(
        self, rest: dict[str, Any], name: str, shape: Shape, path: str, has_trained: bool
    ) -> Node:
        freeze = rest.pop("freeze", False)
        blocks.only(rest, {"body", "shortcut"}, path)
        blocks.check_body(rest, path)
        body, output = self.sequence(rest["body"], shape, f"{path}.body", has_trained, freeze)
        given = rest.get("shortcut", "identity")
        tables = (
            blocks.shortcut_tables(given, shape, output, path) if isinstance(given, str) else given
        )
        where = f"{path}.shortcut"
        shortcut, joined = self.sequence(tables, shape, where, has_trained, freeze)
        if joined != output:
            raise WorkloadError(
                where,
                f": its {format_shape(joined)} cannot be added to the body's {format_shape(output)}",
            )
        bodies = (body, shortcut)
        return Node(spec.Residual(), name, path, shape, output, (), has_trained, bodies)

    def scale(
        self, rest: dict[str, Any], name: str, shape: Shape, path: str, has_trained: bool
    ) -> Node:
        freeze = rest.pop("freeze", False)
        blocks.only(rest, {"body"}, path)
        blocks.check_body(rest, path)
        body, output = self.sequence(rest["body"], shape, f"{path}.body", has_trained, freeze)
        if output not in (shape[:1], (shape[0], 1, 1)):
            raise WorkloadError(
                f"{path}.body",
                f": its {format_shape(output)} cannot scale the channels of {format_shape(shape)}; it has to end in"
                f" {shape[0]} features or {shape[0]} × 1 × 1",
            )
        return Node(spec.Scale(), name, path, shape, shape, (), has_trained, (body,))

    def concat(
        self, rest: dict[str, Any], name: str, shape: Shape, path: str, has_trained: bool
    ) -> Node:
        freeze = rest.pop("freeze", False)
        blocks.only(rest, {"body", "bodies"}, path)
        if "bodies" not in rest:
            blocks.check_body(rest, path)
            body, output = self.sequence(rest["body"], shape, f"{path}.body", has_trained, freeze)
            if len(shape) != 3 or output[1:] != shape[1:]:
                raise WorkloadError(
                    f"{path}.body",
                    f": its {format_shape(output)} cannot be put behind the channels of {format_shape(shape)}",
                )
            joined = (shape[0] + output[0], *shape[1:])
            return Node(spec.Concat(), name, path, shape, joined, (), has_trained, ((), body))
        bodies, images = [], []
        for index, tables in enumerate(blocks.read_bodies(rest, path)):
            where = f"{path}.bodies[{index}]"
            body, output = self.sequence(tables, shape, where, has_trained, freeze)
            if len(output) != 3:
                raise WorkloadError(
                    where,
                    f": its {format_shape(output)} features have no channels to put side by side",
                )
            bodies.append(body)
            images.append(output)
            if output[1:] != images[0][1:]:
                raise WorkloadError(
                    where,
                    f": its {format_shape(output)} cannot be put beside the {format_shape(images[0])} of bodies[0];"
                    " height and width must be the same",
                )
        joined = (sum(image[0] for image in images), *images[0][1:])
        return Node(spec.Concat(), name, path, shape, joined, (), has_trained, tuple(bodies))
