"""What `dlbench run` does once its options are read: a request, from the record it writes to what is shown."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbench import paths
from dlbench.cli.exit_codes import INTERRUPTED, NOTHING, exit_code, tell
from dlbench.cli.output import answer, read, show
from dlbench.errors import UsageError

if TYPE_CHECKING:
    from dlbench.plan.request import Request
    from dlbench.record.file import Writer
    from dlbench.record.schema import End


def request_of(suite: str, data: str | None, **chosen: Any) -> Request:
    """The request that the options say, on this machine."""
    from dlbench.data.datasets import data_set_of
    from dlbench.host.machine import look
    from dlbench.plan.request import Request
    from dlbench.spec.suite import load_suite
    from dlbench.telemetry.device import gpu_names

    loaded = load_suite(suite)
    return Request(
        suite=loaded,
        machine=look(gpu_names()),
        cache_dir=paths.cache_dir(),
        data=data_set_of(data, loaded.data.name),
        **chosen,
    )


def run_request(request: Request, output: Path | None, form: str, quiet: bool) -> int:
    """Carries a request out into a new record and shows it; the exit code."""
    from dlbench.execute.runner import run

    writer = new_record(output, request.suite.name)
    _warn(request, quiet)
    work = functools.partial(run, request, writer)
    return _carry_out(work, writer, form, quiet, request.baseline)


_EXISTS = "--output {} exists already, and a record is never overwritten"


def refuse_existing(output: Path | None) -> None:
    """Refuses, before anything is begun, a record that could not be written.

    Raises
    ------
    UsageError : it is there already.
    """
    if output is not None and output.exists() and output.stat().st_size:
        raise UsageError(_EXISTS.format(output))


def new_record(output: Path | None, name: str) -> Writer:
    """Opens the record to write: `output`, or a new file that is named by the time and by `name`.

    Raises
    ------
    UsageError : it is there already, or cannot be written.
    """
    from dlbench.record.file import Writer, create

    try:
        return Writer(output) if output else create(paths.default_outputs(name))
    except FileExistsError:
        raise UsageError(_EXISTS.format(output)) from None
    except OSError as error:
        where = f"--output {output}" if output else f"the folder {paths.RECORDS}"
        raise UsageError(f"{where} cannot be written: {error.strerror}") from None


def resume_record(
    path: Path, given: dict[str, Any], form: str, quiet: bool, baseline: str | None
) -> int:
    """Completes a record and shows it; the exit code."""
    from dlbench.analyse.outcomes import outcomes
    from dlbench.data.datasets import data_set_of
    from dlbench.execute.resume import check_given, request_for, suite_of
    from dlbench.execute.runner import resume
    from dlbench.execute.tasks import is_complete
    from dlbench.host.machine import look
    from dlbench.record.baseline import find_baseline
    from dlbench.record.file import Writer
    from dlbench.telemetry.device import gpu_names

    try:
        # opened first: what another run is still writing is not to be read
        writer = Writer(path, append=True)
    except OSError as error:
        raise UsageError(f"--resume {path} cannot be written: {error.strerror}") from None
    with contextlib.closing(writer):
        record = read(path)
        if baseline is not None:
            find_baseline(baseline, record.header.cases)
        named, folder = given.pop("suite", None), given.pop("data_dir", None)
        pythons = given.pop("pythons", None)
        # how long to wait is about the machine as it is now, and no figure depends on it
        beside = {"patience_s": given.pop("patience_s")} if "patience_s" in given else {}
        if "data" in given:
            given["data"] = data_set_of(given["data"], record.header.data.name)
        check_given(record, given)
        if is_complete(record):
            tell(f"nothing is missing in {path}")
            show([(str(path), record)], form, baseline)
            return exit_code(outcome.status for outcome in outcomes(record))
        suite = suite_of(record, named)
        request = request_for(record, suite, look(gpu_names()), paths.cache_dir(), folder, pythons)
        request = dataclasses.replace(request, **beside)
        _warn(request, quiet)
        work = functools.partial(resume, request, record, writer)
        return _carry_out(work, writer, form, quiet, baseline)


def _warn(request: Request, quiet: bool) -> None:
    """Says so when others use the machine, or threads that nobody chose share its cores."""
    from dlbench.execute.readiness import sharing, warn
    from dlbench.host.machine import usable_physical_cores

    if not quiet and request.threads is None:
        note = sharing(request.chosen_threads, usable_physical_cores())
        if note:
            tell(note)
    if not quiet and (warning := warn(request.chosen_threads)):
        tell(warning)


def _carry_out(
    work: Callable[..., End], writer: Writer, form: str, quiet: bool, baseline: str | None
) -> int:
    """Has a run write its record, then shows it."""
    from dlbench.analyse.outcomes import outcomes
    from dlbench.cli.progress import progress
    from dlbench.record.file import read_record
    from dlbench.text import plural

    path = writer.path
    try:
        with progress(sys.stderr, quiet=quiet) as observer:
            end = work(observer)
    finally:
        writer.close()
        # a record that was to be gone on with is not empty, though nothing was added
        empty = not writer.wrote and path.exists() and path.stat().st_size == 0
        if empty:
            path.unlink()
    if empty:
        tell("interrupted before anything was measured")
        return INTERRUPTED
    if writer.wrote and (rescued := writer.rescued()):
        tell(f"! {path} was taken away or changed while it was written; all of it is in {rescued}")
        path = rescued
    record = read_record(path)
    found = outcomes(record)
    if end.status == "interrupted":
        kept = plural(sum(bool(outcome.medians_s) for outcome in found), "case")
        tell(
            f"interrupted; {kept} measured so far and kept; to see: dlbench report {path};"
            f" to go on: dlbench run --resume {path}"
        )
        return INTERRUPTED
    show([(str(path), record)], form, baseline)
    return exit_code(outcome.status for outcome in found)


def say_plan(request: Request, quiet: bool) -> int:
    """Says what a request would run; the exit code."""
    from dlbench.cli.doctor import describe_plan
    from dlbench.cli.progress import progress
    from dlbench.execute.runner import plan_run

    with progress(sys.stderr, quiet=quiet) as observer:
        planned = plan_run(request, observer)
    answer(describe_plan(planned.cases, planned.problems, planned.estimate_s))
    if request.best:
        tell(
            "of cases that differ in their mode alone, the fastest that is right is measured in full"
        )
    return 0 if set(planned.cases) - set(planned.problems) else NOTHING
