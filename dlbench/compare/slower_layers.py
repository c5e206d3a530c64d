"""In which layers slower cases are slower, where both sides were profiled."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from dlbench.compare.verdicts import Verdicts
from dlbench.errors import UsageError
from dlbench.profile.explanation import explain, where
from dlbench.record.schema import Profile, Record
from dlbench.spec.workload import Workload, read_workload

Profiled = tuple[Profile, Workload]
_HOW = "in which layers is not known: both records need profiles (dlbench run --profile)"


def with_layers(verdicts: Verdicts, layers: Mapping[str, str]) -> Verdicts:
    """The verdicts, those on slower cases with a sentence on where that is.

    Parameters
    ----------
    layers : the sentence by case.
    """
    cases = [
        dataclasses.replace(
            each, reason="; ".join(filter(None, (each.reason, layers.get(each.case))))
        )
        if each.status == "slower"
        else each
        for each in verdicts.cases
    ]
    return dataclasses.replace(verdicts, cases=tuple(cases))


def layers_of(verdicts: Verdicts, base: Sequence[Record], new: Sequence[Record]) -> dict[str, str]:
    """Where the slower cases of two files are slower, by case."""
    old, now = _profiles(base), _profiles(new)
    found = {}
    for each in verdicts.having("slower"):
        if each.case in old and each.case in now:
            found[each.case] = _where(now[each.case], old[each.case])
        else:
            found[each.case] = _HOW
    return found


def _where(now: Profiled, old: Profiled) -> str:
    try:
        return where(explain(now[0], old[0], (now[1], old[1])))
    except UsageError as error:
        return f"in which layers is not known: {error}"


def _profiles(records: Sequence[Record]) -> dict[str, Profiled]:
    """The profiles of a file, by what its cases are called in verdicts (`dlbench.compare.from_record`)."""
    several = len({record.header.suite for record in records}) > 1
    return {
        f"{record.header.suite} " * several + line.case.label: (
            line,
            read_workload(record.header.workload),
        )
        for record in records
        for line in record.lines
        if isinstance(line, Profile) and line.status == "ok"
    }
