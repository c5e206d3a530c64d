"""What dlbench finds here, told to a person: suites, backends, machine, data, and the plan of a
run.

Each function returns text; whatever cannot be used says what would change that.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlbench.data.datasets import find_words
from dlbench.data.fetch import COLLECTIONS
from dlbench.record.comparability import package_list
from dlbench.record.schema import Case, Machine
from dlbench.spec.suite import list_suites, load_suite
from dlbench.text import duration, one_line, plural, why

if TYPE_CHECKING:
    from dlbench.plan.backend_status import Found


def describe_suites() -> str:
    """A paragraph for each suite that ships with dlbench."""
    return "\n".join(_suite(name, description) for name, description in list_suites())


def _suite(name: str, description: str) -> str:
    suite = load_suite(name)
    workload, matrix = suite.workload, suite.matrix
    shape = " × ".join(map(str, workload.input_shape))
    network = f"{workload.parameter_count:,} parameters, input {shape}"
    work = f"{workload.training_flops / 1e6:,.3g} MFLOP/sample training, data {suite.data.name}"
    batches = ", ".join(map(str, matrix.batches))
    runs = f"{', '.join(matrix.scenarios)} at batch {batches} on {', '.join(matrix.backends) or 'all backends'}"
    return f"{name}: {description}\n    {network}, {work}\n    {runs}"


def describe_backends(found: Mapping[str, Found], *, detailed: bool = False) -> str:
    """A line for each backend, with its devices or the reason why it cannot be used; `detailed`
    adds what computes beneath it."""
    width = max(map(len, found), default=0)
    return "\n".join(_backend(name.ljust(width), what, detailed) for name, what in found.items())


def _backend(name: str, what: Found, detailed: bool) -> str:
    if what.status != "ok":
        mark = "–" if what.status == "skipped" else "✗"
        status = "" if what.status == "skipped" else f"{what.status.replace('_', ' ')}: "
        return f"{mark} {name}  {status}{why(what.reason, what.remedy)}"
    mode = f" ({what.mode})" if what.mode else ""
    devices = ", ".join(device.name for device in what.devices) or "no device"
    lines = [f"✓ {name}  {what.version}{mode}  {devices}"]
    if detailed:
        indent = " " * (len(name) + 4)
        lines += [
            f"{indent}{device.name}: {', '.join(filter(None, (device.description, device.uuid)))}"
            for device in what.devices
            if device.description
        ]
        lines += [f"{indent}{one_line(reason)}" for reason in what.absent.values()]
        if what.environment is not None:
            where = f"Python {what.environment.python}, {package_list(what.environment)}"
            lines.append(f"{indent}environment: {where}")
        beneath = {**what.facts, **what.libraries}
        lines += [f"{indent}{key}: {value}" for key, value in beneath.items() if key != "device"]
    return "\n".join(lines)


def describe_machine(machine: Machine) -> str:
    """CPU, memory, GPUs and system."""
    cores = [
        f"{count} {what}"
        for count, what in (
            (machine.physical_cores, "physical"),
            (machine.logical_cores, "logical"),
            (machine.usable_cores, "usable by this process"),
        )
        if count is not None
    ]
    memory = (
        "unknown" if machine.memory_bytes is None else f"{machine.memory_bytes / 2**30:.1f} GiB"
    )
    return "\n".join(
        [
            f"CPU     {machine.cpu or 'unknown'}",
            f"cores   {', '.join(cores)}",
            f"memory  {memory}",
            f"GPU     {'; '.join(machine.gpus) or 'none found'}",
            f"system  {machine.system}, Python {machine.python}",
        ]
    )


def describe_data(cache_dir: Path) -> str:
    """Which data sets are at hand."""
    real = "; ".join(f"{name} {find_words(name, cache_dir)}" for name in COLLECTIONS)
    has_digits = importlib.util.find_spec("sklearn") is not None
    digits = "found" if has_digits else "needs scikit-learn: pip install 'dlbench[data]'"
    return f"data    {real}; digits {digits}; a stand-in always"


def describe_plan(cases: Sequence[Case], problems: Mapping[Case, Found], estimate_s: float) -> str:
    """What would be run, what would not and why, and how long it would take."""
    runnable: Collection[Case] = [case for case in cases if case not in problems]
    lines = [f"  {case.label}  {plural(case.threads, 'thread')}" for case in runnable]
    lines += [
        f"– {case.label}  {why(found.reason, found.remedy)}" for case, found in problems.items()
    ]
    return "\n".join([*lines, f"{plural(len(runnable), 'case')}, about {duration(estimate_s)}"])
