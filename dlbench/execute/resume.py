"""What a record that was cut off still lacks, and the request that completes exactly that.

A record says everything about its run but where the files lie, so going on with one needs no other
word. Words that are given all the same must be the record's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dlbench
from dlbench.errors import UsageError
from dlbench.execute.tasks import to_run
from dlbench.plan.backend_status import Found
from dlbench.plan.request import Request
from dlbench.record import comparability
from dlbench.record.comparability import Difference, between
from dlbench.record.schema import (
    Case,
    Header,
    Machine,
    Process,
    Record,
    Scenario,
    Verification,
)
from dlbench.spec.scenarios import NO_LOAD
from dlbench.spec.suite import Suite, list_suites, load_suite
from dlbench.telemetry.device import bare_uuid
from dlbench.worker.interpreters import check_named


def suite_of(record: Record, named: str | None = None) -> Suite:
    """The suite that a record is of, or the one that is `named`.

    Raises
    ------
    SuiteError : there is no such suite, or a mistake in it.
    UsageError : the record's suite was a file, which has to be named.
    """
    own = record.header.suite
    if named is None and own not in {name for name, _ in list_suites()}:
        raise UsageError(f"--resume: the suite {own!r} was a file; name it with --suite FILE.toml")
    return load_suite(named or own)


def check_given(record: Record, given: Mapping[str, Any]) -> None:
    """Holds options against a record, by the names of `Request`; they may say only what it says.

    Raises
    ------
    UsageError : with each that says something else.
    """
    header, cases = record.header, record.header.cases
    held: dict[str, tuple[str, Any]] = {
        "backends": ("--backend", _each(case.backend for case in cases)),
        "devices": ("--device", _each(case.device for case in cases)),
        "scenarios": ("--scenario", _each(case.scenario for case in cases)),
        "batches": (
            "the batch size",
            header.shard.batches if header.shard else _each(case.batch for case in cases),
        ),
        "modes": ("--mode", _each(case.mode for case in cases)),
        "precisions": ("--precision", _each(case.precision for case in cases)),
        "worlds": ("--world", _each(case.world for case in cases)),
        "inputs": ("--input", _each(case.input for case in cases)),
        "best": ("--best", header.best),
        "threads": ("--threads", cases[0].threads if cases else None),
        "seed": ("--seed", header.seed),
        "rounds": ("--rounds", header.rounds),
        "target_interval": ("--target-interval", header.target_interval),
        "budget_s": ("--budget", _row_budget_s(header)),
        "epochs": ("--epochs", header.epochs),
        "target_accuracy": ("--target", header.target_accuracy),
        "seeds": ("--seeds", header.seeds or Request.seeds),
        "profile_s": ("the time for profiles", header.profile_s),
        "profile_inside": ("--inside", header.profile_inside),
        "telemetry_period_s": ("--telemetry-period (s)", header.telemetry_period_s),
        "data": ("--data", header.data.name),
        "load": ("what a server is asked", header.load or NO_LOAD),
        "shard": ("--shard", None if header.shard is None else str(header.shard)),
    }
    differences: list[Difference] = []
    for name, asked in given.items():
        what, recorded = held[name]
        if isinstance(asked, tuple):
            if set(asked) != set(recorded):
                differences += between(what, recorded, asked)
        else:
            differences += between(what, recorded, asked)
    refuse(differences)


def request_for(
    record: Record,
    suite: Suite,
    machine: Machine,
    cache_dir: Path,
    data_dir: Path | None = None,
    pythons: Mapping[str, str] | None = None,
    init_weights: Path | None = None,
) -> Request:
    """The request that a record came from, cut down to the batch sizes of which something is missing.

    Parameters
    ----------
    suite : the suite that the record names.
    machine : this machine, which must be the record's.
    cache_dir, data_dir : where files lie here, which a record does not say.
    pythons : interpreters by backend, of which a record knows only what is installed there.
    init_weights : the file that rows begin with, of which a record knows only a digest.

    Raises
    ------
    UsageError : with everything that is not as it was when the record was begun.
    """
    header = record.header
    if record.merged:
        raise UsageError(
            "a merged record is not gone on with: resume the records that it was merged from, and merge them again"
        )
    differences = [
        *between("dlbench", header.dlbench, dlbench.__version__),
        *between("the suite", header.suite, suite.name),
        *_workload(header, suite),
        *comparability.machines(header.machine, machine),
    ]
    refuse(differences)
    if header.weights_digest and init_weights is None:
        raise UsageError(
            f"--resume: its rows began with the weights {header.weights_digest[:12]} of a file; name it with"
            " --init-weights"
        )
    lacking = to_run(record)
    check_named(pythons or {}, _each(case.backend for case in header.cases))
    running = _each(case.backend for case in lacking)
    return Request(
        suite=suite,
        machine=machine,
        cache_dir=cache_dir,
        backends=running,
        devices=_each(case.device for case in lacking),
        scenarios=_scenarios(lacking),
        batches=_each(case.batch for case in lacking),
        precisions=_each(case.precision for case in lacking),
        worlds=_each(case.world for case in lacking),
        inputs=_each(case.input for case in lacking),
        threads=lacking[0].threads if lacking else None,
        seed=header.seed,
        rounds=header.rounds,
        target_interval=header.target_interval,
        budget_s=_row_budget_s(header),
        baseline=header.baseline,
        best=header.best,
        epochs=header.epochs,
        target_accuracy=header.target_accuracy,
        seeds=header.seeds or Request.seeds,
        profile_s=header.profile_s,
        profile_inside=header.profile_inside,
        data=header.data.name,
        shard=header.shard,
        node=header.node,
        load=header.load if header.load and "server" in _scenarios(lacking) else NO_LOAD,
        data_dir=data_dir,
        init_weights=init_weights,
        pythons={name: path for name, path in (pythons or {}).items() if name in running},
        **_said(header),
    )


def _row_budget_s(header: Header) -> float:
    """The time for sampling of each row, an equal share of the whole where an earlier version gave that."""
    if header.row_budget_s is not None:
        return header.row_budget_s
    return header.budget_s / max(len(header.cases), 1)


def _said(header: Header) -> dict[str, Any]:
    """What the record says of the watch; one that was begun before it did leaves that to the defaults."""
    known = {name: getattr(header, name) for name in ("patience_s", "telemetry_period_s")}
    return {name: value for name, value in known.items() if value is not None}


def refuse(differences: Sequence[Difference]) -> None:
    """Refuses to go on with a record when there are differences.

    Raises
    ------
    UsageError : naming each.
    """
    if differences:
        raise UsageError(f"--resume: {comparability.sentence(differences)}")


def backend_differences(
    record: Record, cases: Iterable[Case], found: Mapping[str, Found]
) -> list[Difference]:
    """What of the backends that `cases` need is not the record's: versions, mode, or the GPU behind a name."""
    differences: dict[tuple[str, str], list[Difference]] = {}
    for case in cases:
        differences[(case.backend, case.device)] = _of_backend(record, case, found[case.backend])
    # the same version is asked about once for each device
    return list(dict.fromkeys(each for several in differences.values() for each in several))


