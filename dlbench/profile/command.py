"""The command that profiles rows of a record, as it can be pasted."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from dlbench.record.case import SELECTED, Case
from dlbench.record.header import Header

PROFILES = "profiles.jsonl"
"""The record that it writes."""
_PROFILED = ("train", "infer")


def profile_command(header: Header, cases: Sequence[Case]) -> str:
    """``dlbench profile --suite …``: of the rows, scenarios and batch sizes of these cases, on the record's data."""
    words = ["--suite", header.suite_word, *header.source_words, *_selected(header, cases)]
    words += ["--threads", str(cases[0].threads)] if cases else []
    words += ["--seed", str(header.seed)] if header.seed else []
    return f"dlbench profile {shlex.join(words)} --output {PROFILES}"


def _selected(header: Header, cases: Sequence[Case]) -> Iterator[str]:
    for axis in SELECTED:
        found = dict.fromkeys(str(getattr(case, axis.name)) for case in cases)
        if axis.name == "scenario":
            found = dict.fromkeys(value for value in found if value in _PROFILED)
        # a profile is of one process, whose batches are resident
        if found == {str(axis.default): None} or axis.name in ("world", "input"):
            continue
        if axis.name == "mode" and not _modes_are_asked_for(header, cases):
            continue
        for value in filter(None, found):
            yield from (f"--{axis.name}", value)


def _modes_are_asked_for(header: Header, cases: Sequence[Case]) -> bool:
    """Whether modes have to be named: not where each backend of the record runs in one of its own, as they do where
    nothing was said."""
    modes: dict[str, set[str]] = {}
    for case in header.cases:
        modes.setdefault(case.backend, set()).add(case.mode)
    named = {case.mode for case in cases} - {""}
    return len(named) == 1 or any(len(each) > 1 for each in modes.values())
