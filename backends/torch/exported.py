"""An `nn.Module` as the layers of a suite, through `torch.export`: for networks that people bring.

What is exported is the module in inference, and once more in training, since an operation may be part of one alone.
Each operation of ATen that a layer of the specification stands for becomes that layer; any other is refused, with the
place where it is written and what to do about it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from dlbench.errors import UsageError, WorkloadError
from dlbench.spec.layers import KINDS
from dlbench.spec.network import Node, Shape, read_network, walk

from . import trouble
from .frozen import freeze
from .layers import Network
from .operations import AS_IMAGE, POOLED, REMEDIES, TABLES, Refused
from .structure import Join, Step, Table, nested

_JOINS: dict[str, Join] = {
    "add": "residual",
    "add_": "residual",
    "cat": "concat",
    "mul": "scale",
    "mul_": "scale",
}
_BATCH = 2
_SAME = 1e-3
SOURCE = "parameters"
"""The key of a table under which the module's own names of a layer's arrays stand, by role."""


@dataclasses.dataclass(frozen=True)
class Imported:
    """What was made of a module.

    Attributes
    ----------
    layers : tables as in a suite's file.
    arrays : the module's own name of each parameter and running statistic, by its canonical name.
    notes : what was left out or is otherwise, in words.
    """

    layers: list[Table]
    arrays: dict[str, str]
    notes: tuple[str, ...]


def import_module(module: nn.Module, input_shape: Shape) -> Imported:
    """The layers of a module that takes one batch N×C×H×W or N×F, and gives one tensor.

    Parameters
    ----------
    input_shape : of a sample.

    Raises
    ------
    UsageError : it is no module, has an operation that no layer stands for, with its place, or cannot be exported.
    """
    if not isinstance(module, nn.Module):
        raise UsageError(f"{type(module).__name__} is no torch.nn.Module")
    before = {part: part.training for part in module.modules()}
    try:
        _check_takes(module.eval(), input_shape)
        evaluated = _Graph(_exported(module, input_shape))
        try:
            trained = _Graph(_exported(module.train(), input_shape))
        except UsageError as error:
            raise UsageError(f"in training, other than in inference: {error}") from None
        _check_alike(evaluated.layers, trained.layers)
        frozen = freeze(evaluated.layers, SOURCE, module)
        layers = [_without_source(layer) for layer in evaluated.layers]
        try:
            nodes = read_network(layers, input_shape)
        except WorkloadError as error:
            raise UsageError(f"the layers that were found do not fit each other: {error}") from None
        arrays = dict(zip(_canonical(nodes), _sources(evaluated.layers), strict=True))
        _check_computes_it(module.eval(), nodes, arrays, input_shape, evaluated.left_out)
    finally:
        for part, training in before.items():
            part.training = training
    return Imported(layers, arrays, (*evaluated.notes, *frozen))


def _check_computes_it(
    module: nn.Module,
    nodes: tuple[Node, ...],
    arrays: Mapping[str, str],
    input_shape: Shape,
    left_out: str,
) -> None:
    """Holds what was made against the module, with the module's weights on a random batch: an operation in place may
    change what others read, which no graph tells."""
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    network = Network(nodes).eval()
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn((_BATCH, *input_shape), generator=generator)
    with torch.no_grad():
        for name, tensor in network.arrays.items():
            tensor.copy_(state[arrays[name]])
        got, wanted = network(inputs), module(inputs)
        if left_out:
            got = getattr(torch, left_out)(got, 1)
        off = float((got - wanted).abs().max()) if got.shape == wanted.shape else math.inf
    if not off <= _SAME * max(float(wanted.abs().max()), 1.0):
        raise UsageError(
            f"the layers that were found give another output than the module, by {off:.2g}: something is not as"
            " torch.export tells it, like an operation in place that changes what others read"
        )


def _exported(module: nn.Module, input_shape: Shape) -> ExportedProgram:
    example = torch.zeros((_BATCH, *input_shape))
    try:
        with _readable_settings(), trouble.quiet():
            return torch.export.export(module, (example,))
    except Exception as error:
        raise trouble.not_exported(error) from error


@contextlib.contextmanager
def _readable_settings() -> Iterator[None]:
    """`torch.export` reads PyTorch's older switch of TF32, which cannot be read where the newer ones say otherwise,
    as they do once a session was opened in this process."""
    switches: list[Any] = [getattr(torch.backends.cudnn, name) for name in ("conv", "rnn")]
    before = [switch.fp32_precision for switch in switches]
    for switch in switches:
        switch.fp32_precision = "tf32"
    try:
        yield
    finally:
        for switch, precision in zip(switches, before, strict=True):
            switch.fp32_precision = precision


def _check_takes(module: nn.Module, input_shape: Shape) -> None:
    """Evaluates the module once: layers that are made at their first use are there then."""
    example = torch.zeros((_BATCH, *input_shape))
    try:
        with torch.no_grad():
            module(example)
    except Exception as error:
        raise trouble.not_taken(error, module, input_shape) from error


class _Graph:
    """The layers of an exported program, and what was left out of it."""

    def __init__(self, program: ExportedProgram) -> None:
        signature = program.graph_signature
        self._parameters = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self._used: dict[str, str] = {}
        self._input = str(next(iter(signature.user_inputs)))
        outputs = [*signature.user_outputs]
        if len(outputs) != 1 or not isinstance(outputs[0], str):
            raise UsageError(f"the module gives {len(outputs)} values; a suite's network gives one")
        self._output = outputs[0]
        self._nodes = {node.name: node for node in program.graph.nodes}
        self._notes: list[str] = []
        self.left_out = ""
        self._drop_softmax()
        self._flow, between = self._between()
        steps = [self._step(node) for node in between]
        self.layers = _tidied(nested(steps, self._input, self._output))
        self.notes = tuple(self._notes)

    def _between(self) -> tuple[set[str], list[torch.fx.Node]]:
        """The names of what depends on the input, and of that what the output is computed with, in order."""
        begun, needed = {self._input}, {self._output}
        for name, node in self._nodes.items():
            if any(each.name in begun for each in node.all_input_nodes):
                begun.add(name)
        for node in reversed(self._nodes.values()):
            if node.name in needed:
                needed |= {each.name for each in node.all_input_nodes}
        if self._output not in begun:
            raise UsageError("the module's output does not depend on its input")
        return begun, [
            node
            for name, node in self._nodes.items()
            if name in begun & needed and name != self._input and node.op != "output"
        ]

    def _drop_softmax(self) -> None:
        """A suite's loss is of logits."""
        last = self._nodes[self._output]
        if last.op == "call_function" and _word(last) in ("softmax", "log_softmax"):
            self.left_out = _word(last)
            self._notes.append(
                f"{_word(last)} at the end is left out: the loss of a suite is of logits ({_place(last)})"
            )
            self._output = last.all_input_nodes[0].name

    def _step(self, node: torch.fx.Node) -> Step:
        place = _place(node)
        inputs = tuple(each.name for each in node.all_input_nodes if each.name in self._flow)
        word = _word(node)
        operands = self._operands(node, word)
        if operands:
            self._check_join(node, word, place)
            return Step(node.name, operands, _JOINS[word], (), place)
        if word not in TABLES or len(inputs) != 1:
            raise UsageError(
                f"{place}: {_told(node)} has no counterpart in dlbench; {_remedy(word)}"
            )
        try:
            tables = TABLES[word](_Call(node, self._array))
        except Refused as error:
            raise UsageError(f"{place}: {error}") from None
        return Step(node.name, inputs, "", tuple(tables), place)

    def _operands(self, node: torch.fx.Node, word: str) -> tuple[str, ...]:
        """What a join makes one value of, each as often as it is there; none where it is no join, or of a constant."""
        if _JOINS.get(word) not in KINDS:
            return ()
        given: Any = node.args[0] if word == "cat" else node.args[:2]
        names = tuple(each.name for each in given if isinstance(each, torch.fx.Node))
        return names if len(names) == len(given) and self._flow.issuperset(names) else ()

    def _check_join(self, node: torch.fx.Node, word: str, place: str) -> None:
        shapes = [tuple(each.meta["val"].shape) for each in node.all_input_nodes]
        if word == "cat":
            axis = _argument(node, 1, "dim", 0)
            if axis % len(shapes[0]) != 1 or len(shapes[0]) != 4:
                raise UsageError(
                    f"{place}: torch.cat of {len(shapes[0])} axes along axis {axis}; dlbench puts channels of"
                    " images side by side, which is axis 1"
                )
        elif _argument(node, 2, "alpha", 1) != 1:
            raise UsageError(f"{place}: a sum with alpha, of which dlbench has none")
        elif word.startswith("add") and len(set(shapes)) > 1:
            told = " and ".join(" × ".join(map(str, shape[1:])) for shape in shapes)
            raise UsageError(f"{place}: a sum of values of other shapes, {told}; dlbench has none")

    def _array(self, node: torch.fx.Node) -> str:
        """The module's name of a parameter that an operation reads."""
        name = str(self._parameters[node.name])
        if name in self._used and self._used[name] != node.name:
            raise Refused(f"{name} has two names; dlbench has no weights that layers share")
        self._used[name] = node.name
        if len(node.users) > 1:
            raise Refused(
                f"{name} is used more than once; dlbench has no weights that layers share"
            )
        return name


