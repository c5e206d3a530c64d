"""What the file of a suite would say: its tables, as brief as a person would write them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlbench.spec.blocks import MOST_REPEATS
from dlbench.spec.layers import KINDS
from dlbench.spec.network import read_network
from dlbench.spec.training import OPTIMIZERS, SCHEDULES

if TYPE_CHECKING:
    from dlbench.spec.suite import Suite


_LONGEST_REPEATED = 12
_NUMBERS = re.compile(r"\[\n((?: *[-+.\w]+,\n)+) *\]")
"""A list of numbers with a line for each."""


def with_short_lists(text: str) -> str:
    """The text of a file with lists of numbers on one line each."""
    return _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split()).rstrip(',')}]", text)


def table_of(suite: Suite) -> dict[str, Any]:
    """The tables of a suite's file. Layers have names only where they are not those that they would be given."""
    workload = suite.workload
    given = workload.to_table()
    layers = [_brief(each, named=False) for each in given["layers"]]
    if read_network(layers, workload.input_shape) != workload.nodes:
        layers = [_brief(each, named=True) for each in given["layers"]]
    layers = _folded(layers)
    optimizer, schedule = given["optimizer"], given["schedule"]
    optimizer = {"type": optimizer["type"], **_unusual(OPTIMIZERS[optimizer["type"]], optimizer)}
    schedule = {"type": schedule["type"], **_unusual(SCHEDULES[schedule["type"]], schedule)}
    training = {"loss": given["loss"], "optimizer": optimizer, "epochs": suite.epochs}
    if schedule["type"] != "constant":
        training["schedule"] = schedule
    tables = {
        "description": suite.description,
        "network": {"input": given["input_shape"], "layers": layers},
        "training": training,
        "data": {
            "name": suite.data.name,
            **_unusual(type(suite.data), dataclasses.asdict(suite.data)),
        },
        "matrix": _unusual(type(suite.matrix), dataclasses.asdict(suite.matrix)),
    }
    if suite.verification is not None:
        fields = dataclasses.asdict(suite.verification)
        tables["verification"] = _unusual(type(suite.verification), fields)
    return {key: value for key, value in tables.items() if value}


def _brief(layer: Mapping[str, Any], *, named: bool) -> dict[str, Any]:
    """A layer's table without what has a default; a size alike both ways as one number."""
    found: dict[str, Any] = {"type": layer["type"], **_unusual(KINDS[layer["type"]], layer)}
    for key in ("body", "shortcut", "bodies"):
        inside = layer.get(key)
        if key == "bodies" and inside:
            found[key] = [[_brief(each, named=named) for each in body] for body in inside]
        elif inside:
            found[key] = [_brief(each, named=named) for each in inside]
    return found | ({"name": layer["name"]} if named else {})


def _folded(layers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Layers of which some stand there several times in a row, as ``repeat`` says it."""
    found: list[dict[str, Any]] = []
    begin = 0
    while begin < len(layers):
        length, times = _repetition(layers, begin)
        one = [_folded_inside(each) for each in layers[begin : begin + length]]
        if times == 1:
            found += one
        elif length == 1:
            found.append({**one[0], "repeat": times})
        else:
            found.append({"repeat": times, "layers": _folded(one)})
        begin += length * times
    return found


def _repetition(layers: Sequence[dict[str, Any]], begin: int) -> tuple[int, int]:
    """How many layers from there on are repeated, and how often they stand there, so that most are said by it."""
    best = 1, 1
    for length in range(1, min(_LONGEST_REPEATED, len(layers) - begin) + 1):
        first, times = layers[begin : begin + length], 1
        while layers[begin + times * length : begin + (times + 1) * length] == first:
            times += 1
        times = min(times, MOST_REPEATS)
        if (times - 1) * length > (best[1] - 1) * best[0]:
            best = length, times
    return best


def _folded_inside(layer: dict[str, Any]) -> dict[str, Any]:
    found = dict(layer)
    for key in ("body", "shortcut", "bodies"):
        if key == "bodies" and key in found:
            found[key] = [_folded(body) for body in found[key]]
        elif key in found:
            found[key] = _folded(found[key])
    return found


def _unusual(kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those values of the fields of a kind that are not their defaults."""
    found = {}
    for field in dataclasses.fields(kind):
        value = given.get(field.name, field.default)
        if value is None or _tuple(value) == field.default:
            continue
        is_pair = isinstance(value, list) and len(value) == 2 and value[0] == value[1]
        found[field.name] = value[0] if is_pair and isinstance(value[0], int) else value
    return found


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list | tuple) else value
