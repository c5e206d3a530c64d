"""Has a request carried out into a record, whoever asked: the command line and Python alike."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dlbench import paths
from dlbench.api.asking import warnings_of
from dlbench.api.reading import read
from dlbench.environments.lookup import completed
from dlbench.errors import UsageError
from dlbench.execute.events import Observer
from dlbench.plan.request import Request
from dlbench.record.file import Writer, create, read_record
from dlbench.record.schema import End, Record

_EXISTS = "--output {} exists already, and a record is never overwritten"


@dataclasses.dataclass(frozen=True)
class Work:
    """What is to be carried out: `do` writes into `writer` what comes of `request`, and tells an observer."""

    request: Request
    writer: Writer
    do: Callable[[Observer], End]


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run that has come to an end: its record, where that is, and whether the run was cut short."""

    path: Path
    record: Record
    interrupted: bool


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
    try:
        return Writer(output) if output else create(paths.default_outputs(name))
    except FileExistsError:
        raise UsageError(_EXISTS.format(output)) from None
    except OSError as error:
        where = f"--output {output}" if output else f"the folder {paths.RECORDS}"
        raise UsageError(f"{where} cannot be written: {error.strerror}") from None


def new_run(request: Request, output: Path | None) -> Work:
    """A request that is to be carried out into a new record; errors as for `new_record`."""
    from dlbench.execute.runner import run

    writer = new_record(output, request.suite.name)
    return Work(request, writer, functools.partial(run, request, writer))


@contextlib.contextmanager
def rest_of(
    path: Path, given: dict[str, Any], baseline: str | None
) -> Iterator[tuple[Record, Work | None]]:
    """A record, open for writing, and what completes it; None where nothing is missing.

    Parameters
    ----------
    given : what was said besides, by the names of `Request`; it may say only what the record says, but for where
        files lie and how long to wait.
    baseline : the row that speed-ups are to refer to.

    Raises
    ------
    UsageError : it is no record that can be gone on with so, or here.
    """
    from dlbench.data.datasets import data_set_of
    from dlbench.execute.resume import check_given, request_for, suite_of
    from dlbench.execute.runner import resume
    from dlbench.execute.tasks import is_complete
    from dlbench.host.machine import look
    from dlbench.record.baseline import find_baseline
    from dlbench.spec.suite import Suite
    from dlbench.telemetry.device import gpu_names

    try:
        # opened first: what another run is still writing is not to be read
        writer = Writer(path, append=True)
    except OSError as error:
        raise UsageError(f"--resume {path} cannot be written: {error.strerror}") from None
    with contextlib.closing(writer):
        record, given = read(path), dict(given)
        if baseline is not None:
            find_baseline(baseline, record.header.cases)
        named, folder = given.pop("suite", None), given.pop("data_dir", None)
        running = {case.backend for case in record.header.cases}
        pythons = completed(given.pop("pythons", None), running)
        weights = given.pop("init_weights", None)
        # how long to wait is about the machine as it is now, and no figure depends on it
        free = ("patience_s", "limit_s", "save_weights", "energy")
        beside = {name: given.pop(name) for name in free if name in given}
        if "data" in given:
            given["data"] = data_set_of(given["data"], record.header.data.name)
        check_given(record, given)
        if is_complete(record):
            yield record, None
            return
        suite = named if isinstance(named, Suite) else suite_of(record, named)
        about = (look(gpu_names()), paths.cache_dir(), folder, pythons, weights)
        request = request_for(record, suite, *about)
        request = dataclasses.replace(request, **beside)
        yield record, Work(request, writer, functools.partial(resume, request, record, writer))


def carry_out(
    work: Work,
    watching: contextlib.AbstractContextManager[Observer],
    say: Callable[[str], None],
    *,
    quiet: bool,
) -> Finished | None:
    """Carries something out; None where it was interrupted before anything was measured, of which no file is left.

    Parameters
    ----------
    watching : has an observer, told what goes on, as long as it lasts.
    say : told before that what disturbs the run, and after it what a reader of the record has to know.
    quiet : whether nobody wants to know what disturbs it, for which the machine is watched for a moment.

    Raises
    ------
    UsageError, DataError : it cannot be carried out; nothing was written then.
    """
    writer, path = work.writer, work.writer.path
    try:
        for warning in () if quiet else warnings_of(work.request):
            say(warning)
        with watching as observer:
            end = work.do(observer)
    finally:
        writer.close()
        # a record that was to be gone on with is not empty, though nothing was added
        empty = not writer.wrote and path.exists() and path.stat().st_size == 0
        if empty:
            path.unlink()
    if empty:
        return None
    if writer.wrote and (rescued := writer.rescued()):
        say(f"! {path} was taken away or changed while it was written; all of it is in {rescued}")
        path = rescued
    return Finished(path, read_record(path), end.status == "interrupted")
