"""`dlbench portability`: whether weights that one backend was trained to give the same on another."""

from __future__ import annotations

from typing import Any

import click

from dlbench.cli import options
from dlbench.cli.exit_codes import FAILED, NOTHING, tell
from dlbench.cli.output import answer
from dlbench.portability.forms import FORMS


@click.command("portability")
@options.what
@options.pythons
@click.option(
    "--steps",
    type=click.IntRange(1, 1_000_000),
    default=100,
    show_default=True,
    help="That each backend trains, an epoch at the most.",
)
@options.timeout
@click.option(
    "--format", "form", type=click.Choice(list(FORMS)), default="table", show_default=True
)
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def portability_command(steps: int, form: str, quiet: bool, **chosen: Any) -> int:
    """Train a short while on each backend, and run the weights on every other one."""
    from dlbench.api.carried_weights import Portability, request_to_carry
    from dlbench.portability.carrying import carry_all

    request = request_to_carry(**chosen)
    found = Portability(carry_all(request, steps, (lambda text: None) if quiet else tell))
    answer(found.report(form))
    if found.agrees is None:
        return NOTHING
    return 0 if found.agrees else FAILED
