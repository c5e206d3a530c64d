"""Where a GPU check keeps its record, which one it resumes, and the files beside it: the tests' results, a page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

import dlbench
from dlbench import plugins
from dlbench.analyse.table import build
from dlbench.errors import DlbenchError
from dlbench.record import comparability
from dlbench.record.collection import named
from dlbench.record.schema import Machine, Record
from dlbench.text import plural
from gpu_check.gpu_tests import GpuTests
from gpu_check.parts import Planned
from gpu_check.slices import is_done, records_in

TESTS = ".tests.json"


def slug(description: str) -> str:
    """A device's description as a part of a file name: ``nvidia-h200`` of ``NVIDIA H200, GPU-8f2c…``."""
    name = description.partition(",")[0].lower()
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-") or "gpu"


def choose(
    folder: Path, device: str, today: str, planned: Sequence[Planned], machine: Machine
) -> Path:
    """The record to write: the newest incomplete one of this device, machine and version, else a new one of today,
    else today's own, which is complete.

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


def tests_of(path: Path) -> GpuTests:
    """The results of the tests on the GPU that were kept beside a record; none where there are none.

    Raises
    ------
    DlbenchError : the file holds something else.
    """
    file = path.with_suffix(TESTS)
    if not file.exists():
        return GpuTests()
    try:
        return msgspec.json.decode(file.read_bytes(), type=GpuTests)
    except msgspec.MsgspecError as error:
        raise DlbenchError(f"{file}: not the results of a GPU check's tests: {error}") from None


def keep_tests(path: Path, tests: GpuTests) -> None:
    """Writes the tests' results beside a record."""
    file = path.with_suffix(TESTS)
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".new")
    beside.write_bytes(msgspec.json.format(msgspec.json.encode(tests)) + b"\n")
    beside.replace(file)


def write_page(path: Path, missing: int) -> Path:
    """Writes the record's tables and the tests' results as Markdown beside it; gives that file.

    Parameters
    ----------
    missing : how many of its cases are still to be measured.
    """
    records = named(path)
    tests = tests_of(path)
    parts = [f"# {path.stem}", f"The record is [{path.name}]({path.name})."]
    if missing:
        parts.append(f"**Incomplete: {plural(missing, 'case')} remaining.**")
    if tests.results or tests.reason:
        parts.append(tests.sentence)
        parts += [f"- {problem}" for problem in tests.problems]
    render = plugins.load_reporter("markdown")
    page = path.with_suffix(".md")
    page.write_text("\n\n".join([*parts, render(build(records))]), "utf-8")
    return page


def _is_of(machine: Machine, records: Sequence[Record]) -> bool:
    """Whether records can be resumed here; a file without any can."""
    return all(
        record.header.dlbench == dlbench.__version__
        and not comparability.machines(record.header.machine, machine)
        for record in records
    )
