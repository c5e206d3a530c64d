"""Where the time of a step goes, layer by layer, for people: a section for each profile of a record."""

from __future__ import annotations

import math
from collections.abc import Iterator

from dlbench.analyse.table import Run
from dlbench.profile.agreement import MOST, Agreement, Shift, Turned, agreement
from dlbench.profile.estimates import Time
from dlbench.profile.layer_times import LayerTimes, Part, layer_times
from dlbench.profile.observed import MOST_EFFECT, Observed, observed
from dlbench.profile.roofline import Placed, Rate, placed, roofs
from dlbench.record.schema import Profile
from dlbench.spec.workload import read_workload
from dlbench.text import digits, listed, percent, plural, seconds, size

from ..tables.model import Column, Line, Section

_BAR_CELLS = 24
_BOUNDS = {"arithmetic": "products", "memory": "memory", "calls": "calls"}
_WORDS = {"call": "the call itself", "loss": "loss", "optimizer": "optimizer"}
_OTHER_WAYS = {"alone": "alone", "spans": "by spans"}
_IN_NETWORK = {"alone": "in the network", "spans": "by the ladder"}
_LEAST_SHARE = 0.005
"""Of a step, to be worth a word."""
_FUSED = "a part below 0 made the others faster: the backend does it together with its neighbours"
_TOO_FAST = "above 100 % of its roof: it needs fewer operations than are counted, or shares memory with its neighbours"


def sections(run: Run) -> Iterator[Section]:
    """A section for each profile of a record, and what became of those that went wrong."""
    for profile in run.record.lines:
        if not isinstance(profile, Profile):
            continue
        label = profile.case.label
        if profile.status != "ok":
            yield Section(notes=(f"! {label} has no profile: {profile.reason}",))
            continue
        workload = read_workload(run.header.workload)
        times = layer_times(profile, workload)
        under = placed(profile, workload, times)
        seen = observed(profile, workload, times)
        yield Section(
            f"where a step of {label} goes: {_interval(times.whole)}",
            columns=_columns(times, under, seen),
            lines=tuple(Line() for _ in times.parts),
            notes=tuple(_notes(profile, times, under, seen)),
        )


def _name(part: Part) -> str:
    return _WORDS.get(part.kind, f"{part.name} (what joins it)" if part.joins else part.name)


def _columns(
    times: LayerTimes, under: dict[str, Placed], seen: Observed | None
) -> tuple[Column, ...]:
    parts = times.parts
    shares = [part.time.mean_s / times.whole.mean_s for part in parts]
    found = [under.get(part.name) if part.kind == "layer" else None for part in parts]
    columns = (
        Column("part", tuple(map(_name, parts)), names=True),
        Column("time", tuple(_interval(part.time) for part in parts), right=True),
        Column("share", tuple(map(_percent, shares)), right=True),
        Column("", tuple(map(_bar, shares)), priority=70),
        Column("forward", tuple(_mean(part.forward) for part in parts), right=True, priority=60),
        Column("backward", tuple(_mean(part.backward) for part in parts), right=True, priority=60),
        Column("alone", tuple(_mean(part.alone) for part in parts), right=True, priority=40),
        Column("spans", tuple(_spans(part, seen) for part in parts), right=True, priority=55),
        Column("GFLOP/s", tuple(_rate(each) for each in found), right=True, priority=45),
        Column("of roof", tuple(map(_share, found)), True, 50),
        Column("bound by", tuple(_BOUNDS[e.bound] if e else "" for e in found), priority=50),
    )
    return tuple(column for column in columns if any(column.cells))


def _spans(part: Part, seen: Observed | None) -> str:
    """What the spans of a part take, or of the group that it is in, which stands at the first of them."""
    group = None if seen is None else seen.group_of(part)
    if seen is None or group is None:
        return ""
    if part is not group.parts[0]:
        return f"with {group.parts[0].label}"
    return _percent(group.share) if seen.only_shares else _mean(group.time)


def _notes(
    profile: Profile, times: LayerTimes, under: dict[str, Placed], seen: Observed | None
) -> Iterator[str]:
    if times.disturbed:
        yield f"! disturbed: {times.disturbed}; rely on none of this, and profile it again on a quiet machine"
    trained = any(part.backward is not None for part in times.parts)
    yield (
        f"parts add up to the step; [ ] 95 % confidence interval over {profile.rounds} rounds of"
        f" {plural(profile.processes, 'process')}"
        + (", backward has the update by plain gradient descent" if trained else "")
    )
    if times.interaction is not None:
        inside = sum(part.time.mean_s for part in times.parts if part.kind == "layer")
        yield (
            f"layers take {seconds(inside)} in the network, and of it {_interval(times.interaction)} beyond what each"
            " takes alone (fusion, caches, overlap)"
        )
    yield from _agreement(agreement(times.parts), "alone", seen)
    if seen is not None:
        yield from _observed(seen)
        yield from _agreement(seen.agreement, "spans", seen)
    elif profile.spans is not None:
        yield f"no spans: {profile.spans.reason}"
    best = roofs(profile)
    if best is not None:
        sizes = [moved for moved, _ in best.copies[0]]
        rates = ", ".join(f"{size(moved)} {_rates(best.bytes_per_s(moved))}" for moved in sizes)
        yield (
            "roofs of this backend, measured in the same rounds: products"
            f" {_rates(best.flops_per_s)} GFLOP/s; copies in GB/s: {rates}"
        )
    if any(part.time.high_s < 0 for part in times.parts):
        yield _FUSED
    fast = [name for name, each in under.items() if each.low > 1]
    if fast:
        yield f"{', '.join(fast)}: {_TOO_FAST}"


