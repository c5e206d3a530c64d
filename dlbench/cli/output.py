"""Shows results on stdout, in the format that was asked for: with `cli` and `ending` the only place that prints."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from dlbench import plugins
from dlbench.cli.exit_codes import tell
from dlbench.text import printable

if TYPE_CHECKING:
    from dlbench.analyse.table import ColdStart
    from dlbench.compare.verdicts import Verdicts
    from dlbench.history.series import History
    from dlbench.profile.explanation import Explanation
    from dlbench.record.schema import Record


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
    click.echo(plugins.text_of(what, form, group, width, colour=colour), nl=False, color=colour)


def answer(text: str) -> None:
    """What was asked for, on stdout; what it quotes acts on no terminal."""
    click.echo(printable(text, "\n\t"))
