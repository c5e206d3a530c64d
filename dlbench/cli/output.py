"""Shows results on stdout, in the format that was asked for: with `cli` and `ending` the only place that prints."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dlbench import plugins
from dlbench.cli.exit_codes import tell
from dlbench.errors import UsageError
from dlbench.text import printable

if TYPE_CHECKING:
    from dlbench.analyse.table import ColdStart
    from dlbench.compare.verdicts import Verdicts
    from dlbench.history.series import History
    from dlbench.plan.matrix import Matrix
    from dlbench.profile.explanation import Explanation
    from dlbench.record.schema import Record
    from dlbench.tuning.points import Swept
    from dlbench.tuning.search import Tuned


PAGE = "html"
"""The word of ``--format`` for the page."""
TRACE = "trace"
"""The word of ``--format`` for trace events."""


def show(
    records: Sequence[tuple[str, Record]],
    form: str,
    baseline: str | None = None,
    cold_start: ColdStart | None = None,
    output: Path | None = None,
    over_time: tuple[History, Collection[str]] | None = None,
    *,
    by_class: bool = False,
) -> None:
    """Records, by the names that the user gave them, on stdout or in a file; a page may have a history of their cases,
    given with the digests of the records."""
    from dlbench.analyse.table import build

    report = build(records, baseline, cold_start, by_class)
    if over_time is not None:
        _put(plugins.load_reporter(form).with_history(report, *over_time), output)
        return
    if output is None:
        _print(plugins.REPORTS, form, report)
        return
    _put(plugins.text_of(report, form, width=_FILE_COLUMNS), output)


def write_chart(
    records: Sequence[tuple[str, Record]],
    chart: str,
    output: Path | None,
    baseline: str | None,
    cold_start: ColdStart | None,
) -> None:
    """A chart of records in a file, whose name says which form it has.

    Raises
    ------
    UsageError : no file is named, or none of a form that charts have; there is nothing to draw.
    """
    from dlbench.analyse.table import build

    form = "" if output is None else output.suffix.removeprefix(".").lower()
    if output is None or form not in ("svg", "png"):
        raise UsageError(f"--chart {chart}: name a file with --output that ends with .svg or .png")
    draw = plugins.load_reporter(chart, plugins.CHARTS)
    _write(output, draw(build(records, baseline, cold_start), form))


def check_page(page: Path) -> None:
    """Refuses, before anything is begun, a page that could not be written.

    Raises
    ------
    UsageError : its folder is not there.
    DlbenchError : what draws its charts is not installed.
    """
    check_folder("--html", page)
    plugins.load_reporter(PAGE).require()


def check_folder(option: str, file: Path) -> None:
    """Refuses, before anything is begun, a file that an option names and that could not be written.

    Raises
    ------
    UsageError : its folder is not there.
    """
    if not file.absolute().parent.is_dir():
        raise UsageError(f"{option} {file}: there is no folder {file.parent}")


def _write(output: Path, contents: bytes) -> None:
    try:
        output.write_bytes(contents)
    except OSError as error:
        raise UsageError(f"--output {output} cannot be written: {error.strerror}") from None
    tell(f"wrote {output}")


_FILE_COLUMNS = 160
"""The width of a table that is written into a file."""


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


def show_history(history: History, form: str, output: Path | None = None) -> None:
    """Series over time, on stdout or in a file."""
    if output is None:
        _print(plugins.HISTORIES, form, history)
        return
    _put(plugins.text_of(history, form, plugins.HISTORIES, _FILE_COLUMNS), output)


def _put(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=False)
    else:
        _write(output, text.encode("utf-8", "replace"))


def show_explanations(found: Sequence[Explanation], form: str) -> None:
    """Why rows differ, on stdout."""
    _print(plugins.EXPLANATIONS, form, found)


def show_points(found: Swept | Tuned, form: str) -> None:
    """A suite at many points, on stdout."""
    _print(plugins.POINTS, form, found)


def show_matrix(found: Matrix, form: str, output: Path | None) -> None:
    """What each backend has, on stdout or in a file."""
    if output is None:
        _print(plugins.MATRICES, form, found)
        return
    text = plugins.text_of(found, form, plugins.MATRICES, _FILE_COLUMNS)
    _write(output, text.encode("utf-8"))


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
