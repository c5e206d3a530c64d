"""From a graph of operations to layers inside layers: which of them are bodies of a sum, a concatenation or a scale.

A network of the specification is a sequence whose joins begin where their bodies part: a series-parallel graph. In any
graph, what a join's operands all come from is its immediate dominator (Lengauer and Tarjan 1979), so the bodies of a
join are what lies between the two.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from dlbench.errors import UsageError

Table = dict[str, Any]
Join = Literal["", "residual", "concat", "scale"]
"""How one value is made of several; empty of one."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One operation of a graph.

    Attributes
    ----------
    name : of the value that it gives.
    inputs : names of the values that it reads.
    join : how it makes one of several values; empty for a layer.
    layers : what it is of one value: the table of a layer, or none where it changes nothing.
    place : where it is written, for people.
    """

    name: str
    inputs: tuple[str, ...]
    join: Join = ""
    layers: tuple[Table, ...] = ()
    place: str = ""


def nested(steps: Sequence[Step], begin: str, end: str) -> list[Table]:
    """The layers that compute the value `end` from `begin`; `steps` stand in the order of computation.

    Raises
    ------
    UsageError : values are used crosswise, which is no network of layers inside layers.
    """
    return _Nesting(_unrolled(steps), begin).chain(end, begin)


def _unrolled(steps: Sequence[Step]) -> list[Step]:
    """A concatenation that begins with all operands of an earlier one puts the others behind that one's result: the
    dense connections of networks that keep a list of features."""
    known: dict[tuple[str, ...], str] = {}
    found = []
    for step in steps:
        if step.join == "concat":
            operands = step.inputs
            length = next((n for n in range(len(operands) - 1, 1, -1) if operands[:n] in known), 0)
            known.setdefault(operands, step.name)
            if length:
                rest = operands[length:]
                step = dataclasses.replace(step, inputs=(known[operands[:length]], *rest))
        found.append(step)
    return found


class _Nesting:
    """Walks from values back to where they come from, each operation once."""

    def __init__(self, steps: Sequence[Step], begin: str) -> None:
        self._steps = {step.name: step for step in steps}
        self._dominators = _dominators(steps, begin)
        self._taken: set[str] = set()

    def chain(self, end: str, begin: str) -> list[Table]:
        layers: list[Table] = []
        while end != begin:
            step = self._steps[end]
            if end in self._taken:
                raise UsageError(
                    f"{step.place}: its result is used crosswise, in two branches that do not begin at it; dlbench has"
                    " residual sums, concatenations and scales whose branches begin at one value"
                )
            self._taken.add(end)
            if step.join:
                (end,) = {self._dominators[step.name]}
                layers[:0] = self._joined(step, end)
            else:
                (end,) = step.inputs
                layers[:0] = step.layers
        return layers

    def _joined(self, step: Step, begin: str) -> list[Table]:
        bodies = [self.chain(operand, begin) for operand in step.inputs]
        if step.join == "concat":
            if len(bodies) == 1:
                return bodies[0]
            dense = len(bodies) == 2 and not bodies[0] and bodies[1]
            return [{"type": "concat", **({"body": bodies[1]} if dense else {"bodies": bodies})}]
        body, other = sorted(bodies, key=len, reverse=True) if not all(bodies) else bodies
        if step.join == "scale":
            if other or not body:
                raise UsageError(
                    f"{step.place}: a product of two branches, or of a value with itself; dlbench has the product of a"
                    " value with what is computed of it"
                )
            return [{"type": "scale", "body": body}]
        if not body:
            raise UsageError(
                f"{step.place}: a sum of a value with itself, of which dlbench has none"
            )
        return [{"type": "residual", "body": body, **({"shortcut": other} if other else {})}]


def _dominators(steps: Sequence[Step], begin: str) -> Mapping[str, str]:
    """Of each value the last one before it that every way from `begin` to it passes."""
    found: dict[str, str] = {}
    depth = {begin: 0}

    def common(one: str, other: str) -> str:
        while one != other:
            if depth[one] < depth[other]:
                one, other = other, one
            one = found[one]
        return one

    for step in steps:
        nearest = step.inputs[0]
        for operand in step.inputs[1:]:
            nearest = common(nearest, operand)
        found[step.name] = nearest
        depth[step.name] = depth[nearest] + 1
    return found
