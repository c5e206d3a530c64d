"""The commands that say where the time of a step goes, and why one row is faster than another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from dlbench import plugins
from dlbench.cli import options
from dlbench.cli.output import check_folder, show_explanations
from dlbench.cli.run import run_request
from dlbench.spec.scenarios import SCENARIOS

_LADDER_S = 9.0

profile_beside = click.option(
    "--profile",
    "profile_s",
    is_flag=True,
    flag_value=_LADDER_S,
    default=0.0,
    type=float,
    help="Say where the time of each row goes, too, as dlbench profile does.",
)
"""Profiles the rows of a run, too."""


@click.command("profile")
@options.what
@options.pythons
@click.option(
    "--budget",
    "profile_s",
    metavar="SECONDS",
    type=float,
    callback=options.positive,
    default=_LADDER_S,
    show_default=True,
    help="Time for the ladder of each row, if 20 rounds take as long; each 9 seconds more are a further process, with"
    " which smaller differences are told.",
)
@click.option(
    "--inside",
    "profile_inside",
    is_flag=True,
    help="Go through what residual and concat blocks hold, too.",
)
@click.option(
    "--trace",
    type=options.Place(dir_okay=False),
    help="Write trace events into this file too, which Perfetto opens (ui.perfetto.dev).",
)
@options.timeout
@options.how_shown()
@options.where
def profile_command(
    output: Path | None, form: str, quiet: bool, trace: Path | None, **chosen: Any
) -> int:
    """Say where the time of a step goes: what each layer, the loss and the optimizer take."""
    from dlbench.api.asking import request_of

    if trace is not None:
        check_folder("--trace", trace)
    return run_request(request_of(rounds=0, **chosen), output, form, quiet, trace=trace)


@click.command("explain")
@click.argument("first", metavar="ROW")
@click.argument("second", metavar="OTHER")
@click.argument("files", nargs=-1, required=True, type=options.Place(exists=True, dir_okay=False))
@click.option("--scenario", "scenarios", multiple=True, type=click.Choice(SCENARIOS))
@options.how_shown(plugins.EXPLANATIONS)
def explain_command(
    first: str, second: str, files: Sequence[Path], scenarios: Sequence[str], form: str
) -> None:
    """Say why ROW is faster or slower than OTHER: which layers, and what about them. FILES is a record of
    `dlbench profile` with both rows, or one with each."""
    from dlbench.api.reading import read_all
    from dlbench.profile.two_rows import explanations

    records = [record for path in files for _, record in read_all(path)]
    show_explanations(explanations(first, second, records, scenarios), form)
