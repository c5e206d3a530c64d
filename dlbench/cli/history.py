"""The commands of `dlbench history`, and what they do once their options are read."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dlbench import plugins
from dlbench.cli import options
from dlbench.cli.exit_codes import USAGE, tell
from dlbench.cli.output import answer, show_history
from dlbench.errors import DlbenchError, UsageError

if TYPE_CHECKING:
    from dlbench.history.series import History


_THERE = "is in the history already; nothing was added"


def add_records(files: Sequence[Path], database: Path | str) -> int:
    """Keeps each record by itself: what is wrong with one is told and keeps no other out. The exit code."""
    from dlbench.gate.schema import is_one
    from dlbench.history import change_points
    from dlbench.history.gates import read_judged
    from dlbench.history.rows import read_entries
    from dlbench.history.series import search
    from dlbench.history.store import Store
    from dlbench.text import plural

    refused = 0
    with Store(database, create=True) as store:
        for path in dict.fromkeys(files):
            try:
                if is_one(path):
                    digest, judged = read_judged(path)
                    new = store.add_verdicts(digest, judged)
                    of_gate = f"added, {plural(len(judged), 'verdict')}" if new else _THERE
                    answer(f"{path}: {of_gate}")
                    continue
                entries = list(read_entries(path))
            except DlbenchError as error:
                tell(f"error: {error}")
                refused += 1
                continue
            for entry in entries:
                rows = plural(len(entry.rows), "row")
                said = {
                    "added": f"added, {rows}",
                    "there": _THERE,
                    "grown": f"replaced an incomplete copy of the same run, {rows}",
                    "shorter": "a more complete copy of the same run is in the history; nothing was added",
                }
                answer(f"{path.with_name(entry.name)}: {said[store.add(entry)]}")
        if change_points.available():
            search(store)
        else:
            tell(f"change points are not looked for: {change_points.REMEDY}")
    return USAGE if refused else 0


def look_at(
    database: Path | str, words: Sequence[str], last: int | None, *, every_row: bool = False
) -> History:
    """The series with all of the words; the last rows of each as many as are asked for or, but for
    `every_row`, as fit on a page."""
    from dlbench.history.series import LATELY, view
    from dlbench.history.store import Store

    with Store(database) as store:
        return view(store, words, last if last or every_row else LATELY)


def history_of(files: Sequence[Path], database: Path | str) -> tuple[History, Collection[str]]:
    """The series of all cases of some records, and the digests of these."""
    from dlbench.history.rows import read_entries
    from dlbench.history.series import view_of
    from dlbench.history.store import Store

    entries = [entry for path in dict.fromkeys(files) for entry in read_entries(path)]
    with Store(database) as store:
        found = view_of(store, {key for entry in entries for key in entry.rows})
    return found, {entry.digest for entry in entries}


def draw(database: Path | str, words: Sequence[str], last: int | None, output: Path) -> None:
    """Writes a picture in the format that the file's name ends with."""
    from dlbench import plugins

    form = output.suffix.removeprefix(".").lower()
    if form not in ("svg", "png", "pdf"):
        raise UsageError(f"--output {output}: a picture's name ends with .svg, .png or .pdf")
    picture = plugins.load_reporter("plot", plugins.HISTORIES)(
        look_at(database, words, last, every_row=True), form
    )
    output.write_bytes(picture)


@click.group("history")
def history_group() -> None:
    """Keep records, and show how each case went over time."""


@history_group.command("add")
@click.argument("files", nargs=-1, required=True, type=options.Place(exists=True, dir_okay=False))
@options.database
def history_add_command(files: Sequence[Path], database: Path | str) -> int:
    """Put records into the history, and what gates said; one that is there already changes nothing."""
    return add_records(files, database)


@history_group.command("show")
@click.argument("words", nargs=-1)
@click.option(
    "--last",
    type=click.IntRange(1, 2**31),
    help="Rows a series.  [default: 20, in csv and html all]",
)
@options.how_shown(plugins.HISTORIES)
@click.option(
    "--output",
    type=options.Place(dir_okay=False),
    metavar="FILE",
    help="File to write.  [default: stdout]",
)
@options.database
def history_show_command(
    words: Sequence[str], last: int | None, form: str, output: Path | None, database: Path | str
) -> None:
    """List the series, or show every row of those whose description has all WORDS, like torch:cpu/train/64."""
    found = look_at(database, words, last, every_row=form in ("csv", "html"))
    show_history(found, form, output)


@history_group.command("plot")
@click.argument("words", nargs=-1)
@click.option(
    "--output",
    type=options.Place(dir_okay=False),
    default=Path("history.svg"),
    show_default=True,
    metavar="FILE.svg|png|pdf",
    help="Picture to write.",
)
@click.option("--last", type=click.IntRange(1, 2**31), help="Rows a series.  [default: all]")
@options.database
def history_plot_command(
    words: Sequence[str], output: Path, last: int | None, database: Path | str
) -> None:
    """Draw the series whose description has all WORDS over time."""
    draw(database, words, last, output)
    answer(str(output))
