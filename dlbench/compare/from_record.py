"""A dlbench record as a side of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlbench.analyse.modes.trials import not_taken
from dlbench.analyse.outcomes import Outcome, outcomes
from dlbench.analyse.statistics import units
from dlbench.compare.sides import Measured, Side
from dlbench.record.comparability import facts_of, facts_of_case, versions_of
from dlbench.record.schema import Record


def side_of_records(name: str, records: Sequence[Record]) -> Side:
    """The cases of a file's records with the medians of their processes, and where they were measured.

    What all records share is said of the file, the rest of each case: the parts of a GPU check are of several suites.
    """
    facts = [facts_of(record.header) for record in records]
    several = len({record.header.suite for record in records}) > 1
    shared = {
        field: value
        for field, value in facts[0].items()
        if all(own.get(field) == value for own in facts)
    }
    return Side(
        name=name,
        cases=tuple(
            _measured(
                outcome,
                {field: own[field] for field in own if field not in shared}
                | facts_of_case(record.header, outcome.case),
                f"{record.header.suite} " if several else "",
            )
            for record, own in zip(records, facts, strict=True)
            for outcome in (*outcomes(record), *_left_out(record))
        ),
        facts=shared,
        versions=_all_versions(records),
    )


def _left_out(record: Record) -> list[Outcome]:
    """The modes that were tried and not taken: a base that measured one of them is told why it is not there."""
    reason = "--best took another mode, which was faster in its trial"
    known = {outcome.case for outcome in outcomes(record)}
    return [Outcome(case, "skipped", reason) for case in sorted(not_taken(record) - known)]


def _all_versions(records: Sequence[Record]) -> dict[str, str]:
    """Of a package that is another version in another record, each."""
    found: dict[str, list[str]] = {}
    for record in records:
        for package, version in versions_of(record.header).items():
            seen = found.setdefault(package, [])
            if version not in seen:
                seen.append(version)
    return {package: " and ".join(versions) for package, versions in found.items()}


def _measured(outcome: Outcome, facts: Mapping[str, str], within: str) -> Measured:
    case = outcome.case
    return Measured(
        key=case.key,
        label=within + case.label,
        processes_s=tuple(units(outcome.timed.values())),
        conditions=case.conditions,
        sampled=outcome.sampled,
        facts=facts,
        problem=f"{outcome.status}: {outcome.problem}" if outcome.problem else "",
        disturbance=outcome.disturbance if outcome.disturbed else "",
    )
