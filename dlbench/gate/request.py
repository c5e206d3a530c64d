"""What `dlbench gate` does once its options are read: two versions, the gate between them, its verdicts."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from dlbench.data.datasets import data_set_of
from dlbench.errors import DlbenchError, UsageError
from dlbench.gate import schema
from dlbench.gate.build import built, commit_of, root_of, sources
from dlbench.gate.design import Design
from dlbench.gate.pairs import ARMS, Arm
from dlbench.gate.session import Observer, Request, run
from dlbench.gate.versions import Sources, Version
from dlbench.gate.waivers import read_waived
from dlbench.host.machine import look
from dlbench.paths import RECORDS, TIMEOUT_S
from dlbench.plan.request import Request as Plan
from dlbench.record.case import SELECTED, product
from dlbench.record.file import Writer
from dlbench.record.schema import Scenario
from dlbench.spec.suite import Suite, load_suite
from dlbench.telemetry.device import gpu_names

Observe = Callable[[Design], AbstractContextManager[Observer]]
"""Makes the observer of a gate, which is told how it goes on."""

CASE_BUDGET_S = 60.0
"""Time of a gate for each of its cases when none is given."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The options as they were given; see `dlbench gate --help`."""

    base: str | None = None
    base_python: Path | None = None
    new_python: Path | None = None
    setup: str | None = None
    suite: str = "ci"
    backends: tuple[str, ...] = ("numpy",)
    devices: tuple[str, ...] = ("cpu",)
    modes: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    worlds: tuple[int, ...] = ()
    inputs: tuple[str, ...] = ()
    scenarios: tuple[Scenario, ...] = ()
    batches: tuple[int, ...] = ()
    threads: int = 1
    data: str | None = None
    data_dir: Path | None = None
    seed: int = 0
    threshold: float = 0.03
    budget_s: float | None = None
    waive: tuple[str, ...] = ()
    limit_s: float = TIMEOUT_S
    explains: bool = False
    cache_dir: Path
    folder: Path


def gate(options: Options, create: Callable[[], Writer], observe: Observe) -> Path:
    """Runs a gate.

    Parameters
    ----------
    create : opens its record, once the versions are built.

    Returns
    -------
    Where the record is. One that was interrupted says so in its last line.

    Raises
    ------
    UsageError : the options cannot be carried out.
    DlbenchError : a version does not build, both are one, or the record cannot be written.
    """
    started_s = time.monotonic()
    waived = read_waived(options.waive)
    design = Design(threshold=options.threshold)
    with (
        observe(design) as observer,
        _versions(options, started_s, observer) as (versions, files),
    ):
        suites = {arm: _suite(options, versions[arm]) for arm in ARMS}
        plan = _plan(options, suites["new"])
        cases = sum(len(list(product(chosen))) for _, chosen in plan.selections())
        request = Request(
            versions=versions,
            suites=suites,
            plan=plan,
            design=design,
            budget_s=options.budget_s or CASE_BUDGET_S * cases,
            waived=waived,
            sources=files,
            started_s=started_s,
            explains=options.explains,
        )
        with _closing(create()) as writer:
            run(request, writer, observer)
    return writer.path


def record_noise(options: Options, create: Callable[[], Writer], observe: Observe) -> Path:
    """Runs pairs of the same code until the budget ends, for `dlbench.gate.calibration`; otherwise as `gate`."""
    suite = load_suite(options.suite)
    plan = _plan(options, suite)
    one = dataclasses.replace(
        plan,
        backends=plan.chosen_backends[:1],
        scenarios=plan.chosen_scenarios[:1],
        batches=plan.chosen_batches[:1],
    )
    labels: dict[Arm, str] = {"base": "this code", "new": "this code again"}
    request = Request(
        versions={arm: Version(arm, label) for arm, label in labels.items()},
        suites=dict.fromkeys(ARMS, suite),
        plan=one,
        design=Design(threshold=options.threshold),
        budget_s=options.budget_s or 10 * CASE_BUDGET_S,
        calibration=True,
    )
    with observe(request.design) as observer, _closing(create()) as writer:
        run(request, writer, observer)
    return writer.path


def earlier(path: Path) -> schema.Record:
    """The record of an earlier gate.

    Raises
    ------
    UsageError : the file is none.
    """
    try:
        return schema.read(path)
    except DlbenchError as error:
        raise UsageError(str(error)) from None


@contextlib.contextmanager
def _closing(writer: Writer) -> Iterator[Writer]:
    """Closes a record, and takes away one in which nothing was written."""
    try:
        yield writer
    finally:
        writer.close()
        if writer.path.stat().st_size == 0:
            writer.path.unlink()


@contextlib.contextmanager
def _versions(
    options: Options, started_s: float, observer: Observer
) -> Iterator[tuple[Mapping[Arm, Version], Sources | None]]:
    """The two versions, and the files of their repository where they have one."""
    pythons = options.base_python, options.new_python
    if options.base is not None:
        if any(pythons):
            raise UsageError(
                "--base compares commits and --base-python with --new-python interpreters; give one of the two"
            )
        repository = root_of(options.folder)
        observer.doing(f"building {options.base} and the working tree")
        records = (options.folder / RECORDS).resolve()
        until_s = None if options.budget_s is None else started_s + options.budget_s
        with built(repository, options.base, options.setup, records=records, until_s=until_s) as (
            base,
            new,
        ):
            files = sources(repository, commit_of(repository, options.base), records)
            yield {"base": base, "new": new}, files
        return
    if options.setup is not None:
        raise UsageError("--setup says how a commit is built; it needs --base")
    if pythons[0] is None or pythons[1] is None:
        raise UsageError(
            "what is to be compared? --base COMMIT with the working tree, or --base-python with --new-python;"
            " --calibrate tells what this machine's noise allows"
        )
    for python in pythons:
        if python is not None and not python.exists():
            raise UsageError(f"the interpreter {python} does not exist")
    base_python, new_python = (os.path.abspath(python) for python in pythons if python)
    if base_python == new_python:
        raise UsageError("--base-python and --new-python are the same interpreter")
    yield (
        {
            "base": Version("base", str(pythons[0]), python=base_python, shared=options.folder),
            "new": Version("new", str(pythons[1]), python=new_python, shared=options.folder),
        },
        None,
    )


def _suite(options: Options, version: Version) -> Suite:
    """A version's own file of the suite, where the suite belongs to what is compared."""
    if version.folder is None or version.checkout is None:
        return load_suite(options.suite)
    shipped = version.folder / "dlbench" / "suites" / f"{options.suite}.toml"
    if shipped.is_file():
        return load_suite(str(shipped))
    given = (options.folder / options.suite).resolve()
    repository = root_of(options.folder).resolve()
    if not (given.is_file() and given.is_relative_to(repository)):
        return load_suite(options.suite)
    own = version.checkout / given.relative_to(repository)
    if not own.is_file():
        raise DlbenchError(
            f"{version.label} has no file {given.relative_to(repository)}, so there is nothing to compare;"
            " choose a --base that has it"
        )
    return load_suite(str(own))


def _plan(options: Options, suite: Suite) -> Plan:
    return Plan(
        suite=suite,
        machine=look(gpu_names()),
        cache_dir=options.cache_dir,
        **{axis.plural: getattr(options, axis.plural) for axis in SELECTED},
        limit_s=options.limit_s,
        threads=options.threads,
        seed=options.seed,
        rounds=1,
        data=data_set_of(options.data, suite.data.name),
        data_dir=options.data_dir,
    )
