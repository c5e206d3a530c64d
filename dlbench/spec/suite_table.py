"""What the file of a suite would say: its tables, as brief as a person would write them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dlbench.spec.layers import KINDS
from dlbench.spec.network import read_network
from dlbench.spec.training import OPTIMIZERS, SCHEDULES

if TYPE_CHECKING:
    from dlbench.spec.suite import Suite


def table_of(suite: Suite) -> dict[str, Any]:
    """The tables of a suite's file. Layers have names only where they are not those that they would be given."""
    workload = suite.workload
    given = workload.to_table()
    layers = [_brief(each, named=False) for each in given["layers"]]
    if read_network(layers, workload.input_shape) != workload.nodes:
        layers = [_brief(each, named=True) for each in given["layers"]]
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
