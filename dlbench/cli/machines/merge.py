"""The command that makes one record of the shards of a run, or of its runs on several machines."""

from __future__ import annotations

from pathlib import Path

import click

from dlbench.cli import options
from dlbench.cli.exit_codes import tell
from dlbench.cli.output import show
from dlbench.errors import UsageError


@click.command("merge")
@click.argument("records", nargs=-1, required=True, type=options.Place(exists=True, dir_okay=False))
@click.option(
    "--output",
    type=options.Place(dir_okay=False),
    metavar="FILE.jsonl",
    required=True,
    help="The record that is made of them.",
)
@options.against
@options.how_shown()
def merge_command(records: tuple[Path, ...], output: Path, form: str, baseline: str | None) -> int:
    """Make one record of RECORDS: the shards of a run, or the same run on several machines."""
    from dlbench.api.carrying_out import refuse_existing
    from dlbench.api.reading import read
    from dlbench.record import merge
    from dlbench.text import plural

    refuse_existing(output)
    merged = merge.merge(records)
    try:
        merge.write(merged.lines, output)
    except OSError as error:
        raise UsageError(f"--output {output} cannot be written: {error.strerror}") from None
    tell(f"{plural(merged.parts, 'part')} of {plural(merged.nodes, 'machine')}: {output}")
    if merged.twice:
        tell(f"{plural(merged.twice, 'round')} measured more than once, taken once")
    for path in merged.empty:
        tell(f"! {path}: nothing was written in it")
    for batch, rounds in merged.lacking.items():
        tell(f"! batch {batch}: {plural(rounds, 'round')} in none of these records")
    show([(str(output), read(output))], form, baseline)
    return 0
