"""A dlbench record as a side of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dlbench.analyse.outcomes import Outcome, outcomes
from dlbench.compare.sides import LISTED, Measured, Side
from dlbench.record.comparability import package_list
from dlbench.record.schema import Header, Record
from dlbench.text import one_line, why


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
                {field: own[field] for field in own if field not in shared},
                f"{record.header.suite} " if several else "",
            )
            for record, own in zip(records, facts, strict=True)
            for outcome in outcomes(record)
        ),
        facts=shared,
        versions=_all_versions(records),
    )


def facts_of(header: Header) -> dict[str, str]:
    """What must be alike in two records; memory in whole GiB, since the rest of it varies."""
    machine, data = header.machine, header.data
    known: Mapping[str, object] = {
        "cpu": machine.cpu,
        "physical cores": machine.physical_cores,
        "logical cores": machine.logical_cores,
        "usable cores": machine.usable_cores,
        "memory": None
        if machine.memory_bytes is None
        else f"{machine.memory_bytes / 2**30:.0f} GiB",
        "gpus": ", ".join(machine.gpus) or "none",
        "data": f"{data.name} {data.fingerprint[:12]}",
        "workload": f"{header.suite} {header.workload_digest[:12]}",
        "seed": header.seed,
    }
    return {field: one_line(str(value)) for field, value in known.items() if value is not None}


def versions_of(header: Header) -> dict[str, str]:
    """Versions of packages, Python and the kernel; of a backend with an interpreter of its own, under its name."""
    machine = header.machine
    versions = {"system": machine.system, "python": machine.python} | machine.packages
    for backend, found in header.environments.items():
        there = {"python": found.python, LISTED: package_list(found)} | found.packages
        # what contradicts nothing is the runner's own, where each backend names other packages
        alike = all(versions.get(name, version) == version for name, version in there.items())
        which = "" if alike else f" of {backend}"
        versions |= {f"{name}{which}": version for name, version in there.items()}
    return versions


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
    times = tuple(outcome.medians_s.values())
    problem = "" if times else f"{outcome.status}: {why(outcome.reason, outcome.remedy)}"
    if not times and outcome.status == "ok":
        problem = "verified only, not timed"
    return Measured(
        key=case.key,
        label=within + case.label,
        processes_s=times,
        conditions=case.conditions,
        facts=facts,
        problem=problem,
        disturbance=outcome.disturbance if outcome.disturbed else "",
    )
