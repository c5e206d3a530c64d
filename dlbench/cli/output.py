"""Shows results on stdout, in the format that was asked for: with `cli` and `ending` the only place that prints."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dlbench import plugins
from dlbench.cli import options
from dlbench.cli.exit_codes import tell
from dlbench.errors import DlbenchError, UsageError
from dlbench.text import printable

if TYPE_CHECKING:
    from dlbench.analyse.table import ColdStart
    from dlbench.compare.verdicts import Verdicts
    from dlbench.history.series import History
    from dlbench.profile.explanation import Explanation
    from dlbench.record.schema import Record


def read(path: Path) -> Record:
    """The record of a file; a mistake in it is one of the words that named it."""
    from dlbench.record.file import read_record

    with _usage(path):
        return read_record(path)


def read_all(path: Path) -> list[tuple[str, Record]]:
    """Every record of a file, without what no report shows, by the names that reports give them; errors as for
    `read`."""
    from dlbench.record.collection import named
    from dlbench.record.compact import brief

    with _usage(path):
        return named(path, brief)


@contextlib.contextmanager
def _usage(path: Path) -> Iterator[None]:
    try:
        yield
    except DlbenchError as error:
        from dlbench.gate.schema import is_one

        if is_one(path):
            text = f"{path} is the record of a gate; see: dlbench gate --report {path}"
            raise UsageError(text) from None
        raise UsageError(str(error)) from None


def show(
    records: Sequence[tuple[str, Record]],
    form: str,
    baseline: str | None = None,
    cold_start: ColdStart | None = None,
) -> None:
    """Records, by the names that the user gave them, on stdout."""
    from dlbench.analyse.table import build

    _print(plugins.REPORTS, form, build(records, baseline, cold_start))


def show_verdicts(verdicts: Verdicts, form: str) -> None:
    """On stdout, and in a GitHub Actions job on its summary page too."""
    from dlbench.cli import job_summary

    _print(plugins.VERDICTS, form, verdicts)
    if job_summary.wanted():
        try:
            job_summary.append(plugins.load_reporter("markdown", plugins.VERDICTS)(verdicts))
        except OSError as error:
            # a page that cannot be written changes no verdict
            tell(f"! {job_summary.VARIABLE} {error.filename}: {error.strerror}")


def show_history(history: History, form: str) -> None:
    """Series over time, on stdout."""
    _print(plugins.HISTORIES, form, history)


def show_explanations(found: Sequence[Explanation], form: str) -> None:
    """Why rows differ, on stdout."""
    _print(plugins.EXPLANATIONS, form, found)


def _print(group: str, form: str, what: Any) -> None:
    """As a word of ``--format`` says, to a terminal in its width and in colours."""
    import shutil

    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size((120, 24)).columns
    colour = terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    render = plugins.load_reporter(options.reporter(form), group)
    click.echo(render(what, width=width, colour=colour), nl=False, color=colour)


def answer(text: str) -> None:
    """What was asked for, on stdout; what it quotes acts on no terminal."""
    click.echo(printable(text, "\n\t"))