def _observed(seen: Observed) -> Iterator[str]:
    """How steps were seen, what that did to them, and what of them is no part's."""
    low, high = (_signed(each) for each in (seen.effect.low, seen.effect.high))
    longer = f"{_signed(seen.effect.mean)} [{low}, {high}] of a plain step"
    if seen.only_shares:
        yield (
            f"! spans: stamps made steps longer by {longer}, which is not known to be within"
            f" {percent(MOST_EFFECT)}: shares of the step alone are shown"
        )
    else:
        yield f"spans are what ran in steps of another process, by the backend's own clock; stamps took {longer}"
    named = [
        f"{_percent(share)} {name}" for name, share in seen.others.items() if share >= _LEAST_SHARE
    ]
    yield f"of the observed step {listed([*named, f'{_percent(seen.between)} between spans'])}"


def _signed(share: float) -> str:
    return f"{100 * share:+.1f} %" if math.isfinite(share) else "?"


def _agreement(found: Agreement | None, how: str, seen: Observed | None) -> Iterator[str]:
    """Whether the layers stand in the same order the other way, and of each pair that does not, what speaks for it."""
    if found is None:
        return
    way, network = _OTHER_WAYS[how], _IN_NETWORK[how]
    which = f"{listed(list(found.layers))} {'hold' if len(found.layers) > 1 else 'holds'}"
    if not found.turned:
        yield f"{which} {percent(MOST)} of the layers' time, in the same order as {way} as far as can be told"
    else:
        pairs = listed([f"{each.first.name} than {each.second.name}" for each in found.turned])
        yield f"! {network}, and not {way}, take longer: {pairs}"
    shifts = {s.name: s for each in found.turned for s in (each.first, each.second)}
    for shift in shifts.values():
        yield f"! {_reason(shift, how, seen)}"
    if found.unclear:
        pairs = "; ".join(_unclear(each, way, network) for each in found.unclear)
        yield f"of layers whose order {way} is another, chance may have made it: {pairs}"


def _unclear(each: Turned, way: str, network: str) -> str:
    return (
        f"{each.first.name} takes longer than {each.second.name} by {_interval(each.ladder)} {network} and by"
        f" {_interval(each.other)} {way}"
    )


def _reason(shift: Shift, how: str, seen: Observed | None) -> str:
    """What is known of a layer that takes another time in the network."""
    network, name = _IN_NETWORK[how], shift.name
    if not shift.is_told:
        return f"{name} {network} {_interval(shift.beyond)} more, which is not told from none"
    direction = "less" if shift.beyond.mean_s < 0 else "more"
    told = f"{name} takes {seconds(abs(shift.beyond.mean_s))} {direction} {network}"
    if shift.neighbour and shift.together is not None:
        other = "more" if shift.beyond.mean_s < 0 else "less"
        told += (
            f", and {shift.neighbour} beside it as much {other} (both {_interval(shift.together)} more): where the"
            " network ends decides which of them the time is counted to"
        )
    elif group := _done_with(name, seen) if how == "alone" else "":
        told += f": the step does it together with {group}, by their spans"
    elif how == "spans":
        told += ": the ladder counts to it what it makes the rest of the step take, a span what ran in it"
    else:
        other = "more" if shift.beyond.mean_s < 0 else "less"
        told += (
            f", and no neighbour as much {other}: it is done {'faster' if other == 'more' else 'slower'} among others,"
            " whether by fusion, caches or layouts these times do not tell"
        )
    return told


def _done_with(name: str, seen: Observed | None) -> str:
    """The layers whose spans are one with that of a layer; empty where there are none."""
    for group in seen.groups if seen else ():
        names = [part.label for part in group.parts]
        if name in names and len(names) > 1:
            return listed([each for each in names if each != name])
    return ""


def _rates(rate: Rate) -> str:
    """In billions a second; an upper end that is not known is left open."""
    low, high = digits(rate.low / 1e9), digits(rate.high / 1e9)
    return f"{digits(rate.middle / 1e9)} [{low}, {high if rate.high < 100 * rate.middle else '?'}]"


def _percent(share: float) -> str:
    return percent(share) if share >= 0 else f"-{percent(-share)}"


def _bar(share: float) -> str:
    """A bar as long as the share; of what is below 0, its length in another sign."""
    cells = round(abs(share) * _BAR_CELLS)
    return ("█" if share >= 0 else "░") * min(cells, _BAR_CELLS)


def _interval(time: Time) -> str:
    return seconds(time.mean_s, time.low_s, time.high_s)


def _mean(time: Time | None) -> str:
    return "" if time is None else seconds(time.mean_s)


def _share(each: Placed | None) -> str:
    return (
        "" if each is None else f"{percent(each.share)} [{_whole(each.low)}, {_whole(each.high)}]"
    )


def _whole(share: float) -> str:
    return f"{100 * share:.0f}" if math.isfinite(share) and share < 100 else "?"


def _rate(each: Placed | None) -> str:
    return "" if each is None or not each.flops else digits(each.flops_per_s / 1e9)