class _Call:
    """An operation as the tables read it."""

    def __init__(self, node: torch.fx.Node, array: Callable[[torch.fx.Node], str]) -> None:
        self._node = node
        self._array = array

    def __getitem__(self, name: str) -> Any:
        """An argument by its name in the operator's schema."""
        target: Any = self._node.target
        arguments = target._schema.arguments
        names = [each.name for each in arguments]
        if name not in names:
            return None
        place = names.index(name)
        default = arguments[place].default_value if arguments[place].has_default_value() else None
        return _argument(self._node, place, name, default)

    def array(self, name: str) -> str | None:
        """The module's name of an array that is an argument; None where it is None."""
        given = self[name]
        if given is None:
            return None
        if not isinstance(given, torch.fx.Node) or given.op != "placeholder":
            raise Refused(f"its {name} is computed, and no parameter of the module")
        return self._array(given)

    @property
    def input_shape(self) -> Shape:
        """Of what it reads, with the samples."""
        return tuple(self._node.all_input_nodes[0].meta["val"].shape)

    @property
    def output_shape(self) -> Shape:
        """Of what it gives, with the samples."""
        return tuple(self._node.meta["val"].shape)

    def array_shape(self, name: str) -> Shape:
        """Of an array that is an argument."""
        return tuple(self[name].meta["val"].shape)


