"""Leaves out the channels of the smallest magnitude: of a workload and its weights a smaller workload and its weights.

A channel's magnitude is the L1 norm of the filter that makes it, and in each layer the smallest are left out, by the
original weights (Li et al. 2017, "Pruning filters for efficient ConvNets", section 3.1 and their independent pruning).
With a channel go the row of the weight that makes it, its bias, its scale, shift and running statistics in batch
normalisations, and the columns of the weight that reads it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.errors import UsageError
from dlbench.pruning.channels import Left, Prunable, find, kept_count
from dlbench.spec.network import Node
from dlbench.spec.suite import Suite
from dlbench.spec.workload import Weights, Workload, read_workload

Kept = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Pruned:
    """What became of a network.

    Attributes
    ----------
    workload, weights : the smaller one.
    kept : of each layer that was pruned the channels that are still there, ascending.
    left : the layers that were left as they are.
    """

    workload: Workload
    weights: Weights
    kept: Mapping[str, Kept]
    left: tuple[Left, ...]


def prune(workload: Workload, weights: Weights, share: float) -> Pruned:
    """A workload without the smallest channels.

    Parameters
    ----------
    weights : of the workload, by the canonical names.
    share : of each layer's channels, how many are left out, above 0 and below 1; one always stays.

    Raises
    ------
    UsageError : a share that is none, or a network in which no channel can be left out; with the reason for each layer.
    """
    if not 0 < share < 1:
        raise UsageError(f"share {share:g} must be above 0 and below 1, such as 0.5")
    found = list(find(workload.nodes))
    prunable = [each for each in found if isinstance(each, Prunable)]
    left = tuple(each for each in found if isinstance(each, Left))
    if not prunable:
        why = "; ".join(f"{each.maker.name}: {each.reason}" for each in left[:5])
        raise UsageError(
            f"no channel of this network can be left out by itself: {why or 'it makes none'}"
        )
    smaller, kept = dict(weights), {}
    for each in prunable:
        rows = largest(weights[f"{each.maker.name}.weight"], kept_count(each.channels, share))
        kept[each.maker.name] = rows
        _leave_out(smaller, each, rows)
    return Pruned(_narrower(workload, kept), smaller, kept, left)


def largest(weight: npt.NDArray[np.float32], count: int) -> Kept:
    """The channels, ascending, of the `count` filters with the greatest L1 norm; of equal ones the first.

    Parameters
    ----------
    weight : O×…, a filter for each of O channels.
    """
    norms = np.abs(weight.astype(np.float64)).reshape(len(weight), -1).sum(axis=1)
    order = np.argsort(-norms, kind="stable")
    return np.sort(order[:count]).astype(np.int64)


def _leave_out(weights: Weights, each: Prunable, rows: Kept) -> None:
    for node in (each.maker, *each.norms):
        of = _columns(rows, _per_channel(node, each))
        for parameter in node.parameters:
            weights[parameter.name] = np.ascontiguousarray(weights[parameter.name][of])
    name = f"{each.reader.name}.weight"
    weights[name] = np.ascontiguousarray(weights[name][:, _columns(rows, each.features)])


def _per_channel(node: Node, each: Prunable) -> int:
    """How many features of a layer come from one channel: several behind a flattened image."""
    return node.output_shape[0] // each.channels


def _columns(rows: Kept, features: int) -> Kept:
    return (rows[:, None] * features + np.arange(features)).ravel()


def _narrower(workload: Workload, kept: Mapping[str, Kept]) -> Workload:
    table = workload.to_table()
    layers = [_with_channels(layer, kept) for layer in table["layers"]]
    # scales of activations are those of the larger network
    table.pop("calibration", None)
    return read_workload(table | {"layers": layers})


def _with_channels(layer: Mapping[str, Any], kept: Mapping[str, Kept]) -> dict[str, Any]:
    found = {key: value for key, value in layer.items() if key != "in_features"}
    if layer["name"] in kept:
        size = "out_channels" if layer["type"] == "conv2d" else "out_features"
        found[size] = len(kept[layer["name"]])
    for key in ("body", "shortcut"):
        if key in found:
            found[key] = [_with_channels(inner, kept) for inner in found[key]]
    if "bodies" in found:
        found["bodies"] = [
            [_with_channels(inner, kept) for inner in body] for body in found["bodies"]
        ]
    return found


def suite_of(suite: Suite, workload: Workload, name: str, share: float) -> Suite:
    """The suite with the smaller network, under a name of its own."""
    said = (
        f"{suite.name} without {100 * share:g} % of the channels that can be left out by themselves"
    )
    return Suite.from_toml(
        dataclasses.replace(suite, workload=workload, description=said).to_toml(), name
    )
