"""The record of a gate: JSON lines from which its verdicts can be told again.

As in a run's record (`dlbench.record.schema`), a line is written as soon as its fact is known, raw timings are kept,
and no statistic is in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from dlbench.errors import DlbenchError
from dlbench.gate.design import Design
from dlbench.gate.pairs import Arm
from dlbench.record.bounded import Count, Seconds
from dlbench.record.file import UNREADABLE, decoded_lines
from dlbench.record.schema import Case, Data, Machine, Process, Profile, Verification

SCHEMA = 2
"""In the first, the whole threshold was what an estimate had to exceed."""
Aside = Literal["new", "missing", "failed", "inconclusive"]
Ending = Literal["decided", "budget", "interrupted"]


class Header(msgspec.Struct, frozen=True, tag="gate", tag_field="kind"):
    """First line: what was to be compared, how, and where.

    `base` and `new` are the versions as the user named them, `cases` what the two share. `calibration` says that
    both are the same code, to see what this machine's noise is like. `workload` is what profiles are about, empty in
    records of earlier versions, which have none.
    """

    schema: int
    created: str
    dlbench: str
    base: str
    new: str
    suite: str
    workload_digest: str
    data: Data
    seed: int
    threads: Count
    budget_s: Seconds
    share_s: Seconds
    design: Design
    machine: Machine
    cases: tuple[Case, ...]
    accepted: dict[str, str] = {}
    calibration: bool = False
    workload: dict[str, Any] = {}


class Beside(msgspec.Struct, frozen=True, tag="beside", tag_field="kind"):
    """A case that is not timed in pairs: it is in one version only, or its answer is not right in one."""

    case: str
    status: Aside
    reason: str
    output: str = ""


class Loaded(msgspec.Struct, frozen=True, tag="loaded", tag_field="kind"):
    """What a version's processes load of a backend: SHA-256 by file, relative to the version's folder, the
    interpreter and the versions of what computes."""

    arm: Arm
    backend: str
    files: dict[str, str]
    python: str
    version: str
    libraries: dict[str, str]


class Verified(msgspec.Struct, frozen=True, tag="verified", tag_field="kind"):
    """One version held against the oracle."""

    arm: Arm
    verification: Verification


class Half(msgspec.Struct, frozen=True, tag="half", tag_field="kind"):
    """One process of a pair; the process' `round` is the pair's number, from 0."""

    arm: Arm
    process: Process


class Profiled(msgspec.Struct, frozen=True, tag="profiled", tag_field="kind"):
    """The profile of a case that is slower, in one version; both took turns."""

    arm: Arm
    profile: Profile


class Note(msgspec.Struct, frozen=True, tag="note", tag_field="kind"):
    """A sentence for whoever reads the verdicts."""

    text: str


class End(msgspec.Struct, frozen=True, tag="end", tag_field="kind"):
    """Last line: how it ended, and after how long (s)."""

    status: Ending
    wall_s: Seconds


Line = Header | Beside | Loaded | Verified | Half | Profiled | Note | End


class Record(msgspec.Struct, frozen=True):
    """A record as read back."""

    header: Header
    lines: tuple[Line, ...]

    @property
    def end(self) -> End | None:
        """How it ended; None where it was cut off."""
        last = self.lines[-1] if self.lines else None
        return last if isinstance(last, End) else None

    def halves(self, case: Case) -> Mapping[Arm, dict[int, Process]]:
        """A case's processes by version and pair."""
        found: dict[Arm, dict[int, Process]] = {"base": {}, "new": {}}
        for line in self.lines:
            if isinstance(line, Half) and line.process.case == case:
                found[line.arm][line.process.round] = line.process
        return found


def is_one(path: Path) -> bool:
    """Whether a file is the record of a gate, by its first line."""
    try:
        with path.open("rb") as file:
            msgspec.json.decode(file.readline(), type=Header)
    except (OSError, *UNREADABLE):
        return False
    return True


def read(path: Path) -> Record:
    """The record of a gate.

    Raises
    ------
    DlbenchError : it is none, or of a schema that this version does not read.
    """
    lines: tuple[Line, ...] = tuple(decoded_lines(path, Line, "a gate's record"))
    if not lines or not isinstance(lines[0], Header):
        raise DlbenchError(f"{path}: not a gate's record: its first line is no header of one")
    header = lines[0]
    if header.schema == 1:
        design = dataclasses.replace(header.design, suspicion=1.0)
        header = msgspec.structs.replace(header, design=design)
    elif header.schema != SCHEMA:
        raise DlbenchError(
            f"{path}: has schema {header.schema}, this version of dlbench reads schemas 1 to {SCHEMA}"
        )
    return Record(header, lines[1:])
