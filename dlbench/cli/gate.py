"""The commands that judge: `dlbench compare`, and `dlbench gate`, its options and what it answers."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from dlbench import paths, plugins
from dlbench.cli import options
from dlbench.cli.exit_codes import INTERRUPTED, tell
from dlbench.cli.output import answer, show_verdicts
from dlbench.errors import UsageError

if TYPE_CHECKING:
    from dlbench.gate.request import Observe, Options
    from dlbench.gate.schema import Record
    from dlbench.record.file import Writer

_FILE = options.Place(exists=True, dir_okay=False)
_HOW_TOLD = {"report", "waive", "inconclusive", "form", "quiet"}


@click.command("compare")
@click.argument("base", type=options.Place(exists=True, dir_okay=False))
@click.argument("new", type=options.Place(exists=True, dir_okay=False))
@click.option(
    "--threshold",
    callback=options.percent,
    metavar="PERCENT",
    default="5%",
    show_default=True,
    help="The smallest difference that counts.",
)
@click.option(
    "--explain",
    "explained",
    is_flag=True,
    help="Say in which layers slower cases are slower, by the profiles of both records (dlbench run --profile).",
)
@options.how_shown(plugins.VERDICTS)
def compare_command(base: Path, new: Path, threshold: float, explained: bool, form: str) -> int:
    """Judge the cases of the record NEW against those of BASE: slower, faster, same, or not to be
    told. Files of pytest-benchmark are read too.

    Exits with 0 when no case is slower, 1 when one is, 3 when that cannot be told, 4 when nothing
    was measured on both sides.
    """
    from dlbench.compare.judge import compare, read_side

    verdicts = compare(read_side(base), read_side(new), threshold)
    if explained:
        from dlbench.api.reading import read_all
        from dlbench.compare.slower_layers import layers_of, with_layers

        old, now = ([record for _, record in read_all(path)] for path in (base, new))
        verdicts = with_layers(verdicts, layers_of(verdicts, old, now))
    show_verdicts(verdicts, form)
    return verdicts.exit_code


@click.command("gate")
@click.option("--base", metavar="COMMIT", help="Compare this commit with the working tree.")
@click.option(
    "--base-python",
    type=options.Place(dir_okay=False),
    metavar="PATH",
    help="Compare what this interpreter has installed …",
)
@click.option(
    "--new-python",
    type=options.Place(dir_okay=False),
    metavar="PATH",
    help="… with what this one has; the code is the same.",
)
@click.option(
    "--setup",
    metavar="COMMAND",
    help="Builds a checkout, in which it is run, into the folder $DLBENCH_TARGET, in place of pip.",
)
@click.option(
    "--suite", default="ci", metavar="NAME|FILE.toml", show_default=True, help="What to time."
)
@options.selection(modes="its own", backends=("numpy",), devices=("cpu",))
@click.option(
    "--threads",
    type=click.IntRange(1, 65_536),
    default=1,
    show_default=True,
    help="CPU threads; one is the least noisy.",
)
@options.source
@click.option(
    "--threshold",
    callback=options.percent,
    metavar="PERCENT",
    default="3%",
    show_default=True,
    help="The smallest slowdown worth failing. On a quiet machine one of just this size fails about 2 times in"
    " 3, one of 5/3 of it nearly always, the same code hardly ever; --calibrate tells what this machine allows.",
)
@click.option(
    "--budget",
    "budget_s",
    metavar="SECONDS",
    type=float,
    callback=options.positive,
    help="Time for all of it, building too; what is undecided at its end is inconclusive.  [default: 60 a case;"
    " 600 with --calibrate]",
)
@click.option(
    "--inconclusive",
    type=click.Choice(["fail", "pass"]),
    default="fail",
    show_default=True,
    help="Whether a case that cannot be told ends in exit code 3 or 0.",
)
@click.option(
    "--waive",
    cls=options.Renamed,
    former=("--accept",),
    multiple=True,
    metavar="slower:CASE=REASON",
    help="Let a known slowdown pass, or a case that is no longer there (missing:CASE=REASON); repeatable.",
)
@click.option(
    "--explain",
    "explains",
    is_flag=True,
    help="Say in which layers a slower case is slower: both versions are profiled after the verdict, which takes about"
    " a minute a case on top of the budget.",
)
@click.option(
    "--calibrate",
    is_flag=True,
    help="Time the same code again and again: what can this machine tell?",
)
@click.option(
    "--report", type=_FILE, metavar="FILE.jsonl", help="Tell an earlier gate's verdicts again."
)
@options.timeout
@options.how_shown(plugins.VERDICTS)
@options.where
def gate_command(
    output: Path | None,
    form: str,
    quiet: bool,
    inconclusive: str,
    calibrate: bool,
    report: Path | None,
    **words: Any,
) -> int:
    """Is the working tree slower than a commit, or one environment than another, by more than is
    tolerated? Pairs of fresh processes, one of each version, are timed until that is decided.

    Exits with 0 passed, 1 slower, 2 usage, 3 it cannot be told, 4 a case failed or nothing was measured.
    """
    from dlbench.api.carrying_out import new_record, refuse_existing
    from dlbench.cli.gate_progress import progress
    from dlbench.gate.build import leave_hook
    from dlbench.gate.request import Options, earlier, gate
    from dlbench.gate.schema import Beside
    from dlbench.gate.verdicts import verdicts
    from dlbench.gate.waivers import read_waived, waived_by

    waived: dict[str, str] = {}
    if report is not None:
        _refuse_what_was_fixed(click.get_current_context())
        found = earlier(report)
        if found.header.calibration:
            return _tell_calibration(found)
        beside = (line.case for line in found.lines if isinstance(line, Beside))
        waived = waived_by(read_waived(words["waive"]), found.header.cases, beside)
    else:
        leave_hook()
        wanted = Options(cache_dir=paths.cache_dir(), folder=Path.cwd(), **words)
        observe = functools.partial(progress, sys.stderr, quiet=quiet)
        refuse_existing(output)
        create = functools.partial(new_record, output, "gate")
        if calibrate:
            return _calibrate(wanted, create, form, observe)
        path = gate(wanted, create, observe)
        found = earlier(path)
        if _interrupted(found, path):
            return INTERRUPTED
    judged = verdicts(found, waived, inconclusive_passes=inconclusive == "pass")
    show_verdicts(judged, form)
    return judged.exit_code


def _refuse_what_was_fixed(context: click.Context) -> None:
    """An earlier gate is told as it was made.

    Raises
    ------
    UsageError : an option that would have changed it.
    """
    for option in context.command.get_params(context):
        given = context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE
        if given and option.name not in _HOW_TOLD:
            raise UsageError(
                f"--report tells an earlier gate again, which {option.opts[0]} cannot change any more"
            )


def _calibrate(wanted: Options, create: Callable[[], Writer], form: str, observe: Observe) -> int:
    from dlbench.gate.request import earlier, record_noise

    if wanted.base or wanted.base_python or wanted.new_python or wanted.waive or wanted.setup:
        raise UsageError("--calibrate times the code that is installed; it compares nothing")
    if form != "table":
        raise UsageError(f"--calibrate prints a table; it has no --format {form}")
    path = record_noise(wanted, create, observe)
    found = earlier(path)
    return INTERRUPTED if _interrupted(found, path) else _tell_calibration(found)


def _tell_calibration(found: Record) -> int:
    from dlbench.gate.calibration import calibrate, describe

    answer(describe(calibrate(found)))
    return 0


def _interrupted(found: Record, path: Path) -> bool:
    if found.end is None or found.end.status != "interrupted":
        return False
    tell(f"interrupted; what was measured is kept; to see: dlbench gate --report {path}")
    return True