def _argument(node: torch.fx.Node, place: int, name: str, default: Any) -> Any:
    given = node.args[place] if place < len(node.args) else node.kwargs.get(name, default)
    return list(given) if isinstance(given, list | tuple) else given


def _word(node: torch.fx.Node) -> str:
    """``conv2d`` for ``aten.conv2d.default``."""
    target: Any = node.target
    return (
        str(target).partition(".")[2].partition(".")[0] if node.op == "call_function" else node.op
    )


def _told(node: torch.fx.Node) -> str:
    return str(node.target)


def _remedy(word: str) -> str:
    return REMEDIES.get(word, "leave it out, or put a layer of docs/semantics.md in its place")


def _place(node: torch.fx.Node) -> str:
    """The module that an operation belongs to, and the line that it is written in."""
    stack = node.meta.get("nn_module_stack") or {}
    names = [path for path, _ in stack.values() if path]
    lines = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
    own = [(file, line) for file, line in lines if not trouble.is_of_pytorch(file)]
    parts = [re.sub(r"^L\['self'\]\.?", "", names[-1])] if names else []
    if own:
        file, line = own[-1]
        parts.append(f"{file.rpartition('/')[2]}, line {line}")
    return f"{' at '.join(filter(None, parts)) or node.name} ({node.name})"


def _check_alike(evaluated: Sequence[Table], trained: Sequence[Table]) -> None:
    if evaluated != trained:
        kinds = (", ".join(str(layer["type"]) for layer in each) for each in (evaluated, trained))
        raise UsageError(
            "the module computes one thing in inference and another in training, but for dropout and batch"
            f" normalisation: {' and '.join(kinds)}"
        )


def _tidied(layers: Sequence[Table]) -> list[Table]:
    """A pool to one value a channel is a global one where features follow from it."""
    found: list[Table] = []
    for given in layers:
        layer = {
            key: _tidied(value)
            if key in ("body", "shortcut")
            else [_tidied(body) for body in value]
            if key == "bodies"
            else value
            for key, value in given.items()
        }
        if found and found[-1] == POOLED and layer["type"] == "flatten":
            found[-1] = {"type": "global_avg_pool"}
        else:
            found.append(layer)
    return [AS_IMAGE if layer == POOLED else layer for layer in found]


def _without_source(layer: Table) -> Table:
    found = {key: value for key, value in layer.items() if key != SOURCE}
    for key in ("body", "shortcut"):
        if key in found:
            found[key] = [_without_source(each) for each in found[key]]
    if "bodies" in found:
        found["bodies"] = [[_without_source(each) for each in body] for body in found["bodies"]]
    return found


def _sources(layers: Sequence[Table]) -> Iterator[str]:
    """The module's names of all arrays, in the order of `walk`."""
    for layer in layers:
        for body in (layer.get("body"), layer.get("shortcut"), *layer.get("bodies", ())):
            yield from _sources(body or ())
        yield from layer.get(SOURCE, ())


def _canonical(nodes: Any) -> Iterator[str]:
    for node in walk(nodes):
        for parameter in node.parameters:
            yield parameter.name
