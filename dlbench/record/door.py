"""What a line of a record has to be before anything else sees it: no text that acts on a terminal, no number that does
not fit, no arrays that belong together and differ in length. Whoever wrote the file, the rest relies on it."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from dlbench.record.case import Case, values
from dlbench.record.schema import Header, Process, Telemetry

_MOST = 2**63 - 1
_ACTING = re.compile(
    rb"\\(?:\\|[bfr]|u00(?:[01][0-9a-fA-F]|7[fF]|[89][0-9a-fA-F])|u20(?:2[8-9a-eA-E]|6[6-9]))"
    rb"|\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]|\xe2\x81[\xa6-\xa9]"
)
"""In a line of JSON: control characters, line separators and signs that change the direction of writing, as escapes and
as themselves, and an escaped backslash, since what follows that is no escape."""
_KEPT = (rb"\\", rb"\u0009", rb"\u000a", rb"\u000A")


def clean(line: bytes) -> bytes:
    """The line with spaces for all that would act on a terminal or hide what is there; tabs and line ends stay."""
    return _ACTING.sub(lambda found: found[0] if found[0] in _KEPT else b" ", line)


def check(line: Any) -> None:
    """Refuses what a line cannot mean.

    Raises
    ------
    ValueError : what is wrong with it.
    """
    _check_numbers(line)
    for case in line.cases if isinstance(line, Header) else (getattr(line, "case", None),):
        if isinstance(case, Case) and not all(str(part).isprintable() for part in values(case)):
            raise ValueError("a case has a name that cannot be printed")
    if isinstance(line, Process):
        _check_process(line)
    elif isinstance(line, Telemetry):
        for name, trace in line.traces.items():
            if not 0 < len(trace.t_ns) == len(trace.values):
                times, found = len(trace.t_ns), len(trace.values)
                raise ValueError(f"trace {name} has {times} times and {found} values")
            if list(trace.t_ns) != sorted(trace.t_ns):
                raise ValueError(f"trace {name} goes back in time")


def _check_process(line: Process) -> None:
    blocks = line.block_steps
    if blocks and not (
        len(blocks) == len(line.block_started_ns) == len(line.block_ended_ns)
        and min(blocks) >= 0
        and sum(blocks) == len(line.timings_ns)
    ):
        raise ValueError("its blocks do not add up to its timings")
    for name in ("timings_ns", "warmup_ns", "upload_ns", "download_ns", "device_ns", "canary_ns"):
        durations_ns = getattr(line, name)
        if durations_ns and min(durations_ns) < (1 if name == "timings_ns" else 0):
            raise ValueError(f"{name} has a duration of {min(durations_ns)}")


def _check_numbers(value: Any) -> None:
    if isinstance(value, bool | str | None):
        return
    if isinstance(value, int | float):
        if abs(value) > _MOST if isinstance(value, int) else not math.isfinite(value):
            raise ValueError("a number is larger than 64 bits hold")
    elif isinstance(value, tuple | list):
        _check_sequence(value)
    elif isinstance(value, Mapping):
        _check_all(value.values())
    elif isinstance(value, msgspec.Struct):
        # most of a large record are checks, which have no integers, and JSON has no infinity
        _check_all(getattr(value, name) for name in value.__struct_fields__ if name != "checks")
    elif dataclasses.is_dataclass(value):
        _check_all(getattr(value, field.name) for field in dataclasses.fields(value))


def _check_all(values: Iterable[Any]) -> None:
    for each in values:
        _check_numbers(each)


def _check_sequence(values: tuple[Any, ...] | list[Any]) -> None:
    ends: Iterable[Any] = values
    # most are long arrays of numbers, of which the ends tell all
    if values and isinstance(values[0], int | float):
        with contextlib.suppress(TypeError):
            ends = min(values), max(values)
    _check_all(ends)
