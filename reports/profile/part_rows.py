"""The parts of the steps of a record's profiles as rows for programs: in JSON, in CSV, and as a trace."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from typing import Any

import msgspec

from dlbench.analyse.table import Report, Run
from dlbench.errors import UsageError
from dlbench.profile.estimates import Time
from dlbench.profile.layer_times import LayerTimes, layer_times
from dlbench.profile.roofline import Placed, placed
from dlbench.record.case import columns
from dlbench.record.schema import Profile
from dlbench.spec.workload import Workload, read_workload
from dlbench.text import in_spreadsheet

_FIGURES = (
    *("part", "kind", "time_s", "low_s", "high_s", "share"),
    *("forward_s", "backward_s", "alone_s"),
    *("flops", "moved_bytes", "roof_share", "roof_share_low", "roof_share_high", "bound"),
)


def render_csv(report: Report, *, width: int = 80, colour: bool = False) -> str:
    """A line for each part of each profiled step, an empty field is unknown.

    Raises
    ------
    UsageError : nothing was profiled.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    _require_profiles(report)
    rows = [row for run in report.runs for row in layer_rows(run)]
    names = list(rows[0])
    writer.writerow(names)
    for row in rows:
        writer.writerow([in_spreadsheet(row[name]) for name in names])
    return text.getvalue()


def render_trace(report: Report, *, width: int = 80, colour: bool = False) -> str:
    """Chrome trace events (Trace Event Format, complete events ``X``, µs), which Perfetto opens: a process for each
    profiled step, one step long, its tracks the forward pass, the backward pass, and the update.

    The events are the means of the profile in the order of computation, no single step as it passed; what adds nothing
    has no length.

    Raises
    ------
    UsageError : nothing was profiled.
    """
    _require_profiles(report)
    events: list[dict[str, Any]] = []
    for run in report.runs:
        for profile, _, times in _profiles(run):
            pid = len({event["pid"] for event in events}) + 1
            events += _events(pid, f"{run.name}: {profile.case.label}", times)
    whole = {"traceEvents": events, "displayTimeUnit": "ms"}
    return msgspec.json.encode(whole).decode() + "\n"


def layer_rows(run: Run) -> Iterator[dict[str, Any]]:
    """Each part of each profiled step of a record: its case, its times (s), and how near it comes to its roof."""
    for profile, workload, times in _profiles(run):
        found = placed(profile, workload, times)
        for part in times.parts:
            at = found.get(part.name) if part.kind == "layer" else None
            figures = (
                part.label,
                part.kind,
                part.time.mean_s,
                part.time.low_s,
                part.time.high_s,
                part.time.mean_s / times.whole.mean_s,
                *(_mean(each) for each in (part.forward, part.backward, part.alone)),
                *(_under_roof(at) if at else (None,) * 6),
            )
            own = dict(zip(_FIGURES, figures, strict=True))
            yield {"record": run.name, **columns(profile.case), **own}


def _under_roof(at: Placed) -> tuple[float | str | None, ...]:
    # JSON has no infinity
    high = at.high if math.isfinite(at.high) else None
    return at.flops, at.moved_bytes, at.share, at.low, high, at.bound


def _require_profiles(report: Report) -> None:
    if not any(True for run in report.runs for _ in _profiles(run)):
        raise UsageError("no step was profiled; profiles are made with: dlbench profile")


def _mean(time: Time | None) -> float | None:
    return None if time is None else time.mean_s


def _profiles(run: Run) -> Iterator[tuple[Profile, Workload, LayerTimes]]:
    for line in run.record.lines:
        if isinstance(line, Profile) and line.status == "ok":
            workload = read_workload(run.header.workload)
            yield line, workload, layer_times(line, workload)


def _events(pid: int, name: str, times: LayerTimes) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "pid": pid, "name": "process_name", "args": {"name": name}}
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
    tracks = {"forward": forward, "backward": backward, "update": update}
    for tid, (track, parts) in enumerate(tracks.items(), 1):
        yield {"ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": {"name": track}}
        for called, time in parts:
            lasts_us = max(time.mean_s, 0.0) * 1e6
            event = {"ph": "X", "pid": pid, "tid": tid, "ts": at_us, "dur": lasts_us}
            yield event | {"name": called, "cat": track, "args": {"mean_s": time.mean_s}}
            at_us += lasts_us
