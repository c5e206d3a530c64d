"""How near a layer comes to what the backend can do at best: the roofline model (Williams, Waterman, Patterson 2009).

The roofs are measured in the rounds of the profile itself, by the backend's own library and in its own arithmetic: the
rate of a large matrix product, and the rate at which elements are copied, of sizes that live in each level of cache and
in memory; on the host also what a triad moves without any framework, where that is faster. What a layer has to do is
counted from the specification: operations of convolutions and linear layers, and each tensor that is read or written
once, at the least. Bytes are counted as float32's in every precision, here and of the copies, so that a share of a roof
holds in short precisions too.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import stdtrit

from dlbench.profile.estimates import Rounds, Time
from dlbench.profile.layer_times import LayerTimes, rung_rounds
from dlbench.profile.rungs import PRODUCT, PRODUCT_SIDE, PRODUCTS, PRODUCTS_DEPTH
from dlbench.profile.triad import PASSES, TRIAD, TRIADS, times_of
from dlbench.record.schema import Profile
from dlbench.spec import layers as spec
from dlbench.spec.network import Node, walk
from dlbench.spec.workload import Workload

Bound = Literal["arithmetic", "memory", "calls"]

_ELEMENT_BYTES = 4
_FAR_FROM_ROOF = 0.3
_FEW_CALLS = 3.0
_MOVED = {"copy": 2, TRIAD: PASSES, TRIADS: PASSES}
"""Elements that are read and written for each."""


class Rate(NamedTuple):
    """So much a second, and the 95 % interval of it."""

    middle: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Roofs:
    """What a backend can do at best.

    Attributes
    ----------
    flops_per_s : of a product of matrices of 1024 × 1024.
    copies : for each way to copy, bytes that are read and written in all, and the rate of that (bytes a second), by
        size.
    call_s : what the step of a network costs that computes next to nothing.
    """

    flops_per_s: Rate
    copies: tuple[tuple[tuple[float, Rate], ...], ...]
    call_s: float

    def bytes_per_s(self, moved_bytes: float) -> Rate:
        """The rate at which so many bytes are moved the faster way: between two sizes, by the logarithm of the size."""
        at = math.log(max(moved_bytes, 1.0))
        found = []
        for way in self.copies:
            sizes, rates = zip(*way, strict=True)
            ends = zip(*rates, strict=True)
            found.append(Rate(*(float(np.interp(at, np.log(sizes), each)) for each in ends)))
        return max(found)


@dataclasses.dataclass(frozen=True)
class Placed:
    """A layer under its roof.

    Attributes
    ----------
    flops, moved_bytes : what it has to do in a step, the bytes at the least.
    flops_per_s : what it reaches.
    share, low, high : of the roof that binds it, and the interval of that by the layer's and the roof's; above 1 where
        it needs fewer operations, or moves fewer bytes, than are counted (Winograd's convolution, fusion with a
        neighbour).
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
    product = rung_rounds(profile, "ceiling", PRODUCT, "infer")
    calls = rung_rounds(profile, "empty", "", "infer")
    found = {r.name: _copy_of(r.name) for r in profile.rungs if r.kind == "ceiling"}
    if product is None or calls is None or not any(found.values()):
        return None
    call_s = float(np.median(calls)) * 1e-9
    ways: dict[str, list[tuple[float, Rate]]] = {}
    for name, copied in found.items():
        took = rung_rounds(profile, "ceiling", name, "infer")
        if copied is None or took is None:
            continue
        how, elements = copied
        moved = float(_ELEMENT_BYTES * _MOVED[how] * elements)
        # no framework is called for a triad
        times = times_of(elements) if how == TRIADS else 1
        rate = _rate(moved * times, took, call_s if how == "copy" else 0.0)
        ways.setdefault(how, []).append((moved, rate))
    copies = tuple(tuple(sorted(way)) for way in ways.values())
    flops = 2.0 * PRODUCT_SIDE**3
    several = rung_rounds(profile, "ceiling", PRODUCTS, "infer")
    rate = _rate(flops, product, call_s)
    # records of earlier versions have one product alone
    if several is not None and np.median(several) > np.median(product):
        rate = _rate((PRODUCTS_DEPTH - 1) * flops, several - product, 0.0)
    return Roofs(rate, copies, call_s)


