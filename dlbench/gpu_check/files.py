"""Where a GPU check's record lies, which one is gone on with, and the page that is written beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import dlbench
from dlbench import plugins
from dlbench.analyse.table import build
from dlbench.gpu_check.parts import Planned
from dlbench.gpu_check.slices import is_done, records_in
from dlbench.gpu_tests import GpuTests
from dlbench.record import comparability
from dlbench.record.collection import named
from dlbench.record.schema import Machine, Record


def slug(description: str) -> str:
    """A device's description as a part of a file name: ``nvidia-h200`` of ``NVIDIA H200, GPU-8f2c…``."""
    name = description.partition(",")[0].lower()
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-") or "gpu"


def choose(
    folder: Path, device: str, today: str, planned: Sequence[Planned], machine: Machine
) -> Path:
    """The record to write: the newest of this device that lacks something and is of this machine and version, else
    a new one of today, else today's own, which lacks nothing.

    Parameters
    ----------
    device : as `slug` gives it.
    today : as 2026-11-20.
    """
    known = sorted(folder.glob(f"*-{device}*.jsonl"), reverse=True)
    ours = [path for path in known if _is_of(machine, records_in(path))]
    for path in ours:
        if not is_done(planned, records_in(path)):
            return path
    whole = [path for path in ours if path.name.startswith(today)]
    if whole:
        return whole[0]
    path, number = folder / f"{today}-{device}.jsonl", 2
    while path.exists():
        path, number = folder / f"{today}-{device}-{number}.jsonl", number + 1
    return path


def tests_in(records: Sequence[Record]) -> GpuTests | None:
    """What the tests on the GPU came to, as the last such line of the records says; None without one."""
    found = [line for record in records for line in record.lines if isinstance(line, GpuTests)]
    return found[-1] if found else None


def write_page(path: Path, missing: int) -> Path:
    """Writes the record's tables as Markdown beside it, with what the tests came to; gives that file.

    Parameters
    ----------
    missing : how many of its cases are still to be measured.
    """
    records = named(path)
    tests = tests_in([record for _, record in records])
    parts = [f"# {path.stem}", f"The record is [{path.name}]({path.name})."]
    if missing:
        parts.append(f"**{missing} cases are missing yet.**")
    if tests is not None:
        parts.append(tests.sentence)
        parts += [f"- {problem}" for problem in tests.problems]
    render = plugins.load_reporter("markdown")
    page = path.with_suffix(".md")
    page.write_text("\n\n".join([*parts, render(build(records))]), "utf-8")
    return page


def _is_of(machine: Machine, records: Sequence[Record]) -> bool:
    """Whether records can be gone on with here; a file without any can."""
    return all(
        record.header.dlbench == dlbench.__version__
        and not comparability.machines(record.header.machine, machine)
        for record in records
    )
