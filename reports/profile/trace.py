"""Where the time of steps goes as Chrome trace events, which Perfetto opens.

The Trace Event Format: https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from dlbench.contract import Span
from dlbench.profile.estimates import Time
from dlbench.profile.layer_times import LayerTimes
from dlbench.record.schema import Profile

Event = dict[str, Any]
_TRACKS = ("forward", "backward", "update")
_OF_SPANS = 3
"""How much greater the number of a track of spans is than that of the same of the ladder."""


def events_of(pid: int, label: str, profile: Profile, times: LayerTimes) -> Iterator[Event]:
    """The events of a profiled step, a process of that number and name. Where steps were observed, one as it passed has
    the same tracks as the means of the ladder beside these, named as its spans."""
    yield _metadata(pid, 0, "process_name", label)
    yield from _of_ladder(pid, times)
    yield from _of_spans(pid, profile)


def _metadata(pid: int, tid: int, name: str, value: str) -> Event:
    return {"ph": "M", "pid": pid, "tid": tid, "ts": 0, "name": name, "args": {"name": value}}


def _complete(pid: int, tid: int, name: str, category: str, at_us: float, lasts_us: float) -> Event:
    event = {"ph": "X", "pid": pid, "tid": tid, "ts": at_us, "dur": lasts_us}
    return event | {"name": name, "cat": category}


def _of_ladder(pid: int, times: LayerTimes) -> Iterator[Event]:
    trains = any(part.backward is not None for part in times.parts)
    forward: list[tuple[str, Time]] = []
    backward: list[tuple[str, Time]] = []
    update: list[tuple[str, Time]] = []
    for part in times.parts:
        if part.kind == "optimizer":
            update.append((part.kind, part.time))
        elif part.kind == "layer" and trains and part.forward and part.backward:
            forward.append((part.name, part.forward))
            backward.insert(0, (part.name, part.backward))
        else:
            forward.append((part.label, part.time))
    at_us = 0.0
    for tid, (track, parts) in enumerate(zip(_TRACKS, (forward, backward, update), strict=True), 1):
        yield _metadata(pid, tid, "thread_name", track)
        for called, time in parts:
            lasts_us = max(time.mean_s, 0.0) * 1e6
            event = _complete(pid, tid, called, track, at_us, lasts_us)
            yield event | {"args": {"mean_s": time.mean_s}}
            at_us += lasts_us


def _of_spans(pid: int, profile: Profile) -> Iterator[Event]:
    sample: Iterable[Span] = () if profile.spans is None else profile.spans.sample
    tids = {track: tid for tid, track in enumerate(_TRACKS, 1 + _OF_SPANS)}
    for track in dict.fromkeys(span.track for span in sample):
        yield _metadata(pid, tids[track], "thread_name", f"{track}, spans of one step")
    for span in sample:
        # of 64 bits a float has 53, so that a time in µs is exact to the ns
        at_us, lasts_us = span.began_ns / 1e3, span.took_ns / 1e3
        name = "+".join(span.layers) or span.name
        event = _complete(pid, tids[span.track], name, f"{span.track} spans", at_us, lasts_us)
        yield event | {"args": {"layers": list(span.layers), "what": span.name}}
