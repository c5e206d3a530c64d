"""`dlbench list backends` and `dlbench doctor`: what can be used here, and what would change that."""

from __future__ import annotations

from pathlib import Path

import click

from dlbench import paths, plugins
from dlbench.cli import options
from dlbench.cli.exit_codes import tell
from dlbench.cli.output import answer, show_matrix
from dlbench.errors import UsageError


@click.command("backends")
@options.pythons
@click.option(
    "--matrix",
    is_flag=True,
    help="What each has of the specification, found out by asking it. Takes minutes.",
)
@click.option(
    "--backend",
    "backends",
    multiple=True,
    metavar="NAME|module:Class",
    help="With --matrix: this one; may be repeated.  [default: all that are installed]",
)
@options.how_shown(plugins.MATRICES)
@click.option(
    "--output",
    type=options.Place(dir_okay=False),
    metavar="FILE",
    help="With --matrix: file to write.  [default: stdout]",
)
def list_backends_command(
    pythons: dict[str, str],
    matrix: bool,
    backends: tuple[str, ...],
    form: str,
    output: Path | None,
) -> None:
    """The installed backends with version and devices, or why one cannot be used."""
    from dlbench.environments.lookup import everywhere

    pythons = everywhere(pythons)
    if matrix:
        from dlbench.cli.frameworks.offers import ask

        chosen = list(dict.fromkeys(backends)) or None
        found = ask(chosen, cache_dir=paths.cache_dir(), pythons=pythons, tell=tell)
        show_matrix(found, form, output)
        return
    if backends or output or form != plugins.TABLE:
        raise UsageError("--backend, --format and --output are of --matrix; add --matrix")
    from dlbench.cli.doctor import describe_backends
    from dlbench.execute.probe import look_at

    # nothing that a session observes is shown
    answer(describe_backends(look_at(open_session=False, pythons=pythons)))


@click.command("doctor")
@options.pythons
def doctor_command(pythons: dict[str, str]) -> None:
    """Examine backends, machine and data: what can be used, and what would change that."""
    from dlbench.cli.doctor import describe_backends, describe_data, describe_machine
    from dlbench.environments.lookup import everywhere
    from dlbench.execute.probe import look_at
    from dlbench.execute.readiness import describe, examine, sharing
    from dlbench.host.machine import look, usable_physical_cores
    from dlbench.telemetry.device import gpu_names
    from dlbench.telemetry.doctor import describe_telemetry
    from dlbench.telemetry.idle_check import disturbed_devices

    machine = look(gpu_names())
    answer(describe_machine(machine))
    # before the workers that look at the backends, which are load themselves
    answer(describe(examine(devices=disturbed_devices), machine.usable_cores))
    if note := sharing(machine.usable_cores, usable_physical_cores()):
        answer(f"threads {note}")
    answer(describe_telemetry())
    answer(describe_data(paths.cache_dir()))
    answer(describe_backends(look_at(pythons=everywhere(pythons)), detailed=True))
