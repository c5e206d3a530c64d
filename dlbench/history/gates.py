"""What the history keeps of a gate: a verdict for each of its cases, to be shown beside the case's own series."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Annotated

import msgspec

from dlbench.compare.verdicts import CaseVerdict, Status
from dlbench.errors import DlbenchError
from dlbench.record.case import Case
from dlbench.record.comparability import workload_fact
from dlbench.record.door import moment
from dlbench.text import one_line, plural

Ratio = Annotated[float, msgspec.Meta(ge=0)]


@dataclasses.dataclass(frozen=True)
class Judged:
    """A gate's verdict on one case.

    Attributes
    ----------
    name, created : the gate's record, and when it was begun, UTC.
    base, new : the versions, as the user named them.
    workload : as `dlbench.record.comparability.facts_of` tells it. case_label : which case of it.
    machine : where, and with how many threads.
    status, ratio, low, high, reason, accepted : as `dlbench.compare.verdicts.CaseVerdict`.
    """

    name: str
    created: str
    base: str
    new: str
    workload: str
    case_label: str
    machine: str
    status: Status
    reason: str
    accepted: str
    ratio: Ratio | None = None
    low: Ratio | None = None
    high: Ratio | None = None

    @property
    def verdict(self) -> CaseVerdict:
        """The same as a gate has it."""
        return CaseVerdict(
            self.case_label,
            self.status,
            ratio=self.ratio,
            low=self.low,
            high=self.high,
            reason=self.reason,
            accepted=self.accepted,
        )

    def of(self, case: Case, workload: str) -> bool:
        """Whether it is about that case of that workload. The machine may be another one, and the number of threads: a
        verdict is about two versions that took turns, and no point of a series."""
        return self.workload == workload and self.case_label == case.label


def read_judged(path: Path) -> tuple[str, tuple[Judged, ...]]:
    """The SHA-256 of a gate's record, and its verdicts on the cases that both versions have.

    Raises
    ------
    DlbenchError : it is no record of a gate, or of one that has no verdicts: a calibration, or one that was cut off.
    """
    # of no use to those who only show a history, and slow to import
    from dlbench.gate import schema
    from dlbench.gate.verdicts import verdicts

    record = schema.read(path)
    header = record.header
    try:
        created = moment(header.created).isoformat(timespec="seconds")
    except ValueError as error:
        raise DlbenchError(f"{path}: {error}") from None
    if header.calibration:
        raise DlbenchError(f"{path}: a calibration times the same code twice and has no verdict")
    if record.end is None or record.end.status == "interrupted":
        raise DlbenchError(f"{path}: the gate was cut off before it had decided")
    shared = {case.label for case in header.cases}
    threads = plural(header.threads, "thread")
    told = tuple(
        Judged(
            name=path.name,
            created=created,
            base=one_line(header.base),
            new=one_line(header.new),
            workload=workload_fact(header.suite, header.workload_digest),
            case_label=each.case,
            machine=one_line(f"{header.machine.cpu or 'CPU unknown'}, {threads}"),
            status=each.status,
            reason=one_line(each.reason),
            accepted=one_line(each.accepted),
            ratio=each.ratio,
            low=each.low,
            high=each.high,
        )
        for each in verdicts(record).cases
        if each.case in shared
    )
    return hashlib.sha256(path.read_bytes()).hexdigest(), told
