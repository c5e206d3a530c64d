"""Turns every way a command can end into an exit code and at most a few lines on stderr.

0 fine, 1 some case failed or was not verified (or is slower, where two sides are compared), 2 usage,
3 a comparison cannot tell, 4 nothing was measured or dlbench itself failed, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dlbench.errors import DlbenchError, UsageError
from dlbench.text import printable, shortened

if TYPE_CHECKING:
    from dlbench.record.schema import Status

_TOLD = 4_000
"""Characters of an error at most, which may quote what somebody else wrote."""

FAILED, USAGE, NOTHING, INTERRUPTED = 1, 2, 4, 130


def exit_code(statuses: Iterable[Status]) -> int:
    """The exit code of a run whose cases have these statuses."""
    found = set(statuses)
    if found - {"ok", "skipped"}:
        return FAILED
    return 0 if "ok" in found else NOTHING


def tell(text: str) -> None:
    """Words for people, on stderr; what they quote acts on no terminal."""
    click.echo(printable(text, "\n\t"), err=True)


class Root(click.Group):
    """A group whose commands return their exit code, or None for 0, and raise what goes wrong."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Runs a command; ends the process where `standalone_mode` says so, else returns the exit
        code."""
        code = self._code(args, prog_name, complete_var, extra)
        if standalone_mode:
            sys.exit(code)
        return code

    def _code(
        self,
        args: Sequence[str] | None,
        prog_name: str | None,
        complete_var: str | None,
        extra: dict[str, Any],
    ) -> int:
        try:
            return int(super().main(args, prog_name, complete_var, False, **extra) or 0)
        except click.ClickException as error:
            tell(_usage(error))
            return USAGE
        except DlbenchError as error:
            tell(f"error: {shortened(str(error), _TOLD)}")
            return USAGE if isinstance(error, UsageError) else NOTHING
        except click.Abort:
            tell("interrupted")
            return INTERRUPTED
        except OSError as error:
            told = f"{error.filename or 'input or output'}: {error.strerror or error}"
            tell(f"error: {shortened(told, _TOLD)}")
            return NOTHING
        except MemoryError as error:
            tell(f"error: not enough memory{f': {error}' if str(error) else ''}")
            return NOTHING
        except Exception as error:
            return _defect(error)


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    if context is None or type(error).__name__ == "NoArgsIsHelpError":
        return error.format_message()
    said = shortened(error.format_message().rstrip("."), _TOLD)
    return f"error: {said}; see: {context.command_path} --help"


def _defect(error: Exception) -> int:
    if os.environ.get("DLBENCH_DEBUG"):
        tell("".join(traceback.format_exception(error)).rstrip())
    place = traceback.extract_tb(error.__traceback__)[-1]
    tell(
        f"error: dlbench itself failed: {type(error).__name__}: {shortened(str(error), _TOLD)}"
        f" ({Path(place.filename).name}, line {place.lineno});"
        " DLBENCH_DEBUG=1 in the environment shows the traceback"
    )
    return NOTHING
