"""Whether the ladder and another way to time layers agree: which layers hold most of the time, and in which order."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

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
class Shift:
    """By how much a layer takes another time by the ladder.

    Attributes
    ----------
    name : the layer's.
    beyond : by how much more it takes; below 0, less.
    neighbour : one beside it that makes up for it: it takes less where this takes more, or the other way round, and for
        both together no difference can be told. Empty where there is none.
    together : by how much more both take.
    """

    name: str
    beyond: Time
    neighbour: str = ""
    together: Time | None = None

    @property
    def is_told(self) -> bool:
        """Whether chance cannot have made it."""
        return _is_told(self.beyond)


@dataclasses.dataclass(frozen=True)
class Turned:
    """Two layers of which the first takes longer by the ladder, and the second the other way.

    Attributes
    ----------
    first, second : the layers.
    ladder, other : by how much the first takes longer than the second, by the ladder and the other way.
    """

    first: Shift
    second: Shift
    ladder: Time
    other: Time

    @property
    def is_told(self) -> bool:
        """Whether both orders are beyond chance."""
        return _is_told(self.ladder) and _is_told(self.other)


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Of the layers that hold `MOST` of the time by the ladder, the longest first, and which stand the other way round
    the other way."""

    layers: tuple[str, ...]
    pairs: tuple[Turned, ...]

    @property
    def turned(self) -> tuple[Turned, ...]:
        """Those that do so beyond chance."""
        return tuple(pair for pair in self.pairs if pair.is_told)

    @property
    def unclear(self) -> tuple[Turned, ...]:
        """Those that cannot be told apart one way or both."""
        return tuple(pair for pair in self.pairs if not pair.is_told)


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
    """Compares the order by the ladder with the other, of layers in the order of computation; None where there is
    none."""
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
    shifts = {each: _shift(ranked, place) for place, each in enumerate(ranked)}
    return Agreement(tuple(each.name for each in longest), tuple(_turned(pairs, shifts)))


def _turned(
    pairs: Sequence[tuple[Ranked, Ranked]], shifts: Mapping[Ranked, Shift]
) -> Iterator[Turned]:
    for first, second in pairs:
        ladder = over(first.ladder_ns - second.ladder_ns).time
        other = over(first.other_ns - second.other_ns).time
        if ladder.mean_s > 0 > other.mean_s:
            yield Turned(shifts[first], shifts[second], ladder, other)


def _shift(ranked: Sequence[Ranked], place: int) -> Shift:
    """That of a layer, with the neighbour that makes up for it best."""
    own = ranked[place]
    beside = [*ranked[max(place - 1, 0) : place], *ranked[place + 1 : place + 2]]
    found = [
        (abs(together.mean_s), each.name, together)
        for each in beside
        if _is_told(own.beyond)
        and _is_told(each.beyond)
        and own.beyond.mean_s * each.beyond.mean_s < 0
        and not _is_told(together := _sum(own.beyond, each.beyond))
    ]
    if not found:
        return Shift(own.name, own.beyond)
    _, neighbour, together = min(found)
    return Shift(own.name, own.beyond, neighbour, together)


def _sum(one: Time, other: Time) -> Time:
    """Of two times whose errors are taken to be independent."""
    mean_s, half_s = one.mean_s + other.mean_s, math.hypot(one.half_s, other.half_s)
    return Time(mean_s, mean_s - half_s, mean_s + half_s)


def _is_told(time: Time) -> bool:
    return time.low_s > 0 or time.high_s < 0
