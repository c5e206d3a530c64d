"""What a profile's spans say of the parts of its step, beside what the ladder says of them.

Spans are what ran in a step, by the backend's own clock. Where one served several layers, these are a group, and so are
layers that are joined by groups that overlap: nothing is split. What lies between spans belongs to no part. Stamps take
time too: where that is not known to be within `MOST_EFFECT` of a step, shares alone are told.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from dlbench.profile.agreement import Agreement, Ranked, in_order
from dlbench.profile.estimates import Rounds, Time, drawn_in, less, over
from dlbench.profile.layer_times import LayerTimes, Part
from dlbench.record.facts import SpanTimes
from dlbench.record.schema import Profile
from dlbench.spec.network import Node
from dlbench.spec.workload import Workload

MOST_EFFECT = 0.05
"""Of a step, what stamps may make it longer for times to be told."""


@dataclasses.dataclass(frozen=True)
class Ratio:
    """A ratio and its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Parts of a step that spans do not tell apart: mostly one.

    Attributes
    ----------
    parts : of the ladder, in the order of computation.
    rounds_ns : in each block, what its spans took a step.
    forward, backward : of layers, the spans of these passes; None where there are none.
    share : of the observed step.
    """

    parts: tuple[Part, ...]
    rounds_ns: Rounds
    forward: Time | None
    backward: Time | None
    share: float

    @property
    def label(self) -> str:
        """Its parts' names."""
        return "+".join(part.label for part in self.parts)

    @property
    def time(self) -> Time:
        """What its spans take."""
        return over(self.rounds_ns).time


@dataclasses.dataclass(frozen=True)
class Observed:
    """What spans say of a step.

    Attributes
    ----------
    effect : how many times as long as a plain step an observed one is, less 1.
    groups : in the order of computation.
    others : the share of the step by the names of what served no part.
    between : the share of the step that lies in no span.
    agreement : whether the groups stand in the same order by the ladder.
    """

    effect: Ratio
    groups: tuple[Group, ...]
    others: Mapping[str, float]
    between: float
    agreement: Agreement | None

    @property
    def only_shares(self) -> bool:
        """Whether stamps may make a step so much longer that its times are not those of a plain one."""
        return not self.effect.high <= MOST_EFFECT

    def group_of(self, part: Part) -> Group | None:
        """The group that a part is in."""
        return next((group for group in self.groups if part in group.parts), None)


def observed(profile: Profile, workload: Workload, times: LayerTimes) -> Observed | None:
    """What the spans of a profile say of its parts; None where there are none."""
    spans = profile.spans
    if spans is None or not spans.observed_ns:
        return None
    step_ns = float(np.mean(spans.observed_ns))
    owner = _Owners(workload, times.parts)
    of_parts: list[tuple[tuple[Part, ...], SpanTimes]] = []
    others: dict[str, float] = {}
    for each in spans.times:
        parts = owner.parts_of(each)
        if parts:
            of_parts.append((parts, each))
        else:
            share = float(np.mean(each.blocks_ns)) / step_ns
            name = each.name or "+".join(each.layers)
            others[name] = others.get(name, 0.0) + share
    groups = tuple(
        _group(parts, [each for own, each in of_parts if set(own) <= set(parts)], step_ns)
        for parts in joined([own for own, _ in of_parts], times.parts)
    )
    return Observed(
        effect=_effect(spans.plain_ns, spans.observed_ns),
        groups=groups,
        others=dict(sorted(others.items(), key=lambda each: -each[1])),
        between=1.0 - sum(group.share for group in groups) - sum(others.values()),
        agreement=in_order(list(_ranked(groups))),
    )


def joined(sets: Iterable[Sequence[Part]], order: Sequence[Part]) -> list[tuple[Part, ...]]:
    """The finest partition in which the parts of each set are together, in the order of computation."""
    found: list[set[Part]] = []
    for each in sets:
        together = set(each)
        for other in [other for other in found if other & together]:
            found.remove(other)
            together |= other
        found.append(together)
    places = {part: place for place, part in enumerate(order)}
    groups = [tuple(sorted(each, key=places.__getitem__)) for each in found]
    return sorted(groups, key=lambda group: places[group[0]])


class _Owners:
    """To which parts of the ladder spans belong: those of a layer within a block to the block, where it is one part."""

    def __init__(self, workload: Workload, parts: Sequence[Part]) -> None:
        self._layers = {part.name: part for part in parts if part.kind == "layer"}
        self._others: dict[str, Part] = {
            part.kind: part for part in parts if part.kind in ("loss", "optimizer")
        }
        self._part_of: dict[str, Part] = {}
        self._place(workload.nodes, None)

    def _place(self, nodes: Sequence[Node], around: Part | None) -> None:
        for node in nodes:
            own = self._layers.get(node.name, around)
            if own is not None:
                self._part_of[node.name] = own
            for body in node.bodies:
                self._place(body, own)

    def parts_of(self, times: SpanTimes) -> tuple[Part, ...]:
        """None where it served no part."""
        if not times.layers:
            part = self._others.get(times.name)
            return () if part is None else (part,)
        parts = (self._part_of.get(name) for name in times.layers)
        return tuple(dict.fromkeys(part for part in parts if part is not None))


def _group(parts: tuple[Part, ...], times: Sequence[SpanTimes], step_ns: float) -> Group:
    rounds = _sum(times)
    assert rounds is not None
    passes = {
        track: _sum([each for each in times if each.layers and each.track == track])
        for track in ("forward", "backward")
    }
    forward, backward = (None if own is None else over(own).time for own in passes.values())
    return Group(parts, rounds, forward, backward, float(np.mean(rounds)) / step_ns)


def _sum(times: Sequence[SpanTimes]) -> Rounds | None:
    if not times:
        return None
    return drawn_in(np.sum([np.array(each.blocks_ns, np.float64) for each in times], 0))


def _effect(plain_ns: Sequence[int], observed_ns: Sequence[int]) -> Ratio:
    """Of pairs of blocks, so that what the machine does meanwhile counts to both."""
    plain, seen = np.array(plain_ns, np.float64), np.array(observed_ns, np.float64)
    time = over(drawn_in(seen - plain)).time
    base_s = float(np.median(plain)) * 1e-9
    return Ratio(*(each / base_s for each in (time.mean_s, time.low_s, time.high_s)))


def _ranked(groups: Sequence[Group]) -> Iterator[Ranked]:
    for group in groups:
        layers = [part for part in group.parts if part.kind == "layer"]
        if layers:
            ladder = np.sum([part.rounds_ns for part in layers], 0)
            beyond = less(over(ladder), over(group.rounds_ns)).time
            yield Ranked(group.label, ladder, group.rounds_ns, beyond)
