"""The command that looks for the best point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dlbench import plugins
from dlbench.cli import options
from dlbench.cli.exit_codes import INTERRUPTED, NOTHING, tell
from dlbench.cli.output import show_points
from dlbench.cli.varying.watching import Watching, new_folder


@click.command("tune")
@options.what
@options.pythons
@click.option(
    "--over",
    "over",
    multiple=True,
    required=True,
    metavar="FIELD=LOW..HIGH[:log]|VALUE,…",
    help="A field of the suite, or batch, threads, mode, precision, and what it may be (repeatable).",
)
@click.option(
    "--objective",
    type=click.Choice(["accuracy", "time-to-accuracy", "rate-at-accuracy", "joules"]),
    default="accuracy",
    show_default=True,
    help="What is to be best: validation accuracy; time to --target; samples a second where it is reached; the"
    " device's energy until then.",
)
@options.target
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Length of each training, at the most.",
)
@click.option("--trials", type=click.IntRange(1, 10_000), default=20, show_default=True)
@options.max_wait
@options.timeout
@options.how_shown(plugins.POINTS)
@click.option(
    "--output",
    type=options.Place(file_okay=False),
    metavar="FOLDER",
    help="Folder for the search and its records; a search that is there goes on."
    "  [default: results/<time>-<suite>-tune]",
)
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def tune_command(
    over: tuple[str, ...],
    objective: str,
    trials: int,
    form: str,
    output: Path | None,
    quiet: bool,
    **chosen: Any,
) -> int:
    """Look for the values of fields with which a backend trains best; Optuna chooses what to try."""
    from dlbench.api.asking import request_of
    from dlbench.tuning.objective import Objective
    from dlbench.tuning.search import tune
    from dlbench.tuning.space import read_space

    space = read_space(over, ranges=True)
    wanted = Objective.read(objective, chosen["target_accuracy"])
    chosen["scenarios"] = ("train",)
    request = request_of(rounds=0, own_device=not chosen["devices"], **chosen)
    folder = output or new_folder(request.suite.name, "tune")

    def say(text: str) -> None:
        if not quiet:
            tell(text)

    try:
        found = tune(request, space, wanted, trials, folder, Watching(quiet), say)
    except KeyboardInterrupt:
        tell(f"interrupted; to go on: the same command with --output {folder}")
        return INTERRUPTED
    show_points(found, form)
    return 0 if found.best is not None else NOTHING
