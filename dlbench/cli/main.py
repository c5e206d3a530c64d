"""The command line: reads words, calls the core, writes answers to stdout and words for people to
stderr.

Nothing here measures or judges. What is heavy is imported by the command that needs it, so that
``--help`` answers at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

import dlbench
from dlbench import paths, plugins
from dlbench.cli import options
from dlbench.cli.exit_codes import INTERRUPTED, Root, exit_code, tell
from dlbench.cli.frameworks.environments import environments_group
from dlbench.cli.frameworks.export import export_command
from dlbench.cli.frameworks.import_torch import import_command
from dlbench.cli.frameworks.looking import doctor_command, list_backends_command
from dlbench.cli.frameworks.portability import portability_command
from dlbench.cli.gate import compare_command, gate_command
from dlbench.cli.history import history_group, history_of
from dlbench.cli.machines.merge import merge_command
from dlbench.cli.machines.submit import submit_command
from dlbench.cli.option_types import weights_files
from dlbench.cli.output import (
    PAGE,
    answer,
    check_page,
    show,
    write_chart,
)
from dlbench.cli.process import signals, streams
from dlbench.cli.profile import explain_command, profile_beside, profile_command
from dlbench.cli.run import resume_record, run_request, say_plan
from dlbench.cli.varying.grid import run_sweep
from dlbench.cli.varying.prune import prune_command
from dlbench.cli.varying.swept import Sweep, sweep, with_swept
from dlbench.cli.varying.tune import tune_command
from dlbench.data.fetch import COLLECTIONS
from dlbench.errors import UsageError


@click.group(
    cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(dlbench.__version__, prog_name="dlbench")
def cli() -> None:
    """How fast does this CNN train and infer on each backend, and is it really the same
    computation?"""


@cli.command("run")
@options.what
@weights_files.init_weights
@weights_files.save_weights
@options.pythons
@options.budget
@options.rounds
@click.option(
    "--target-interval",
    metavar="PERCENT",
    callback=options.percent,
    help="Aim at intervals this narrow (±): the first six rounds say how many more.",
)
@options.max_wait
@options.timeout
@click.option(
    "--epochs",
    type=click.IntRange(min=0),
    default=0,
    help="Train this long too: final loss and accuracy.",
)
@options.target
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Of --scenario converge: trainings to --target, of other weights and batches each.",
)
@click.option(
    "--sweep",
    "swept",
    multiple=True,
    metavar="NAME=VALUE,…",
    callback=sweep,
    help="Run these batch sizes (batch=8,64), and say from which on a row beats the baseline; or the suite with each of"
    " these values of threads, seed, or a field like training.optimizer.learning_rate (repeatable: a grid).",
)
@click.option(
    "--resume",
    "resumed",
    type=options.Place(exists=True, dir_okay=False),
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
@click.option(
    "--best",
    is_flag=True,
    help="Try every mode briefly, and measure in full the fastest of each backend that is right.",
)
@options.served
@options.shard
@profile_beside
@options.against
@options.how_shown()
@options.where
@click.option(
    "--html",
    "page",
    type=options.Place(dir_okay=False),
    metavar="FILE",
    help="Write the report as one page too.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be run, and how long it would take.")
def run_command(
    output: Path | None,
    form: str,
    quiet: bool,
    dry_run: bool,
    resumed: Path | None,
    swept: Sweep,
    baseline: str | None,
    page: Path | None,
    **chosen: Any,
) -> int:
    """Verify and time the cases of a suite on every backend."""
    from dlbench.api.asking import request_of

    chosen = options.loaded(chosen)
    if swept.words:
        if resumed is not None or page is not None:
            other = "--html" if resumed is None else "--resume"
            raise UsageError(f"--sweep {swept.words[0]} makes several records; leave out {other}")
        if chosen["save_weights"] is not None:
            raise UsageError(
                f"--sweep {swept.words[0]} trains several times; leave out --save-weights"
            )
        request = request_of(baseline=baseline, **chosen)
        return run_sweep(request, swept.words, output, form, quiet=quiet, dry_run=dry_run)
    if page is not None:
        check_page(page)
    chosen = with_swept(chosen, swept.selections)
    if resumed is not None:
        if output is not None or dry_run:
            other = "--dry-run" if output is None else "--output"
            raise UsageError(f"--resume goes on with a record as it is; leave out {other}")
        if not resumed.stat().st_size:
            # killed before it had written a line: there is nothing to go on from but the options
            request = request_of(baseline=baseline, **chosen)
            return run_request(request, resumed, form, quiet, page)
        given = options.given(chosen) | swept.selections
        return resume_record(resumed, given, form, quiet, baseline, page)
    request = request_of(baseline=baseline, **chosen)
    if dry_run:
        return say_plan(request, quiet)
    return run_request(request, output, form, quiet, page)


@cli.command("verify")
@options.what
@weights_files.init_weights
@options.pythons
@options.timeout
@options.how_shown()
@options.where
def verify_command(output: Path | None, form: str, quiet: bool, **chosen: Any) -> int:
    """Hold every backend against the float64 oracle, and time nothing."""
    from dlbench.api.asking import request_of

    return run_request(request_of(rounds=0, **chosen), output, form, quiet)


@cli.command("conformance")
@click.argument("backend")
@click.option("--device", default="cpu", metavar="KIND[:N|:UUID]", show_default=True)
@click.option("--mode", default="", metavar="WORD", help="[default: the backend's own]")
@click.option("--precision", default="fp32", metavar="WORD", show_default=True)
@click.option("--threads", type=click.IntRange(1, 65_536), default=1, show_default=True)
@click.option(
    "--networks",
    type=click.IntRange(0, 10_000),
    default=20,
    show_default=True,
    help="Random networks, besides every layer, loss and optimizer.",
)
@click.option(
    "--seed",
    type=click.IntRange(-(2**63), 2**63 - 1),
    default=0,
    show_default=True,
    help="First random network.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="GROUP[:TRIAL]",
    help="Only these trials, like layer:max_pool or optimizer (repeatable, * stands for anything).",
)
@click.option("--fail-fast", is_flag=True, help="Stop at the first trial that fails.")
@click.option("--verbose", is_flag=True, help="The largest error of each trial too.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
)
@options.pythons
@options.timeout
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def conformance_command(quiet: bool, verbose: bool, form: str, **chosen: Any) -> int:
    """Hold an adapter, NAME or module:Class, against the oracle in everything the spec has."""
    from dlbench.cli.conformance import Request, as_table, describe, hold
    from dlbench.environments.lookup import completed
    from dlbench.text import why

    chosen["pythons"] = completed(chosen["pythons"], [chosen["backend"]])
    request = Request(cache_dir=paths.cache_dir(), **chosen)
    held = hold(request, (lambda text: None) if quiet else tell)
    if held.output:
        tell(held.output)
    if held.trouble is not None:
        tell(f"{request.backend}: {why(held.trouble.reason, held.trouble.remedy)}")
        return exit_code([held.trouble.status])
    if form == "json":
        answer(json.dumps(as_table(request, held), indent=2))
    else:
        answer(describe(request, held, verbose=verbose))
    if held.interrupted:
        return INTERRUPTED
    if held.failed:
        return exit_code(["unverified"])
    return exit_code(["skipped" if all(v.refused for v in held.verdicts) else "ok"])


@cli.command("new-backend")
@click.argument("name")
@click.option("--functional", is_flag=True, help="In functional style: pure functions, compiled.")
def new_backend_command(name: str, functional: bool) -> None:
    """Write NAME.py here, to begin a backend of your own with: it runs, and refuses what it lacks."""
    from dlbench.cli.new_backend import write_start

    answer(str(write_start(name, functional, Path())))
    tell(f"next: dlbench conformance {name}:Adapter --networks 0")


@cli.command("report")
@click.argument("files", nargs=-1, required=True, type=options.Place(exists=True, dir_okay=False))
@options.against
@options.cold_start
@click.option(
    "--by-class",
    is_flag=True,
    help="Show of each training what was taken for which class, too.",
)
@options.how_shown()
@click.option(
    "--chart",
    type=options.Format(plugins.CHARTS),
    help="Draw this chart into --output, in place of a table.",
)
@click.option(
    "--output",
    type=options.Place(dir_okay=False),
    metavar="FILE",
    help="File to write; a chart's ends with .svg or .png.  [default: stdout]",
)
@click.option(
    "--database",
    type=options.Database(dir_okay=False),
    metavar="FILE|URL",
    help="With --format html: this history of the same cases too, over time.",
)
def report_command(
    files: Sequence[Path],
    form: str,
    baseline: str | None,
    cold_start: bool,
    by_class: bool,
    against: str | None,
    chart: str | None,
    output: Path | None,
    database: Path | str | None,
) -> int:
    """Show the records of earlier runs again; several stand side by side and are never pooled."""
    if against is not None and not (cold_start or chart or form == "html"):
        raise UsageError("--cold-start-baseline is the row of --cold-start; add --cold-start")
    if database is not None and (chart is not None or form != PAGE):
        raise UsageError("--database puts a history into the page; add --format html")
    from dlbench.analyse.table import ColdStart
    from dlbench.api.reading import read_all

    records = [each for path in dict.fromkeys(files) for each in read_all(path)]
    ledger = ColdStart(against) if cold_start or against is not None else None
    if chart is not None:
        write_chart(records, chart, output, baseline, ledger)
        return 0
    over_time = None if database is None else history_of(files, database)
    show(records, form, baseline, ledger, output, over_time, by_class=by_class)
    return 0


@cli.group("list")
def list_group() -> None:
    """Name the suites or the backends there are."""


@list_group.command("suites")
def list_suites_command() -> None:
    """The suites that ship with dlbench; --suite takes a TOML file of your own as well."""
    from dlbench.cli.doctor import describe_suites

    answer(describe_suites())


list_group.add_command(list_backends_command)
cli.add_command(doctor_command)


@cli.group("data")
def data_group() -> None:
    """Get data sets."""


@data_group.command("fetch")
@click.argument("name", type=click.Choice(list(COLLECTIONS)))
def fetch_command(name: str) -> None:
    """Download a data set into the cache, where every run finds it."""
    from dlbench.cli.progress import download_progress
    from dlbench.data.fetch import fetch

    with download_progress(sys.stderr) as on_progress:
        files = fetch(name, cache_dir=paths.cache_dir(), on_progress=on_progress)
    for path in files:
        answer(str(path))


for _command in (
    history_group,
    merge_command,
    submit_command,
    compare_command,
    profile_command,
    prune_command,
    tune_command,
    explain_command,
    gate_command,
    export_command,
    import_command,
    portability_command,
    environments_group,
):
    cli.add_command(_command)


def main() -> None:
    """The program ``dlbench``."""
    streams.outlive_readers()
    signals.take()
    cli()
