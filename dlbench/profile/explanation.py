"""Why one row is faster than another: the difference of two steps, split by layer and by cause.

Both steps are split in parts that add up to them (`dlbench.profile.layer_times`), and the differences of the parts
(`dlbench.profile.pooled`) add up to the difference of the steps, exactly; with the rows exchanged every sign turns.
Rows whose ladders took turns are compared round by round, others by their means. What one process differs from another
of the same code is added to the scatter.

A part is called different where its difference cannot be chance: Holm's procedure over all parts keeps the probability
of calling any different in two rows of the same code at `FALSE_ALARM`. Nothing is that is less than `LEAST_SHARE` of
the step.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from dlbench.analyse.statistics import holm
from dlbench.errors import UsageError
from dlbench.profile.estimates import Time
from dlbench.profile.layer_times import LayerTimes, Part, layer_times
from dlbench.profile.observed import Group, observed
from dlbench.profile.onednn import REORDER, of_layers
from dlbench.profile.pooled import Key, differences
from dlbench.profile.roofline import Placed, placed
from dlbench.record.facts import Primitive
from dlbench.record.schema import Case, Profile
from dlbench.spec.workload import Workload
from dlbench.text import listed, percent, seconds

Cause = Literal["products", "memory", "calls", "loss", "optimizer", "rest"]

CAUSES: Mapping[Cause, str] = {
    "products": "the rate of matrix products and convolutions",
    "memory": "moving data: layers that read and write more than they compute",
    "calls": "calls and launches: what a step costs before it computes",
    "loss": "the loss",
    "optimizer": "the optimizer",
    "rest": "under no roof: views, and parts that are fused or not told from none",
}
"""What a part's time is about, in words."""
_CAUSE_OF: Mapping[str, Cause] = {"call": "calls", "loss": "loss", "optimizer": "optimizer"}
FALSE_ALARM = 0.001
"""The probability that a comparison of two rows of the same code calls any part different."""
LEAST_SHARE = 0.01
"""Of the shorter step, the least difference of a part that is worth a word."""


@dataclasses.dataclass(frozen=True)
class Difference:
    """What a part, or a cause, contributes to the difference of two steps: first less second.

    Attributes
    ----------
    time : that, and the interval of it (s).
    alone : of a layer, the same where each runs by itself.
    cause : what it is about.
    evidence : what speaks for that, or of a cause the parts that it lies in.
    is_told : whether it can be told from none.
    """

    name: str
    time: Time
    alone: Time | None = None
    cause: Cause | None = None
    evidence: str = ""
    is_told: bool = False


@dataclasses.dataclass(frozen=True)
class Seen:
    """What oneDNN did in a step of a row for a part, or for a group of layers that it does not tell apart."""

    part: str
    row: str
    primitive: Primitive


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Two steps and what makes them differ.

    Attributes
    ----------
    first, second : the rows' cases.
    first_time, second_time : their steps.
    whole : first less second.
    parts, causes : what that consists of, the largest first; either adds up to it.
    takes_turns : whether the two were profiled in turns, so that they are compared round by round.
    processes : in how many each was profiled, or the fewer of both.
    seen : what oneDNN did for the parts that are told, and between layers.
    disturbed : the rows' labels whose profile was disturbed, with the causes in words; nothing is concluded then.
    """

    first: Case
    second: Case
    first_time: Time
    second_time: Time
    whole: Difference
    parts: tuple[Difference, ...]
    causes: tuple[Difference, ...]
    takes_turns: bool
    processes: int
    seen: tuple[Seen, ...]
    disturbed: Mapping[str, str]

    def with_the_others(self, part: Difference) -> float:
        """How many times as long as the second's the first's step would be if it had the second's part."""
        return (self.first_time.mean_s - part.time.mean_s) / self.second_time.mean_s


def explain(first: Profile, second: Profile, workloads: tuple[Workload, Workload]) -> Explanation:
    """What makes the steps of two profiles differ.

    Raises
    ------
    UsageError : they are not of the same network and batch size.
    """
    one, two = first.case, second.case
    if workloads[0].digest != workloads[1].digest:
        raise UsageError(f"{one.label} and {two.label} are of different workloads")
    if one.scenario != two.scenario or one.batch != two.batch:
        raise UsageError(f"{one.label} and {two.label} are steps of different work")
    pair = _Pair(first, second, workloads[0])
    parts = sorted(pair.parts(), key=lambda part: -abs(part.time.mean_s))
    causes = [_together(cause, [p for p in parts if p.cause == cause]) for cause in CAUSES]
    causes = sorted((c for c in causes if c.time.mean_s), key=lambda c: -abs(c.time.mean_s))
    sides = pair.sides
    return Explanation(
        first=one,
        second=two,
        first_time=sides[0].times.whole,
        second_time=sides[1].times.whole,
        whole=pair.whole(),
        parts=tuple(parts),
        causes=tuple(causes),
        takes_turns=pair.takes_turns,
        processes=min(side.times.processes for side in sides),
        seen=tuple(_seen((first, second), workloads[0], [p.name for p in parts if p.is_told])),
        disturbed={
            case.label: side.times.disturbed
            for case, side in zip((one, two), sides, strict=True)
            if side.times.disturbed
        },
    )


def where(found: Explanation) -> str:
    """In which parts the first step is slower than the second, in a sentence."""
    if found.disturbed:
        return f"in which layers is not known: the profile was disturbed ({next(iter(found.disturbed.values()))})"
    slower = [part for part in found.parts if part.is_told and part.time.mean_s > 0]
    if not slower:
        return "in which layers cannot be told from the profiles"
    told = [
        f"{part.name} (+{seconds(part.time.mean_s, part.time.low_s, part.time.high_s)})"
        for part in slower
    ]
    return f"slower in {listed(told)}"