def _of_backend(record: Record, case: Case, seen: Found) -> list[Difference]:
    name = case.backend
    own = [
        line
        for line in record.lines
        if isinstance(line, Verification | Process) and line.version and line.case.backend == name
    ]
    if seen.status != "ok":
        now = f"not usable ({seen.reason})"
        return [Difference(f"backend {name}", own[0].version, now)] if own else []
    environment = record.header.environments.get(name)
    different = []
    if environment and seen.environment:
        different += comparability.environments(name, environment, seen.environment)
    modes = seen.modes or (seen.mode,)
    if case.mode not in modes:
        now = " or ".join(filter(None, modes)) or "none"
        different.append(Difference(f"the mode of {name}", case.mode or "none", now))
    if own:
        different += between(f"backend {name}", own[0].version, seen.version)
    libraries = next((line.libraries for line in own if isinstance(line, Process)), None)
    for library in sorted({*(libraries or {}), *seen.libraries}) if libraries else ():
        versions = (each.get(library, "none") for each in (libraries or {}, seen.libraries))
        different += between(f"{library} of {name}", *versions)
    recorded = [line.facts.get("device_uuid") for line in own if line.case.device == case.device]
    device = seen.device(case.device)
    there = device.uuid if device else None
    # frameworks leave GPU- out, the driver does not
    if recorded and recorded[0] and there and bare_uuid(str(recorded[0])) != bare_uuid(there):
        different += between(f"the GPU behind {case.device}", recorded[0], there)
    return different


def _workload(header: Header, suite: Suite) -> list[Difference]:
    recorded, now = header.workload_digest, suite.workload.digest
    return between(f"the workload of {suite.name}", recorded[:12], now[:12])


def _scenarios(cases: Iterable[Case]) -> tuple[Scenario, ...]:
    return tuple(dict.fromkeys(case.scenario for case in cases))


def _each(values: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))
