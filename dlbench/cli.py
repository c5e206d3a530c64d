"""The command line: reads words, calls the core, writes answers to stdout and words for people to
stderr.

Nothing here measures or judges. What is heavy is imported by the command that needs it, so that
``--help`` answers at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import dlbench
from dlbench import options
from dlbench.ending import INTERRUPTED, NOTHING, Root, exit_code, tell
from dlbench.errors import DlbenchError, UsageError

if TYPE_CHECKING:
    from dlbench.plan import Request
    from dlbench.record import End, Record, Writer


@click.group(
    cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(dlbench.__version__, prog_name="dlbench")
def cli() -> None:
    """How fast does this CNN train and infer on each backend, and is it really the same
    computation?"""


@cli.command("run")
@options.what
@click.option(
    "--budget",
    "budget_s",
    metavar="SECONDS",
    type=float,
    callback=options.positive,
    default=12.0,
    show_default=True,
    help="Time for sampling, in all.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Fresh processes a case.",
)
@click.option(
    "--target-interval",
    metavar="PERCENT",
    callback=options.share,
    help="Go on until every interval is this narrow (±), or the budget ends; six rounds or more.",
)
@click.option(
    "--patience",
    "patience_s",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=12.0,
    show_default=True,
    envvar="DLBENCH_PATIENCE",
    show_envvar=True,
    help="Time to wait, in all, for a machine that others use.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=0),
    default=0,
    help="Train this long too: final loss and accuracy.",
)
@click.option(
    "--sweep",
    "swept",
    metavar="batch=N,N,…",
    callback=options.sweep,
    help="Run these batch sizes, and say from which on a row beats the baseline.",
)
@click.option(
    "--resume",
    "resumed",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.jsonl",
    help="Measure only what this record lacks; everything else is as it says.",
)
@click.option(
    "--telemetry-period",
    "telemetry_period_s",
    metavar="TIME|off",
    callback=options.period_s,
    default="50ms",
    show_default=True,
    help="Time between samples of GPU and host beside the timing.",
)
@options.against
@options.how_shown
@options.where
@click.option("--dry-run", is_flag=True, help="Say what would be run, and how long it would take.")
def run_command(
    output: Path | None,
    form: str,
    quiet: bool,
    dry_run: bool,
    resumed: Path | None,
    swept: dict[str, tuple[int, ...]],
    baseline: str | None,
    **chosen: Any,
) -> int:
    """Verify and time the cases of a suite on every backend."""
    if resumed is not None:
        if output is not None or dry_run:
            other = "--dry-run" if output is None else "--output"
            raise UsageError(f"--resume goes on with a record as it is; leave out {other}")
        given = options.given(options.swept(chosen, swept)) | swept
        return _resume(resumed, given, form, quiet, baseline)
    request = _request(baseline=baseline, **options.swept(chosen, swept))
    if dry_run:
        return _dry_run(request, quiet)
    return _run(request, output, form, quiet)


@cli.command("verify")
@options.what
@options.how_shown
@options.where
def verify_command(output: Path | None, form: str, quiet: bool, **chosen: Any) -> int:
    """Hold every backend against the float64 oracle, and time nothing."""
    return _run(_request(rounds=0, **chosen), output, form, quiet)


@cli.command("conformance")
@click.argument("backend")
@click.option("--device", default="cpu", metavar="cpu|cuda[:N|:UUID]", show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--networks",
    type=click.IntRange(min=0),
    default=20,
    show_default=True,
    help="Random networks, besides every layer, loss and optimizer.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="First random network.")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def conformance_command(quiet: bool, **chosen: Any) -> int:
    """Hold an adapter, NAME or module:Class, against the oracle in everything the spec has."""
    from dlbench.conformance import Request, describe, failed, hold
    from dlbench.wording import why

    request = Request(cache_dir=options.cache_dir(), **chosen)
    ended = hold(request, (lambda phase: None) if quiet else tell)
    if ended.status != "ok":
        tell(f"{request.backend}: {why(ended.reason, ended.remedy)}\n{ended.output}".rstrip())
        return exit_code([ended.status])
    verdicts = ended.result["verdicts"]
    _answer(describe(request, verdicts))
    if any(failed(verdict) for verdict in verdicts):
        return exit_code(["unverified"])
    return exit_code(["skipped" if all(v["refused"] for v in verdicts) else "ok"])


@cli.command("report")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@options.against
@options.how_shown
def report_command(files: Sequence[Path], form: str, baseline: str | None) -> int:
    """Show the records of earlier runs again; several stand side by side and are never pooled."""
    from dlbench.records import named

    try:
        records = [each for path in dict.fromkeys(files) for each in named(path)]
    except DlbenchError as error:
        raise UsageError(str(error)) from None
    _show(records, form, baseline)
    return 0


@cli.group("list")
def list_group() -> None:
    """Name the suites or the backends there are."""


@list_group.command("suites")
def list_suites_command() -> None:
    """The suites that ship with dlbench; --suite takes a TOML file of your own as well."""
    from dlbench.doctor import describe_suites

    _answer(describe_suites())


@list_group.command("backends")
def list_backends_command() -> None:
    """The installed backends with version and devices, or why one cannot be used."""
    from dlbench.doctor import describe_backends
    from dlbench.look import look_at

    _answer(describe_backends(look_at()))


@cli.command("doctor")
def doctor_command() -> None:
    """Examine backends, machine and data: what can be used, and what would change that."""
    from dlbench.doctor import describe_backends, describe_data, describe_machine
    from dlbench.look import look_at
    from dlbench.machine import load, look
    from dlbench.telemetry.describe import describe_telemetry

    # the load comes first: the workers that look at the backends are load themselves
    _answer(describe_machine(look(), load()))
    _answer(describe_telemetry())
    _answer(describe_data(options.cache_dir()))
    _answer(describe_backends(look_at(), detailed=True))


@cli.group("data")
def data_group() -> None:
    """Get data sets."""


@data_group.command("fetch")
@click.argument("name", type=click.Choice(["mnist", "cifar10"]))
def fetch_command(name: str) -> None:
    """Download a data set into the cache, where every run finds it."""
    from dlbench.data.fetch import fetch
    from dlbench.progress import download_progress

    with download_progress(sys.stderr) as on_progress:
        paths = fetch(name, cache_dir=options.cache_dir(), on_progress=on_progress)
    for path in paths:
        _answer(str(path))


def main() -> None:
    """The program ``dlbench``."""
    for stream in (sys.stdout, sys.stderr):
        # a terminal without the marks ✓ and × shows ? for them, which is better than no answer
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    for number in (signal.SIGTERM, signal.SIGHUP):
        # a job that is cancelled, or a terminal that is closed, ends a run like Ctrl-C: nothing is lost
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    cli()


def _request(suite: str, data: str | None, **chosen: Any) -> Request:
    from dlbench.machine import look
    from dlbench.plan import Request
    from dlbench.spec.suite import load_suite

    loaded = load_suite(suite)
    return Request(
        suite=loaded,
        machine=look(),
        cache_dir=options.cache_dir(),
        data=options.data_name(data, loaded.data.name),
        **chosen,
    )


def _run(request: Request, output: Path | None, form: str, quiet: bool) -> int:
    from dlbench.record import Writer
    from dlbench.runner import run

    path = output or options.default_output(request.suite.name)
    if path.exists():
        raise UsageError(f"--output {path} exists already, and a record is never overwritten")
    try:
        writer = Writer(path)
    except OSError as error:
        raise UsageError(f"--output {path} cannot be written: {error.strerror}") from None
    work = functools.partial(run, request, writer)
    return _carry_out(work, writer, form, quiet, request.baseline)


def _resume(path: Path, given: dict[str, Any], form: str, quiet: bool, baseline: str | None) -> int:
    from dlbench.baseline import check_baseline
    from dlbench.machine import look
    from dlbench.outcome import outcomes
    from dlbench.record import Writer, read_record
    from dlbench.resume import check_given, is_complete, request_for, suite_of
    from dlbench.runner import resume

    try:
        # opened first: what another run is still writing is not to be read
        writer = Writer(path, append=True)
    except OSError as error:
        raise UsageError(f"--resume {path} cannot be written: {error.strerror}") from None
    with contextlib.closing(writer):
        try:
            record = read_record(path)
        except DlbenchError as error:
            raise UsageError(str(error)) from None
        if baseline is not None:
            check_baseline(baseline, record.header.cases)
        named, folder = given.pop("suite", None), given.pop("data_dir", None)
        beside = {
            name: given.pop(name) for name in ("patience_s", "telemetry_period_s") if name in given
        }
        if "data" in given:
            given["data"] = options.data_name(given["data"], record.header.data.name)
        check_given(record, given)
        if is_complete(record):
            tell(f"nothing is missing in {path}")
            _show([(str(path), record)], form, baseline)
            return exit_code(outcome.status for outcome in outcomes(record))
        suite = suite_of(record, named)
        request = request_for(record, suite, look(), options.cache_dir(), folder)
        request = dataclasses.replace(request, **beside)
        work = functools.partial(resume, request, record, writer)
        return _carry_out(work, writer, form, quiet, baseline)


def _carry_out(
    work: Callable[..., End], writer: Writer, form: str, quiet: bool, baseline: str | None
) -> int:
    """Has a run write its record, then shows it."""
    from dlbench.outcome import outcomes
    from dlbench.progress import progress
    from dlbench.record import read_record
    from dlbench.wording import plural

    path = writer.path
    try:
        if not quiet:
            _warn_if_busy()
        with progress(sys.stderr, quiet=quiet) as observer:
            end = work(observer)
    finally:
        writer.close()
        empty = path.stat().st_size == 0
        if empty:
            path.unlink()
    if empty:
        tell("interrupted before anything was measured")
        return INTERRUPTED
    record = read_record(path)
    found = outcomes(record)
    if end.status == "interrupted":
        kept = plural(sum(bool(outcome.medians_s) for outcome in found), "case")
        tell(
            f"interrupted; {kept} measured so far and kept; to see: dlbench report {path};"
            f" to go on: dlbench run --resume {path}"
        )
        return INTERRUPTED
    _show([(str(path), record)], form, baseline)
    return exit_code(outcome.status for outcome in found)


def _warn_if_busy() -> None:
    from dlbench.machine import load

    now = load(0.3)
    if now.is_busy:
        tell(
            f"! {now.busy_cores:.1f} of {now.cores} cores are in use by something else:"
            " timings taken now are disturbed"
        )


def _dry_run(request: Request, quiet: bool) -> int:
    from dlbench.doctor import describe_plan
    from dlbench.progress import progress
    from dlbench.runner import plan_run

    with progress(sys.stderr, quiet=quiet) as observer:
        planned = plan_run(request, observer)
    _answer(describe_plan(planned.cases, planned.problems, planned.estimate_s))
    return 0 if set(planned.cases) - set(planned.problems) else NOTHING


def _show(records: Sequence[tuple[str, Record]], form: str, baseline: str | None = None) -> None:
    import shutil

    from dlbench.plugins import load_reporter
    from dlbench.table import build

    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size((120, 24)).columns
    colour = terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    render = load_reporter(options.FORMATS[form])
    report = build(records, baseline)
    click.echo(render(report, width=width, colour=colour), nl=False, color=colour)


def _answer(text: str) -> None:
    click.echo(text)
