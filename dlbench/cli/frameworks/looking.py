"""`dlbench list backends` and `dlbench doctor`: what can be used here, and what would change that."""

from __future__ import annotations

import click

from dlbench import paths
from dlbench.cli import options
from dlbench.cli.output import answer


@click.command("backends")
@options.pythons
def list_backends_command(pythons: dict[str, str]) -> None:
    """The installed backends with version and devices, or why one cannot be used."""
    from dlbench.cli.doctor import describe_backends
    from dlbench.environments.lookup import everywhere
    from dlbench.execute.probe import look_at

    answer(describe_backends(look_at(pythons=everywhere(pythons))))


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
