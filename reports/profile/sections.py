"""Where the time of a step goes, layer by layer, for people: a section for each profile of a record."""

from __future__ import annotations

from collections.abc import Iterator

from dlbench.analyse.table import Run
from dlbench.profile.layer_times import LayerTimes, Part, Time, layer_times
from dlbench.profile.roofline import Placed, Roofs, placed, roofs
from dlbench.record.schema import Profile
from dlbench.spec.workload import read_workload
from dlbench.text import digits, percent, seconds

from ..tables.model import Column, Line, Section

_BAR_CELLS = 24
_BOUNDS = {"arithmetic": "products", "memory": "memory", "calls": "calls"}
_WORDS = {"call": "the call itself", "loss": "loss", "optimizer": "optimizer"}
_FUSED = "a part below 0 made the others faster: the backend does it together with its neighbours"
_TOO_FAST = "above 100 % of its roof: it needs fewer operations than are counted, or shares memory with its neighbours"


def sections(run: Run) -> Iterator[Section]:
    """A section for each profile of a record, and what became of those that went wrong."""
    profiles = [line for line in run.record.lines if isinstance(line, Profile)]
    if not profiles:
        return
    workload = read_workload(run.header.workload)
    for profile in profiles:
        label = profile.case.label
        if profile.status != "ok":
            yield Section(notes=(f"! {label} has no profile: {profile.reason}",))
            continue
        trains = profile.case.scenario == "train"
        times, under = layer_times(profile, workload), roofs(profile)
        under_roofs: dict[str, Placed] = {}
        if under is not None:
            layers = [(part.name, part.time) for part in times.parts if part.kind == "layer"]
            under_roofs = placed(workload, profile.case.batch, layers, trains, under)
        yield _section(label, profile, times, under_roofs, under)


def _section(
    label: str, profile: Profile, times: LayerTimes, under: dict[str, Placed], best: Roofs | None
) -> Section:
    whole = times.whole
    parts = times.parts
    columns = [
        Column("part", tuple(_WORDS.get(part.kind, part.name) for part in parts), names=True),
        Column("time", tuple(_with_half(part.time) for part in parts), right=True),
        Column("share", tuple(percent_of(part, whole) for part in parts), right=True),
        Column("", tuple(_bar(part.time.mean_s / whole.mean_s) for part in parts), priority=70),
        Column("forward", tuple(_time(p.forward) for p in parts), right=True, priority=60),
        Column("backward", tuple(_time(p.backward) for p in parts), right=True, priority=60),
        Column("alone", tuple(_time(part.alone) for part in parts), right=True, priority=40),
    ]
    if under:
        found = [under.get(part.name) if part.kind == "layer" else None for part in parts]
        columns += [
            Column("FLOP/s", tuple(_rate(each) for each in found), right=True, priority=45),
            Column("of roof", tuple(_share(each) for each in found), right=True, priority=50),
            Column("bound by", tuple(_BOUNDS[e.bound] if e else "" for e in found), priority=50),
        ]
    filled = tuple(c for c in columns if any(c.cells))
    return Section(
        f"where a step of {label} goes: {_with_half(whole)}",
        columns=filled,
        lines=tuple(Line() for _ in parts),
        notes=tuple(_notes(profile, times, under, best)),
    )


def _notes(
    profile: Profile, times: LayerTimes, under: dict[str, Placed], best: Roofs | None
) -> Iterator[str]:
    trained = [part for part in times.parts if part.backward is not None]
    yield (
        f"parts add up to the step; ± is half of the 95 % interval over {profile.rounds} rounds of one process"
        + (", backward has the update by plain gradient descent" if trained else "")
    )
    if times.interaction is not None:
        inside = sum(part.time.mean_s for part in times.parts if part.kind == "layer")
        yield (
            f"layers take {seconds(inside)} in the network, and"
            f" {_signed(times.interaction)} of it beyond what each takes alone (fusion, caches, overlap)"
        )
    if best is not None:
        rates = ", ".join(f"{_bytes(size)} {digits(rate / 1e9)}" for size, rate in best.copies)
        low, high = (digits(rate / 1e9) for rate in best.flops_per_s[1:])
        yield (
            f"roofs of this backend, measured in the same rounds: products {digits(best.flops_per_s[0] / 1e9)}"
            f" [{low}, {high}] GFLOP/s; copies in GB/s: {rates}"
        )
    if any(part.time.high_s < 0 for part in times.parts):
        yield _FUSED
    fast = [name for name, each in under.items() if each.low > 1]
    if fast:
        yield f"{', '.join(fast)}: {_TOO_FAST}"


def percent_of(part: Part, whole: Time) -> str:
    """The share of a part in the whole, with its sign."""
    share = part.time.mean_s / whole.mean_s
    return percent(share) if share >= 0 else f"−{percent(-share)}"


def _bar(share: float) -> str:
    """A bar as long as the share; of what is below 0, its length in another sign."""
    cells = round(abs(share) * _BAR_CELLS)
    return ("█" if share >= 0 else "░") * min(cells, _BAR_CELLS)


def _with_half(time: Time) -> str:
    return f"{_time(time)} ± {_time_like(time.half_s, time.mean_s)}"


def _time_like(value_s: float, like_s: float) -> str:
    """A time in the unit of another."""
    unit = 1e-6 if abs(like_s) < 1e-3 else 1e-3 if abs(like_s) < 1 else 1.0
    return digits(value_s / unit)


def _time(time: Time | None) -> str:
    if time is None:
        return ""
    shown = _time_like(time.mean_s, time.mean_s).replace("-", "−")
    size_s = abs(time.mean_s)
    return f"{shown} {'µs' if size_s < 1e-3 else 'ms' if size_s < 1 else 's'}"


def _signed(time: Time) -> str:
    text = _with_half(time)
    return text if text.startswith("−") else f"+{text}"


def _rate(each: Placed | None) -> str:
    return "" if each is None or not each.flops else digits(each.flops_per_s / 1e9) + "G"


def _share(each: Placed | None) -> str:
    return "" if each is None else percent(each.share)


def _bytes(size_bytes: float) -> str:
    kib = size_bytes / 1024
    return f"{kib:.0f} KiB" if kib < 1024 else f"{kib / 1024:.0f} MiB"
