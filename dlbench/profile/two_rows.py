"""The profiles of two rows that are explained by each other."""

from __future__ import annotations

from collections.abc import Sequence

from dlbench.errors import UsageError
from dlbench.profile.command import profile_command
from dlbench.profile.explanation import Explanation, explain
from dlbench.record.baseline import find_baseline
from dlbench.record.schema import Profile, Record
from dlbench.spec.workload import Workload, read_workload

Profiled = tuple[Profile, Workload]


def explanations(
    first: str, second: str, records: Sequence[Record], scenarios: Sequence[str]
) -> list[Explanation]:
    """What makes two rows differ, in each scenario and at each batch size that both were profiled in.

    Parameters
    ----------
    first, second : rows, ``torch:cpu/eager``.
    records : one with both, or one with each in the same order.
    scenarios : those that are asked for; empty for all.

    Raises
    ------
    UsageError : a row was not profiled, or both have nothing in common.
    """
    if len(records) > 2:
        raise UsageError(f"{len(records)} records: name one with both rows, or one with each")
    both = (first, second) if len(records) == 1 else ()
    one = _profiles(first, records[0], both or (first,))
    two = _profiles(second, records[-1], both or (second,))
    pairs = [
        (a, b)
        for a in one
        for b in two
        if (a[0].case.scenario, a[0].case.batch) == (b[0].case.scenario, b[0].case.batch)
        and (not scenarios or a[0].case.scenario in scenarios)
    ]
    if not pairs:
        among = f"; asked for: {', '.join(scenarios)}" if scenarios else ""
        raise UsageError(
            f"{first} and {second} were profiled in no scenario and batch size that both have{among}"
        )
    return [explain(a[0], b[0], (a[1], b[1])) for a, b in pairs]


def _profiles(word: str, record: Record, wanted: Sequence[str]) -> list[Profiled]:
    """The profiles of a row, with the workload that they are of; `wanted` are the rows that its record is to have."""
    found = [line for line in record.lines if isinstance(line, Profile) and line.status == "ok"]
    if not found:
        header = record.header
        rows = [find_baseline(row, header.cases, "row") for row in wanted]
        cases = [case for row in rows for case in header.cases if row.has(case)]
        raise UsageError(
            f"the record of {header.suite} has no profiles; make them with: {profile_command(header, cases)}"
        )
    workload = read_workload(record.header.workload)
    row = find_baseline(word, [line.case for line in found], "row")
    return [(line, workload) for line in found if row.has(line.case)]
