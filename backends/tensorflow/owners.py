"""Whose work an operation is, by its name.

Each layer's operations stand in a name scope of its own, and their gradients in one of the same name below
``gradient_tape``. What optimisation fused serves the layers of all that is in it: in a graph the operations that it was
made of, which are carried out no longer, in a program of XLA the instructions in it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from dlbench.contract import Track

from ..shared import stamps
from ..shared.stamps import Owner

LOSS, GRADIENTS, OPTIMIZER = "dlbench.loss", "dlbench.gradients", "dlbench.optimizer"
_LAYER = "dlbench.layer"
_LAYER_NUMBER = re.compile(rf"(?:^|/){re.escape(_LAYER)}(\d+)/")
_TRACKS: tuple[Track, ...] = ("forward", "backward", "update")
_COMPUTE_NOTHING = {"Const", "Identity", "ReadVariableOp", "Shape", "ShapeN"}
"""Operations of a graph; one of another layer may stand for all that are alike."""
_MOVE_NOTHING = {
    *("bitcast", "broadcast", "constant", "get-tuple-element", "iota", "parameter", "reshape"),
    "tuple",
}
"""The same of XLA's instructions."""
_CALLS = {"call", "conditional", "while"}
"""Instructions whose own instructions are traced by themselves."""


def scope(name: str) -> contextlib.AbstractContextManager[Any]:
    """The name scope of what is traced within; nothing where operations are not traced, and names would take time."""
    return contextlib.nullcontext() if tf.executing_eagerly() else tf.name_scope(f"{name}/")


def layer_scope(number: int) -> contextlib.AbstractContextManager[Any]:
    """That of a layer, by its number in the order of `dlbench.spec.network.walk`."""
    return scope(f"{_LAYER}{number}")


def owner_of(operations: Iterable[str], layers: Sequence[str], what: str) -> Owner:
    """Whose work operations of these names are together: of the latest pass that one of them is part of.

    Parameters
    ----------
    layers : in the order of their numbers.
    what : what carries them out, in TensorFlow's words.
    """
    numbers, words, track = set(), set(), 0
    for name in operations:
        number = _LAYER_NUMBER.search(name)
        if f"{OPTIMIZER}/" in name:
            track = 2
            words.add(stamps.OPTIMIZER.name)
        elif "gradient_tape/" in name or f"{GRADIENTS}/" in name:
            track = max(track, 1)
        if number:
            numbers.add(int(number[1]))
        elif f"{LOSS}/" in name:
            words.add(stamps.LOSS.name)
    served = tuple(layers[number] for number in sorted(numbers))
    return Owner(served, _TRACKS[track], what if served or len(words) != 1 else words.pop())


def graph_owners(
    traced: Iterable[Any], carried_out: Iterable[Any], layers: Sequence[str]
) -> dict[str, Owner]:
    """By the names of the nodes that were carried out, from those and the nodes that were traced."""
    before = {node.name: node for node in traced}
    after = {node.name: node for node in carried_out}

    def within(name: str) -> Iterator[str]:
        """A node's own name, and of one that became another operation those of what it is made of."""
        yield name
        if name not in before or _same_kind(before[name].op, after[name].op):
            return
        seen, ahead = {name}, [name]
        while ahead:
            for given in before[ahead.pop()].input:
                source = given.removeprefix("^").partition(":")[0]
                if source not in seen and source in before and source not in after:
                    seen.add(source)
                    ahead.append(source)
                    if before[source].op not in _COMPUTE_NOTHING:
                        yield source

    return {name: owner_of(within(name), layers, node.op) for name, node in after.items()}


def _same_kind(traced: str, carried_out: str) -> bool:
    """oneDNN's operations have names of their own."""
    return traced == carried_out.removeprefix("_Mkl").removeprefix("Native")


def program_owners(module: Any, layers: Sequence[str]) -> Mapping[str, Owner | None]:
    """By the names of an HloModule's instructions; None of those whose own instructions are traced."""
    computations = {each.id: each for each in module.computations}

    def within(instruction: Any) -> Iterator[Any]:
        yield instruction
        for number in instruction.called_computation_ids:
            for each in computations[number].instructions:
                yield from within(each)

    def owner(instruction: Any) -> Owner | None:
        if instruction.opcode in _CALLS:
            return None
        parts = [each for each in within(instruction) if each.metadata.op_name]
        counted = [each for each in parts if each.opcode not in _MOVE_NOTHING | {"fusion"}]
        names = [name for each in counted or parts for name in each.metadata.op_name.split(";")]
        return owner_of(names, layers, instruction.name)

    return {
        each.name: owner(each)
        for computation in module.computations
        for each in computation.instructions
    }
