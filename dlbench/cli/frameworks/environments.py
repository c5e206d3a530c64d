"""`dlbench env`: environments in which backends run that are not installed beside dlbench, or in another version."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from dlbench import paths
from dlbench.cli.exit_codes import tell
from dlbench.cli.output import answer
from dlbench.errors import BackendUnavailable
from dlbench.text import one_line, plural, shortened, why

_WIDTH = 70


@click.group("env")
def environments_group() -> None:
    """Environments for backends that are not installed here, or in another version."""


@environments_group.command("create")
@click.argument("word", metavar="BACKEND[==VERSION]")
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def create_command(word: str, quiet: bool) -> None:
    """Make an environment for a backend, from the recipe that dlbench has for it.

    A run uses it by itself where the framework cannot be imported otherwise. With a version it is a row of its own,
    BACKEND@VERSION.
    """
    from rich.console import Console

    from dlbench.environments.installed import Store

    began_s = time.monotonic()
    console = Console(file=sys.stderr)
    shows = console.is_terminal and not quiet
    with console.status("") if shows else _Nothing() as status:
        step = ""

        def on_step(text: str) -> None:
            nonlocal step
            step = text
            if shows:
                status.update(one_line(text))
            elif not quiet:
                tell(text)

        def on_line(text: str) -> None:
            if shows:
                status.update(f"{one_line(step)}: {shortened(one_line(text), _WIDTH)}")

        made, is_new = Store(paths.environments_dir()).create(word, _try, on_step, on_line)
    versions = ", ".join(f"{name} {version}" for name, version in made.packages.items())
    if not quiet:
        took = f"made in {time.monotonic() - began_s:.0f} s" if is_new else "is there already"
        tell(f"{took}: Python {made.python_version}, {versions}")
    answer(made.name)


@environments_group.command("list")
def list_command() -> None:
    """The environments that there are, with what is installed there."""
    from dlbench.environments.installed import Store

    found = Store(paths.environments_dir()).all()
    if not found:
        tell("there are none; dlbench env create BACKEND makes one")
    width = max((len(each.name) for each in found), default=0)
    for each in found:
        versions = ", ".join(f"{name} {version}" for name, version in each.packages.items())
        answer(
            f"{each.name:{width}}  Python {each.python_version}, {versions}"
            f"  {each.size_bytes / 1e6:,.0f} MB"
        )


@environments_group.command("remove")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def remove_command(names: tuple[str, ...]) -> None:
    """Remove environments, by the names that list gives."""
    from dlbench.environments.installed import Store

    store = Store(paths.environments_dir())
    for name in dict.fromkeys(names):
        store.remove(name)
    tell(f"removed {plural(len(dict.fromkeys(names)), 'environment')}")


class _Nothing:
    """Stands in for a status line where none is shown."""

    def __enter__(self) -> _Nothing:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def update(self, text: str) -> None:
        """Nothing."""


def _try(name: str, python: Path) -> None:
    """Has the backend looked at there.

    Raises
    ------
    BackendUnavailable : it cannot be used.
    """
    from dlbench.execute.probe import look

    found = look(name, 1, True, paths.TIMEOUT_S, str(python))
    if found.status != "ok":
        raise BackendUnavailable(why(found.reason, found.remedy))
