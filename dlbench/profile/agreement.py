"""Whether the ladder and another way to time layers agree: which layers hold most of the time, and in which order."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

from dlbench.profile.estimates import Rounds, Time, over
from dlbench.profile.layer_times import Part

MOST = 0.8
"""The share of the layers' time that the layers in question hold together."""


@dataclasses.dataclass(frozen=True, eq=False)
class Ranked:
    """What takes its place among the layers, by the ladder and the other way.

    Attributes
    ----------
    name : the layer's, or those of several.
    ladder_ns, other_ns : its time in each round, and in each round of the other way.
    beyond : by how much the ladder has more; below 0, less.
    """

    name: str
    ladder_ns: Rounds
    other_ns: Rounds
    beyond: Time


@dataclasses.dataclass(frozen=True)
class Turned:
    """Two layers of which the first takes longer by the ladder, and the second the other way, both beyond chance.

    Attributes
    ----------
    first, second : their names.
    beyond : by how much more each takes by the ladder; below 0, less.
    """

    first: str
    second: str
    beyond: tuple[Time, Time]


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Of the layers that hold `MOST` of the time by the ladder, the longest first, and which stand the other way round
    the other way."""

    layers: tuple[str, ...]
    turned: tuple[Turned, ...]


def agreement(parts: Sequence[Part]) -> Agreement | None:
    """Compares the order of layers in the network with that of the same layers alone; None where too few were timed
    alone."""
    found = []
    for part in parts:
        if part.kind == "layer" and part.alone_ns is not None and part.beyond_ns is not None:
            beyond = over(part.beyond_ns).time
            found.append(Ranked(part.name, part.rounds_ns, part.alone_ns, beyond))
    return in_order(found)


def in_order(ranked: Sequence[Ranked]) -> Agreement | None:
    """Compares the order by the ladder with the other; None where there is none."""
    times = {each: max(over(each.ladder_ns).mean_s, 0.0) for each in ranked}
    layers = sorted(times, key=lambda each: -times[each])
    total_s = sum(times.values())
    held = itertools.accumulate(times[each] for each in layers)
    count = sum(seconds - 1e-12 < MOST * total_s for seconds in held) + 1
    longest = layers[:count]
    if not longest or not total_s:
        return None
    # one that takes longer than any of these the other way is as much a disagreement as two of these in another order
    pairs = [(a, b) for a, b in itertools.combinations(layers, 2) if a in longest]
    return Agreement(tuple(each.name for each in longest), tuple(_turned(pairs)))


def _turned(pairs: Sequence[tuple[Ranked, Ranked]]) -> Iterator[Turned]:
    for first, second in pairs:
        ladder = over(first.ladder_ns - second.ladder_ns).time
        other = over(first.other_ns - second.other_ns).time
        if ladder.low_s > 0 and other.high_s < 0:
            yield Turned(first.name, second.name, (first.beyond, second.beyond))