def _seen(profiles: Sequence[Profile], workload: Workload, told: Sequence[str]) -> Iterator[Seen]:
    """Of each part in turn, what both rows did; at last what they did to lay out tensors anew."""
    groups = [of_layers(each.primitives, workload, each.case.batch) for each in profiles]
    names = list(dict.fromkeys(name for group in groups for name in group))
    wanted = [name for part in told for name in names if part in name.split("+")]
    for name in dict.fromkeys((*wanted, REORDER)):
        for profile, group in zip(profiles, groups, strict=True):
            for primitive in group.get(name, ()):
                yield Seen(name, profile.case.row_name, primitive)


class _Side:
    """One of the two steps."""

    def __init__(self, profile: Profile, workload: Workload) -> None:
        self.times: LayerTimes = layer_times(profile, workload)
        self.parts: dict[Key, Part] = {(p.kind, p.name): p for p in self.times.parts}
        self.placed = placed(profile, workload, self.times)
        self.seen = observed(profile, workload, self.times)

    def groups_with(self, keys: set[Key]) -> list[Group]:
        """The groups of spans in which any of these parts is."""
        groups = self.seen.groups if self.seen else ()
        return [group for group in groups if keys & _keys(group)]


def _keys(group: Group) -> set[Key]:
    return {(part.kind, part.name) for part in group.parts}


class _Pair:
    """Both steps, part by part."""

    def __init__(self, first: Profile, second: Profile, workload: Workload) -> None:
        self.sides = _Side(first, workload), _Side(second, workload)
        self.takes_turns = _take_turns(first, second)
        one, two = self.sides
        self._found = differences(one.times, two.times, self.takes_turns)
        self._step_s = min(side.times.whole.mean_s for side in self.sides)

    def whole(self) -> Difference:
        """The difference of the steps."""
        found = self._found.whole
        return Difference("step", found.time, is_told=found.p_value <= FALSE_ALARM)

    def parts(self) -> Iterator[Difference]:
        """Those of the parts."""
        found = self._found.parts
        told = holm([each.p_value for each in found.values()], FALSE_ALARM)
        for key, is_told in zip(found, told, strict=True):
            yield self._part(key, is_told)

    def _part(self, key: Key, is_told: bool) -> Difference:
        kind, name = key
        time, alone = self._found.parts[key].time, self._found.alone.get(key)
        is_told &= abs(time.mean_s) >= LEAST_SHARE * self._step_s
        alone_time = None if alone is None else alone.time
        if kind != "layer":
            return Difference(kind, time, alone_time, _CAUSE_OF[kind], is_told=is_told)
        under = self.sides[0].placed.get(name), self.sides[1].placed.get(name)
        slower = under[0] if time.mean_s >= 0 else under[1]
        found = (
            _evidence(under, [side.parts.get(key) for side in self.sides]),
            self._of_spans(key),
        )
        evidence = "; ".join(each for each in found if each)
        return Difference(name, time, alone_time, _layer_cause(slower), evidence, is_told)

    def _of_spans(self, key: Key) -> str:
        """What the spans of a part take in both steps, with those of the parts that either does not tell apart from it;
        shares, where the times of one are not those of a plain step."""
        keys = {key}
        while True:
            groups = [side.groups_with(keys) for side in self.sides]
            wider = keys.union(*(_keys(group) for each in groups for group in each))
            if wider == keys:
                break
            keys = wider
        first, second = self.sides[0].seen, self.sides[1].seen
        if first is None or second is None or not all(groups):
            return ""
        if first.only_shares or second.only_shares:
            shares = [percent(sum(group.share for group in each)) for each in groups]
            told = f"spans {shares[0]} against {shares[1]} of the step"
        else:
            times = [seconds(sum(group.time.mean_s for group in each)) for each in groups]
            told = f"spans {times[0]} against {times[1]}"
        others = [name or kind for kind, name in sorted(keys - {key})]
        return f"{told} with {listed(others)}" if others else told


def _take_turns(first: Profile, second: Profile) -> bool:
    """Whether each round of one ended between the rounds of the other."""
    ends = first.round_ended_ns, second.round_ended_ns
    if len(ends[0]) != len(ends[1]):
        return False
    return all(max(now) < min(then) for now, then in itertools.pairwise(zip(*ends, strict=True)))


def _layer_cause(slower: Placed | None) -> Cause:
    """What a layer's difference is about: what binds it where it is slower."""
    if slower is None:
        return "rest"
    return "products" if slower.bound == "arithmetic" else slower.bound


def _evidence(under: tuple[Placed | None, Placed | None], parts: Sequence[Part | None]) -> str:
    """The rates that both reach, and what they take alone."""
    found = []
    first, second = under
    if first is not None and second is not None:
        if first.flops:
            rates = [f"{each.flops_per_s / 1e9:.3g}" for each in (first, second)]
            found.append(f"{rates[0]} against {rates[1]} GFLOP/s")
        else:
            rates = [f"{each.share * 100:.0f} %" for each in (first, second)]
            found.append(f"{rates[0]} against {rates[1]} of what memory allows")
    alone = [part.alone for part in parts if part is not None and part.alone is not None]
    if len(alone) == len(parts):
        found.append("alone " + " against ".join(seconds(each.mean_s) for each in alone))
    return "; ".join(found)


def _together(cause: Cause, parts: Sequence[Difference]) -> Difference:
    mean_s = sum(part.time.mean_s for part in parts)
    half_s = math.sqrt(sum(part.time.half_s**2 for part in parts))
    named = ", ".join(part.name for part in parts if part.is_told)
    time = Time(mean_s, mean_s - half_s, mean_s + half_s)
    return Difference(cause, time, cause=cause, evidence=named)
