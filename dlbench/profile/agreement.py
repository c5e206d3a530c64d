"""Whether the ladder and the layers alone agree: which layers hold most of the time, and in which order."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

from dlbench.profile.estimates import Rounds, Time, over
from dlbench.profile.layer_times import Part

MOST = 0.8
"""The share of the layers' time that the layers in question hold together."""


@dataclasses.dataclass(frozen=True)
class Turned:
    """Two layers of which the first takes longer in the network, and the second alone, both beyond chance.

    Attributes
    ----------
    first, second : their names.
    beyond : by how much more each takes in the network than alone; below 0, less.
    """

    first: str
    second: str
    beyond: tuple[Time, Time]


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Of the layers that hold `MOST` of the time in the network, the longest first, and which stand the other way round
    alone."""

    layers: tuple[str, ...]
    turned: tuple[Turned, ...]


def agreement(parts: Sequence[Part]) -> Agreement | None:
    """Compares the order of layers in the network with that of the same layers alone; None where too few were timed
    alone."""
    layers = [part for part in parts if part.kind == "layer" and part.alone_ns is not None]
    layers.sort(key=lambda part: -part.time.mean_s)
    total_s = sum(max(part.time.mean_s, 0.0) for part in layers)
    held = itertools.accumulate(max(part.time.mean_s, 0.0) for part in layers)
    count = sum(seconds - 1e-12 < MOST * total_s for seconds in held) + 1
    longest = layers[:count]
    if not longest or not total_s:
        return None
    # one that alone takes longer than any of these is as much a disagreement as two of these in another order
    pairs = [(a, b) for a, b in itertools.combinations(layers, 2) if a in longest]
    return Agreement(tuple(part.name for part in longest), tuple(_turned(pairs)))


def _turned(pairs: Sequence[tuple[Part, Part]]) -> Iterator[Turned]:
    for first, second in pairs:
        inside = over(first.rounds_ns - second.rounds_ns).time
        alone = over(_known(first.alone_ns) - _known(second.alone_ns)).time
        if inside.low_s > 0 and alone.high_s < 0:
            beyond = over(_known(first.beyond_ns)).time, over(_known(second.beyond_ns)).time
            yield Turned(first.name, second.name, beyond)


def _known(rounds_ns: Rounds | None) -> Rounds:
    assert rounds_ns is not None
    return rounds_ns
