"""Why one row is faster than another: the difference of two steps, split by layer and by cause.

Both steps are split in parts that add up to them (`dlbench.profile.layer_times`), so the differences of the parts add
up to the difference of the steps, exactly, and with the rows exchanged every sign turns. The parts of two rows come
from two processes, whose means are independent: half of an interval of a difference is the root of the sum of the
squares of both halves, and of what one process differs from another of the same code (`BETWEEN`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

from scipy.special import ndtri

from dlbench.errors import UsageError
from dlbench.profile.layer_times import LayerTimes, Part, Time, layer_times
from dlbench.profile.roofline import Placed, placed
from dlbench.record.schema import Case, Profile
from dlbench.spec.workload import Workload

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


@dataclasses.dataclass(frozen=True)
class Difference:
    """What a part, or a cause, contributes to the difference of two steps: first less second (s), and the interval."""

    name: str
    time: Time
    cause: Cause | None = None
    evidence: str = ""
    among: int = 1

    @property
    def is_told(self) -> bool:
        """Whether it can be told from none, as one of so many parts `among` which none is to be blamed for nothing in
        99 of 100 explanations (Bonferroni)."""
        wider = float(ndtri(1 - 0.01 / (2 * self.among)) / ndtri(0.975))
        return abs(self.time.mean_s) > wider * self.time.half_s


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Two steps and what makes them differ.

    Attributes
    ----------
    first, second : the rows' cases.
    first_time, second_time : their steps.
    whole : first less second.
    parts, causes : what that consists of, the largest first; either adds up to it.
    disturbed : the rows' labels whose profile was disturbed, with the causes in words; nothing is concluded then.
    """

    first: Case
    second: Case
    first_time: Time
    second_time: Time
    whole: Difference
    parts: tuple[Difference, ...]
    causes: tuple[Difference, ...]
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
    sides = [_Side(profile, workloads[0]) for profile in (first, second)]
    keys = list(dict.fromkeys(key for side in sides for key in side.parts))
    parts = [_difference(key, sides[0], sides[1], len(keys)) for key in keys]
    parts.sort(key=lambda part: -abs(part.time.mean_s))
    times = [side.times.whole for side in sides]
    causes = [_together(cause, [p for p in parts if p.cause == cause]) for cause in CAUSES]
    causes = sorted((c for c in causes if c.time.mean_s), key=lambda c: -abs(c.time.mean_s))
    return Explanation(
        first=one,
        second=two,
        first_time=times[0],
        second_time=times[1],
        whole=Difference("step", _less(*times)),
        parts=tuple(parts),
        causes=tuple(causes),
        disturbed={
            case.label: side.times.disturbed
            for case, side in zip((one, two), sides, strict=True)
            if side.times.disturbed
        },
    )


BETWEEN = 0.05
"""Standard deviation of a part's time from process to process of the same code, as a share of it: where memory lies and
which cores threads begin on. docs/profile.md says where it was measured."""


class _Side:
    """One of the two steps."""

    def __init__(self, profile: Profile, workload: Workload) -> None:
        self.times: LayerTimes = layer_times(profile, workload)
        self.parts: dict[tuple[str, str], Part] = {(p.kind, p.name): p for p in self.times.parts}
        self.placed = placed(profile, workload, self.times)


def _difference(key: tuple[str, str], first: _Side, second: _Side, among: int) -> Difference:
    kind, name = key
    nothing = Time(0.0, 0.0, 0.0)
    sides = [side.parts.get(key) for side in (first, second)]
    times = [part.time if part else nothing for part in sides]
    if kind == "layer":
        under = first.placed.get(name), second.placed.get(name)
        cause = _layer_cause(under, times)
        return Difference(name, _less(*times), cause, _evidence(*under), among)
    causes: Mapping[str, Cause] = {"call": "calls", "loss": "loss", "optimizer": "optimizer"}
    return Difference(kind, _less(*times), causes[kind], among=among)


def _layer_cause(under: tuple[Placed | None, Placed | None], times: Sequence[Time]) -> Cause:
    """What a layer's difference is about: what binds it where it is slower."""
    slower = under[0] if times[0].mean_s >= times[1].mean_s else under[1]
    if slower is None:
        return "rest"
    return "products" if slower.bound == "arithmetic" else slower.bound


def _evidence(first: Placed | None, second: Placed | None) -> str:
    """The rates that both reach."""
    if first is None or second is None:
        return ""
    if first.flops:
        rates = [f"{each.flops_per_s / 1e9:.3g}" for each in (first, second)]
        return f"{rates[0]} against {rates[1]} GFLOP/s"
    rates = [f"{each.share * 100:.0f} %" for each in (first, second)]
    return f"{rates[0]} against {rates[1]} of what memory allows"


def _together(cause: Cause, parts: Sequence[Difference]) -> Difference:
    mean_s = sum(part.time.mean_s for part in parts)
    half_s = math.sqrt(sum(part.time.half_s**2 for part in parts))
    named = ", ".join(part.name for part in parts if part.is_told)
    return Difference(cause, Time(mean_s, mean_s - half_s, mean_s + half_s), cause, named)


def _less(first: Time, second: Time) -> Time:
    mean_s = first.mean_s - second.mean_s
    between_s = float(ndtri(0.975)) * BETWEEN * math.hypot(first.mean_s, second.mean_s)
    half_s = math.hypot(first.half_s, second.half_s, between_s)
    return Time(mean_s, mean_s - half_s, mean_s + half_s)
