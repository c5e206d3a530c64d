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
from dlbench.profile.layer_times import LayerTimes, Part, layer_times
from dlbench.profile.observed import Observed, observed
from dlbench.profile.roofline import Placed, placed
from dlbench.record.case import columns
from dlbench.record.schema import Profile
from dlbench.spec.workload import Workload, read_workload
from dlbench.text import in_spreadsheet

from .trace import events_of

_FIGURES = (
    *("part", "kind", "time_s", "low_s", "high_s", "share"),
    *("forward_s", "backward_s", "alone_s"),
    *("spans_s", "spans_forward_s", "spans_backward_s", "spans_share", "spans_with"),
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
    """Trace events in the JSON object format (complete events ``X``, µs), which Perfetto opens: a process for each
    profiled step, one step long, its tracks the forward pass, the backward pass, and the update.

    The events are the means of the profile in the order of computation, no single step as it passed; what adds nothing
    has no length. A step that was observed has tracks of its own.

    Raises
    ------
    UsageError : nothing was profiled.
    """
    _require_profiles(report)
    found = [(run.name, *each) for run in report.runs for each in _profiles(run)]
    events = [
        event
        for pid, (name, profile, _, times) in enumerate(found, 1)
        for event in events_of(pid, f"{name}: {profile.case.label}", profile, times)
    ]
    return msgspec.json.encode({"traceEvents": events, "displayTimeUnit": "ms"}).decode() + "\n"


def layer_rows(run: Run) -> Iterator[dict[str, Any]]:
    """Each part of each profiled step of a record: its case, its times (s), and how near it comes to its roof."""
    for profile, workload, times in _profiles(run):
        found = placed(profile, workload, times)
        seen = observed(profile, workload, times)
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
                *_spans(part, seen),
                *(_under_roof(at) if at else (None,) * 6),
            )
            own = dict(zip(_FIGURES, figures, strict=True))
            yield {"record": run.name, **columns(profile.case), **own}


def _spans(part: Part, seen: Observed | None) -> tuple[float | str | None, ...]:
    """Of a group they stand at its first part; the others have its name alone. Of steps that stamps made much longer
    only the share is told."""
    group = None if seen is None else seen.group_of(part)
    if seen is None or group is None:
        return (None,) * 5
    if part is not group.parts[0]:
        return *(None,) * 4, group.label
    times = (group.time, group.forward, group.backward)
    told = [None if seen.only_shares else _mean(time) for time in times]
    return *told, group.share, group.label if len(group.parts) > 1 else ""


def _under_roof(at: Placed) -> tuple[float | str | None, ...]:
    # JSON has no infinity
    high = at.high if math.isfinite(at.high) else None
    return at.flops, at.moved_bytes, at.share, at.low, high, at.bound


def _require_profiles(report: Report) -> None:
    """Refuses a report without any.

    Raises
    ------
    UsageError : nothing was profiled.
    """
    if not any(True for run in report.runs for _ in _profiles(run)):
        raise UsageError("no step was profiled; profiles are made with: dlbench profile")


def _mean(time: Time | None) -> float | None:
    return None if time is None else time.mean_s


def _profiles(run: Run) -> Iterator[tuple[Profile, Workload, LayerTimes]]:
    """Each profile of a record that has one, its workload, and what it says of the layers."""
    for line in run.record.lines:
        if isinstance(line, Profile) and line.status == "ok":
            workload = read_workload(run.header.workload)
            yield line, workload, layer_times(line, workload)
