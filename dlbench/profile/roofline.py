"""How near a layer comes to what the backend can do at best: the roofline model (Williams, Waterman, Patterson 2009).

The roofs are measured in the rounds of the profile itself, by the backend's own library and in its own arithmetic: the
rate of a large matrix product, and the rate at which elements are copied, of sizes that live in each level of cache and
in memory. What a layer has to do is counted from the specification: operations of convolutions and linear layers, and
each tensor that is read or written once, at the least. Bytes are counted as float32's in every precision, here and of
the copies, so that a share of a roof holds in short precisions too.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np

from dlbench.profile.ladder import PRODUCT, PRODUCT_SIDE
from dlbench.profile.layer_times import LayerTimes, Time, rung_time
from dlbench.record.schema import Profile
from dlbench.spec import layers as spec
from dlbench.spec.network import Node, walk
from dlbench.spec.workload import Workload

Bound = Literal["arithmetic", "memory", "calls"]

_ELEMENT_BYTES = 4
_FAR_FROM_ROOF = 0.3
_FEW_CALLS = 3.0


@dataclasses.dataclass(frozen=True)
class Roofs:
    """What a backend can do at best.

    Attributes
    ----------
    flops_per_s : of a product of matrices of 1024 × 1024, lowest and highest of its interval.
    copies : bytes that are read and written in all, and the rate of that (bytes a second), by size.
    call_s : what the step of a network costs that computes next to nothing.
    """

    flops_per_s: tuple[float, float, float]
    copies: tuple[tuple[float, float], ...]
    call_s: float

    def bytes_per_s(self, moved_bytes: float) -> float:
        """The rate at which so many bytes are moved: between two sizes, by the logarithm of the size."""
        sizes, rates = zip(*self.copies, strict=True)
        return float(np.interp(math.log(max(moved_bytes, 1.0)), np.log(sizes), rates))


@dataclasses.dataclass(frozen=True)
class Placed:
    """A layer under its roof.

    Attributes
    ----------
    flops, moved_bytes : what it has to do in a step, the bytes at the least.
    flops_per_s : what it reaches.
    share, low, high : of the roof that binds it, and the interval of that by the layer's; above 1 where it needs fewer
        operations, or moves fewer bytes, than are counted (Winograd's convolution, fusion with a neighbour).
    bound : which roof that is; ``calls`` where it is far from both, and takes little longer than a call.
    """

    flops: float
    moved_bytes: float
    flops_per_s: float
    share: float
    low: float
    high: float
    bound: Bound


def roofs(profile: Profile) -> Roofs | None:
    """The roofs that were measured with a profile; None where they were not."""
    product = rung_time(profile, "ceiling", PRODUCT, "infer")
    sizes = [r.name for r in profile.rungs if r.kind == "ceiling" and r.name != PRODUCT]
    call = rung_time(profile, "empty", "", "infer")
    if product is None or call is None or not sizes:
        return None
    work = 2.0 * PRODUCT_SIDE**3
    low, middle, high = (
        work / max(each - call.mean_s, 1e-9)
        for each in (product.high_s, product.mean_s, product.low_s)
    )
    copies = []
    for name in sizes:
        took = rung_time(profile, "ceiling", name, "infer")
        assert took is not None
        moved = 2.0 * _ELEMENT_BYTES * int(name)
        beyond_s = took.mean_s - call.mean_s
        # of what takes hardly longer than a call, nobody knows how much is the call
        copies.append((moved, moved / (beyond_s if beyond_s > took.mean_s / 2 else took.mean_s)))
    return Roofs((middle, low, high), tuple(sorted(copies)), call.mean_s)


def place(node: Node, batch: int, time: Time, trains: bool, under: Roofs) -> Placed | None:
    """A layer that takes so long in a step, under the roofs; None where it has nothing to do but to pass on what it is
    given, or its time cannot be told from none (what is fused with a neighbour)."""
    inner = list(walk((node,)))
    flops = float(batch * sum(n.training_flops if trains else n.forward_flops for n in inner))
    moved = sum(_moved_bytes(each, batch, trains) for each in inner)
    if not (flops or moved) or time.low_s <= 0:
        return None
    by_arithmetic_s = flops / under.flops_per_s[0]
    by_memory_s = moved / under.bytes_per_s(moved)
    least_s = max(by_arithmetic_s, by_memory_s)
    bound: Bound = "arithmetic" if by_arithmetic_s >= by_memory_s else "memory"
    took_s = time.mean_s
    share = least_s / took_s
    if share < _FAR_FROM_ROOF and took_s < _FEW_CALLS * under.call_s:
        bound = "calls"
    reached = flops / took_s
    return Placed(flops, moved, reached, share, least_s / time.high_s, least_s / time.low_s, bound)


def _moved_bytes(node: Node, batch: int, trains: bool) -> float:
    """What a layer reads and writes at the least: forward its input, output and parameters; backward the gradient of
    its output, its input again, and both gradients that it gives."""
    passes_on = isinstance(node.layer, spec.Flatten)
    if node.bodies or passes_on or (isinstance(node.layer, spec.Dropout) and not trains):
        return 0.0
    read, written = math.prod(node.input_shape), math.prod(node.output_shape)
    parameters = sum(p.size for p in node.parameters)
    elements = batch * (read + written) + parameters
    if trains:
        back = read if node.needs_input_gradient else 0
        elements += batch * (written + read + back) + 2 * parameters
    return float(_ELEMENT_BYTES * elements)


def placed(profile: Profile, workload: Workload, times: LayerTimes) -> dict[str, Placed]:
    """Each layer of a profiled step that has a place under the roofs, by its name; none where these are not known."""
    under, case = roofs(profile), profile.case
    if under is None:
        return {}
    nodes, trains = {node.name: node for node in workload.nodes}, case.scenario == "train"
    layers = [part for part in times.parts if part.kind == "layer"]
    found = {p.name: place(nodes[p.name], case.batch, p.time, trains, under) for p in layers}
    return {name: each for name, each in found.items() if each is not None}
