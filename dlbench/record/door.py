"""What a line of a record has to be before anything else sees it: no text that acts on a terminal, no number that does
not fit, no arrays that belong together and differ in length. Whoever wrote the file, the rest relies on it."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from dlbench.record.case import Case, values
from dlbench.record.facts import StepSpans, Surroundings
from dlbench.record.schema import (
    Answers,
    Header,
    Process,
    Resumed,
    Telemetry,
    Training,
    Verification,
)
from dlbench.text import shortened

_MOST = 2**63 - 1
_LONGEST_NAME = 300
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


def moment(text: str) -> datetime.datetime:
    """A time as records write it, in UTC.

    Raises
    ------
    ValueError : it is none.
    """
    try:
        found = datetime.datetime.fromisoformat(text)
        aware = found if found.tzinfo else found.replace(tzinfo=datetime.UTC)
        return aware.astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"was created at {shortened(text, 40)!r}, which is no time") from None


def check(value: Any) -> None:
    """Refuses what a line, or anything in it, cannot mean.

    Raises
    ------
    ValueError : what is wrong with it.
    """
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
        _check_struct(value)
        # most of a large record are checks, which have no integers, and JSON has no infinity
        _check_all(getattr(value, name) for name in value.__struct_fields__ if name != "checks")
    elif dataclasses.is_dataclass(value):
        if isinstance(value, Surroundings):
            _check_surroundings(value)
        elif isinstance(value, StepSpans):
            _check_spans(value)
        _check_all(getattr(value, field.name) for field in dataclasses.fields(value))


def _check_struct(value: msgspec.Struct) -> None:
    match value:
        case Case():
            names = list(map(str, values(value)))
            if not all(name.isprintable() for name in names):
                raise ValueError("a case has a name that cannot be printed")
            if max(map(len, names)) > _LONGEST_NAME:
                raise ValueError(f"a case has a name of more than {_LONGEST_NAME} characters")
        case Header() | Resumed():
            moment(value.created)
        case Process():
            _check_process(value)
        case Verification():
            _check_facts(value.facts)
        case Telemetry():
            _check_telemetry(value)
        case Training() | Answers():
            if value.wrong and not max(value.wrong) < len(value.answers):
                raise ValueError("a wrong answer is of a sample that was not asked about")
            if value.true_classes and len(value.true_classes) != len(value.wrong):
                raise ValueError("it has right classes of other answers than the wrong ones")


def _check_spans(spans: StepSpans) -> None:
    pairs = {len(spans.plain_ns), len(spans.observed_ns)}
    if len(pairs | {len(each.blocks_ns) for each in spans.times}) > 1:
        raise ValueError("its spans are of other blocks than its steps")
    if min((*spans.plain_ns, *spans.observed_ns), default=1) < 1:
        raise ValueError("it has a step of no time")
    taken = [each.blocks_ns for each in spans.times] + [
        (span.began_ns, span.took_ns) for span in spans.sample
    ]
    if any(min(each, default=0) < 0 for each in taken):
        raise ValueError("it has a span of less than no time")


def _check_surroundings(seen: Surroundings) -> None:
    for field in dataclasses.fields(seen):
        if (getattr(seen, field.name) or 0) < 0:
            raise ValueError(f"{field.name} is negative")


def _check_facts(facts: Mapping[str, str | int]) -> None:
    for name, fact in facts.items():
        if isinstance(fact, int) and fact < 0:
            raise ValueError(f"the fact {shortened(name, 40)!r} is negative")


def _check_telemetry(line: Telemetry) -> None:
    _check_window(line.started_ns, line.ended_ns)
    for name, trace in line.traces.items():
        if not 0 < len(trace.t_ns) == len(trace.values):
            times, found = len(trace.t_ns), len(trace.values)
            raise ValueError(f"trace {shortened(name, 40)} has {times} times and {found} values")
        if list(trace.t_ns) != sorted(trace.t_ns):
            raise ValueError(f"trace {shortened(name, 40)} goes back in time")


def _check_window(started_ns: int | None, ended_ns: int | None) -> None:
    if started_ns is not None and ended_ns is not None and ended_ns < started_ns:
        raise ValueError("it ended before it started")


def _check_process(line: Process) -> None:
    _check_facts(line.facts)
    _check_window(line.started_ns, line.ended_ns)
    blocks = line.block_steps
    if blocks and not (
        len(blocks) == len(line.block_started_ns) == len(line.block_ended_ns)
        and sum(blocks) == len(line.timings_ns)
    ):
        raise ValueError("its blocks do not add up to its timings")
    for window in zip(line.block_started_ns, line.block_ended_ns, strict=False):
        _check_window(*window)
    if line.waited_ns and len(line.waited_ns) != len(line.timings_ns):
        raise ValueError("it has waits for other queries than those that it timed")
    if any(trial.rate_per_s <= 0 or trial.queries < 0 for trial in line.rate_trials):
        raise ValueError("it tried a rate that is none")
    if line.timings_ns and min(line.timings_ns) < 1:
        raise ValueError("timings_ns has a duration of 0")
    if line.rank_steps is not None:
        every = (line.rank_steps.together_ns, *line.rank_steps.alone_ns)
        if len(every) < 2 or not all(steps and min(steps) > 0 for steps in every):
            raise ValueError("rank_steps has a rank without steps, or a step of no time")


def _check_all(values: Iterable[Any]) -> None:
    for each in values:
        check(each)


def _check_sequence(values: tuple[Any, ...] | list[Any]) -> None:
    ends: Iterable[Any] = values
    # most are long arrays of numbers, of which the ends tell all
    if values and isinstance(values[0], int | float):
        with contextlib.suppress(TypeError):
            ends = min(values), max(values)
    _check_all(ends)
