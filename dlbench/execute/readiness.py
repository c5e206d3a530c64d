"""Whether this machine can measure now, and how well: it is watched for a moment in which nothing is measured."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Iterable

from dlbench.analyse.disturbance import causes
from dlbench.execute.quiet_machine import LOOK_S, look
from dlbench.host import interference
from dlbench.host.cause import told
from dlbench.record.facts import Surroundings
from dlbench.text import plural

WATCH_S = 2.0
_LOOKS = 10
_UNSTEADY = 0.1
"""The scatter of the reference load from which on short differences drown."""


@dataclasses.dataclass(frozen=True)
class Examination:
    """What was seen.

    Attributes
    ----------
    seen : all the time as one window.
    loads_ns : how long the reference load took, now and then meanwhile.
    devices : what disturbs a GPU, a sentence for each that is not at rest.
    """

    seen: Surroundings
    loads_ns: tuple[int, ...]
    devices: tuple[str, ...] = ()

    @property
    def scatter(self) -> float:
        """The middle half of the reference load's times as a share of their median."""
        low, middle, high = statistics.quantiles(self.loads_ns, n=4)
        return (high - low) / middle


def examine(
    seconds: float = WATCH_S, devices: Callable[[float], Iterable[str]] = lambda seconds: ()
) -> Examination:
    """Watches the machine for so long, then its GPUs, each a moment: `devices` says what disturbs them."""
    windows, loads_ns = [], []
    for _ in range(_LOOKS):
        windows.append(look(seconds / _LOOKS))
        loads_ns.append(interference.reference_load_ns())
    whole = interference.over(windows)
    assert whole is not None
    return Examination(whole, tuple(loads_ns), tuple(devices(LOOK_S)))


def warn(threads: int) -> str:
    """What disturbs `threads` threads just now, as a warning; empty when nothing does."""
    disturbed_by = causes(look(LOOK_S), threads)
    return f"! {told(disturbed_by)}: timings are disturbed" if disturbed_by else ""


def sharing(threads: int, physical_cores: int | None) -> str:
    """That `threads`, which nobody chose, are more than the physical cores for them, and what to try; else empty."""
    if physical_cores is None or threads <= physical_cores:
        return ""
    return (
        f"{plural(threads, 'thread')} for {plural(physical_cores, 'physical core')}: two that share one are seldom"
        f" faster; try --threads {physical_cores} too"
    )


def describe(found: Examination, threads: int) -> str:
    """What was seen, and whether `threads` threads can be timed now."""
    seen = found.seen
    frequency = seen.frequency_hz
    facts = {
        "others": _cores(seen.other_cores, f" of {plural(seen.usable_cores or 0, 'core')}"),
        "hypervisor": _cores(seen.stolen_cores, " stolen"),
        "pressure": f"CPU {_share(seen.waiting_share)}, memory {_share(seen.memory_waiting_share)}",
        "granted": _granted(seen),
        "clock": "unknown" if frequency is None else f"{frequency / 1e9:.2f} GHz",
        "reference load": f"{statistics.median(found.loads_ns) / 1e6:.3f} ms ± {50 * found.scatter:.1f} %",
    }
    return "\n".join(
        [
            f"watch   {', '.join(f'{name} {fact}' for name, fact in facts.items())}",
            f"now     {verdict(found, threads)}",
        ]
    )


def trouble(found: Examination, threads: int) -> str:
    """What makes the machine unfit to measure; empty where it is fit."""
    return ", ".join((*map(str, causes(found.seen, threads)), *found.devices))


def verdict(found: Examination, threads: int) -> str:
    """Whether the machine can measure, in one sentence."""
    scatter = f"the reference load scatters by ± {50 * found.scatter:.1f} %"
    if disturbed_by := trouble(found, threads):
        return f"! not fit to measure: {disturbed_by}; {scatter}"
    if found.seen.other_cores is None:
        return f"unknown whether others use this machine: its counters cannot be read; {scatter}"
    if found.scatter > _UNSTEADY:
        return f"! unsteady: nobody else was seen, but {scatter}"
    return f"quiet: fit to measure {plural(threads, 'thread')}; {scatter}"


def _cores(count: float | None, what: str) -> str:
    return "unknown" if count is None else f"{count:.2f}{what}"


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.1f} %"


def _granted(seen: Surroundings) -> str:
    cores = "unknown" if seen.usable_cores is None else plural(seen.usable_cores, "core")
    if None not in (seen.usable_cores, seen.granted_cores):
        cores += f" of {seen.granted_cores}"
    quota = seen.quota_cores
    return cores + (" without a quota" if quota is None else f", {quota:.3g} by quota")
