"""From a gate's record to its verdicts, the same live and when the record is shown again."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from dlbench.analyse.disturbance import causes
from dlbench.compare.slower_layers import with_layers
from dlbench.compare.verdicts import CaseVerdict, Status, Verdicts, ordered
from dlbench.gate.decision import Verdict, judge
from dlbench.gate.pairs import Arm, difference, summary
from dlbench.gate.schema import Beside, Half, Loaded, Note, Profiled, Record
from dlbench.host.cause import at_worst
from dlbench.profile.explanation import explain, where
from dlbench.record.schema import Case, Profile
from dlbench.spec.workload import read_workload
from dlbench.text import one_line, plural, why

TIMES = (
    "times: lower quartile of a process' steps, the base's median over processes; the new version's is that times the"
    " estimated ratio of its pairs"
)
"""What the step times of a gate's verdicts are."""


@dataclasses.dataclass(frozen=True)
class Pairs:
    """The complete pairs of a case, in order: the base's summaries (s), ln(new / base), and what ended them early,
    empty when nothing did."""

    base_s: tuple[float, ...]
    differences: tuple[float, ...]
    trouble: str


def pairs_of(record: Record, case: Case) -> Pairs:
    """What was measured of a case."""
    halves = record.halves(case)
    labels: dict[Arm, str] = {"base": record.header.base, "new": record.header.new}
    for arm, label in labels.items():
        for number, process in halves[arm].items():
            if process.status != "ok":
                reason = process.reason or "a check after the timing failed"
                status = process.status.replace("_", " ")
                return Pairs((), (), f"{label}, pair {number + 1}: {status}: {one_line(reason)}")
    whole = sorted(halves["base"].keys() & halves["new"].keys())
    base, new = ([halves[arm][number] for number in whole] for arm in labels)
    base_s = tuple(summary(process.timings_ns) * 1e-9 for process in base)
    return Pairs(base_s, tuple(map(difference, base, new)), "")


def verdicts(
    record: Record, waived: Mapping[str, str] | None = None, *, inconclusive_passes: bool = False
) -> Verdicts:
    """The verdicts of a gate.

    Parameters
    ----------
    waived : what is let pass besides what the record says.
    inconclusive_passes : whether a case that cannot be told is let pass.
    """
    header = record.header
    let_pass = header.accepted | dict(waived or {})
    beside = {line.case: line for line in record.lines if isinstance(line, Beside)}
    timed = {
        case.label: pairs_of(record, case) for case in header.cases if case.label not in beside
    }
    judged = judge(
        {label: pairs.differences for label, pairs in timed.items()}, header.design, ended=True
    )
    found = [_beside(line) for line in beside.values()]
    for label, pairs in timed.items():
        if pairs.trouble:
            found.append(CaseVerdict(label, "failed", reason=pairs.trouble))
        else:
            found.append(case_verdict(label, judged[label], pairs.base_s))
    if record.end is not None and record.end.status == "budget":
        found = [
            each if each.case in judged and judged[each.case].futile else _after_budget(each)
            for each in found
        ]
    found = [
        dataclasses.replace(each, accepted=let_pass.get(f"{each.status}:{each.case}", ""))
        for each in found
    ]
    told = Verdicts(
        base=header.base,
        new=header.new,
        threshold=header.design.threshold,
        cases=ordered(found),
        notes=tuple(_notes(record, found, let_pass)),
        inconclusive_passes=inconclusive_passes,
    )
    return with_layers(told, _layers(record))


def case_verdict(case: str, verdict: Verdict, base_s: Sequence[float]) -> CaseVerdict:
    """The row of one case; see `TIMES` for its times.

    Parameters
    ----------
    case : its name.
    verdict : what the gate decided; what is still undecided counts as inconclusive.
    base_s : the summaries of the base's processes (s).
    """
    bounded = math.isfinite(verdict.high)
    middle_s = float(np.median(base_s[: verdict.pairs])) if verdict.pairs else None
    ratio = None if verdict.change is None else 1 + verdict.change
    return CaseVerdict(
        case=case,
        status=_status(verdict),
        base_s=middle_s,
        new_s=None if middle_s is None or ratio is None else middle_s * ratio,
        ratio=ratio,
        low=1 + verdict.low if bounded else None,
        high=1 + verdict.high if bounded else None,
        over=plural(verdict.pairs, "pair"),
        reason=verdict.reason,
    )


def _status(verdict: Verdict) -> Status:
    """A case that passed is faster when its whole interval is below no difference."""
    if verdict.status == "passed":
        return "faster" if verdict.high < 0 else "same"
    return "slower" if verdict.status == "slower" else "inconclusive"


def _beside(line: Beside) -> CaseVerdict:
    return CaseVerdict(line.case, line.status, reason=why(line.reason, ""))


def _after_budget(verdict: CaseVerdict) -> CaseVerdict:
    """Says that more time would have helped, where it might have."""
    if verdict.status != "inconclusive":
        return verdict
    reason = f"{verdict.reason} when the budget ended: a larger --budget would help"
    return dataclasses.replace(verdict, reason=reason)


def _notes(record: Record, found: list[CaseVerdict], waived: Mapping[str, str]) -> Iterator[str]:
    if any(each.ratio is not None for each in found):
        yield TIMES
    yield from dict.fromkeys(line.text for line in record.lines if isinstance(line, Note))
    yield from _versions(record)
    yield from _disturbance(record)
    for what in waived:
        status, _, case = what.partition(":")
        for each in found:
            if each.case == case and each.status != status:
                yield f"waived as {status}, but it is not: {case}"
    if record.end is None:
        yield "the record was cut off"
    elif record.end.status == "interrupted":
        yield "the gate was interrupted"


def _versions(record: Record) -> Iterator[str]:
    loaded = [line for line in record.lines if isinstance(line, Loaded)]
    by_backend = {line.backend: line for line in loaded if line.arm == "base"}
    for new in loaded:
        base = by_backend.get(new.backend)
        if new.arm == "new" and base is not None:
            old, now = ({"version": each.version} | each.libraries for each in (base, new))
            for name in sorted(old.keys() & now.keys()):
                if old[name] != now[name]:
                    what = new.backend if name == "version" else name
                    yield f"{what} {old[name]} in the base, {now[name]} in the new one"


def _disturbance(record: Record) -> Iterator[str]:
    """Who else had the machine. Nothing is corrected by it: the verdict's pairs bear the noise."""
    threads = record.header.threads
    processes = [line.process for line in record.lines if isinstance(line, Half)]
    seen = [found for each in processes if (found := causes(each.during, threads))]
    if seen:
        count = f"{len(seen)} of {plural(len(processes), 'process')}"
        yield f"the machine was disturbed in {count}, at worst: {at_worst(seen)}"


def _layers(record: Record) -> dict[str, str]:
    """Where the cases are slower that were profiled, by case."""
    by_case: dict[str, dict[Arm, Profile]] = {}
    for line in record.lines:
        if isinstance(line, Profiled):
            by_case.setdefault(line.profile.case.label, {})[line.arm] = line.profile
    return {label: _where(profiles, record) for label, profiles in by_case.items()}


def _where(profiles: Mapping[Arm, Profile], record: Record) -> str:
    labels: dict[Arm, str] = {"base": record.header.base, "new": record.header.new}
    for arm, found in profiles.items():
        if found.status != "ok":
            return f"in which layers is not known: {labels[arm]}: {one_line(found.reason)}"
    if len(profiles) < len(labels):
        return "in which layers is not known: one of the versions was not profiled"
    workload = read_workload(record.header.workload)
    return where(explain(profiles["new"], profiles["base"], (workload, workload)))