def _copy_of(name: str) -> tuple[str, int] | None:
    """How a ceiling moves how many elements; None for one that moves none. Earlier versions had copies alone, which
    went by their number."""
    how, _, elements = name.rpartition(" ")
    how = how or "copy"
    return (how, int(elements)) if how in _MOVED and elements.isdecimal() else None


def _rate(work: float, rounds_ns: Rounds, call_s: float) -> Rate:
    """So much work a second, beyond the call; of logarithms, since rates are positive and scatter by factors."""
    took_s = rounds_ns * 1e-9
    # of what takes hardly longer than a call, nobody knows how much is the call
    beyond_s = took_s - call_s if np.median(took_s) > 2 * call_s else took_s
    # a block that was hit may come out below none
    rates = np.log(work / np.maximum(beyond_s, np.median(beyond_s) / 10))
    middle, count = float(np.mean(rates)), len(rates)
    half = math.inf
    if count > 1:
        half = float(stdtrit(count - 1, 0.975) * np.std(rates, ddof=1)) / math.sqrt(count)
    return Rate(math.exp(middle), math.exp(middle - half), math.exp(min(middle + half, 700.0)))


def place(node: Node, batch: int, time: Time, trains: bool, under: Roofs) -> Placed | None:
    """A layer that takes so long in a step, under the roofs; None where it has nothing to do but to pass on what it is
    given, or its time cannot be told from none (what is fused with a neighbour)."""
    inner = list(walk((node,)))
    flops = float(batch * sum(n.training_flops if trains else n.forward_flops for n in inner))
    moved = sum(_moved_bytes(each, batch, trains) for each in inner)
    if not (flops or moved) or time.low_s <= 0:
        return None
    arithmetic, memory = under.flops_per_s, under.bytes_per_s(moved)
    by_arithmetic = flops / arithmetic.middle >= moved / memory.middle
    work, rate = (flops, arithmetic) if by_arithmetic else (moved, memory)
    bound: Bound = "arithmetic" if by_arithmetic else "memory"
    took_s = time.mean_s
    share = work / rate.middle / took_s
    if share < _FAR_FROM_ROOF and took_s < _FEW_CALLS * under.call_s:
        bound = "calls"
    low, high = work / rate.high / time.high_s, work / rate.low / time.low_s
    return Placed(flops, moved, flops / took_s, share, low, high, bound)


def _moved_bytes(node: Node, batch: int, trains: bool) -> float:
    """What a layer reads and writes at the least: forward its input, output and parameters; backward, where there is
    one, the gradient of its output, its input again, and both gradients that it gives. A frozen product or batch norm
    reads no input again, and gives no gradient of its parameters."""
    passes_on = isinstance(node.layer, spec.Flatten)
    if node.bodies or passes_on or (isinstance(node.layer, spec.Dropout) and not trains):
        return 0.0
    read, written = math.prod(node.input_shape), math.prod(node.output_shape)
    parameters = sum(p.size for p in node.parameters)
    elements = batch * (read + written) + parameters
    if trains and node.has_backward:
        back = read if node.needs_input_gradient else 0
        statistics = isinstance(node.layer, spec.GroupNorm | spec.LayerNorm)
        again = 0 if node.frozen and not statistics else read
        elements += batch * (written + again + back) + (1 if node.frozen else 2) * parameters
    return float(_ELEMENT_BYTES * elements)


def placed(profile: Profile, workload: Workload, times: LayerTimes) -> dict[str, Placed]:
    """Each layer of a profiled step that has a place under the roofs, by its name; none where these are not known."""
    under, case = roofs(profile), profile.case
    if under is None:
        return {}
    nodes = {node.name: node for node in walk(workload.nodes)}
    trains = case.trains
    # what joins the bodies of a block has no operations that are counted
    layers = [part for part in times.parts if part.kind == "layer" and not part.joins]
    found = {p.name: place(nodes[p.name], case.batch, p.time, trains, under) for p in layers}
    return {name: each for name, each in found.items() if each is not None}
