"""Judges two sides case by case, with the process as the unit of replication."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np

from dlbench.analyse.statistics import Estimate, holm, unpaired_ratio
from dlbench.compare.from_pytest_benchmark import side_of_pytest_benchmark
from dlbench.compare.from_record import side_of_records
from dlbench.compare.sides import Measured, Side
from dlbench.compare.verdicts import CaseVerdict, Status, Verdicts, ordered
from dlbench.errors import DlbenchError, UsageError
from dlbench.record.collection import read_records
from dlbench.record.comparability import LISTED, MACHINE, Difference, differing, sampling_note
from dlbench.record.file import UNREADABLE
from dlbench.text import plural

DRIFT = "intervals are over processes; how the machine drifted between the two files is not in them"
"""What every comparison of two files has to say of itself."""


def read_side(path: Path) -> Side:
    """A dlbench record, or several in one file, or a JSON file of pytest-benchmark.

    Raises
    ------
    UsageError : it is neither.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    if _is_one_object(raw):
        return side_of_pytest_benchmark(str(path), raw)
    try:
        return side_of_records(str(path), read_records(path))
    except DlbenchError as error:
        raise UsageError(str(error)) from None


def compare(base: Side, new: Side, threshold: float) -> Verdicts:
    """The verdicts on the cases of two files.

    A case is slower when its 95 % interval (Welch's, over process medians) excludes no difference,
    its estimate exceeds the threshold, and Holm's procedure over all cases leaves it standing; the
    same when the whole interval lies within the threshold; otherwise it is inconclusive.

    Parameters
    ----------
    threshold : the smallest difference that counts, as a share above 0.
    """
    if not (math.isfinite(threshold) and threshold > 0):
        raise UsageError(f"threshold {threshold} is not a share above 0, like 0.05")
    pairs = list(_matched(base.cases, new.cases))
    measured = [
        (old, now) for old, now in pairs if old and now and old.processes_s and now.processes_s
    ]
    estimates = [unpaired_ratio(now.processes_s, old.processes_s) for old, now in measured]
    significant = holm([1.0 if each.p_value is None else each.p_value for each in estimates])
    verdicts = [
        _compared(old, now, estimate, threshold, stands)
        for (old, now), estimate, stands in zip(measured, estimates, significant, strict=True)
    ]
    verdicts += [_one_side(old, now) for old, now in pairs if _timed(old) != _timed(now)]
    return Verdicts(
        base=base.name,
        new=new.name,
        threshold=threshold,
        cases=ordered(verdicts),
        differences=(
            *differing(base.facts, new.facts),
            *_unknown(base, new),
            *_of_cases(base, new, measured),
        ),
        notes=tuple(_notes(base, new, measured, len(pairs) - len(verdicts))),
    )


def _is_one_object(raw: bytes) -> bool:
    """Whether a file is one JSON object, pretty or not, and no JSON lines with a header."""
    first = raw.split(b"\n", 1)[0]
    try:
        found = msgspec.json.decode(first)
    except UNREADABLE:
        return raw.lstrip().startswith(b"{")
    return not (isinstance(found, dict) and "kind" in found)


def _timed(case: Measured | None) -> bool:
    return case is not None and bool(case.processes_s)


def _matched(
    base: Sequence[Measured], new: Sequence[Measured]
) -> Iterator[tuple[Measured | None, Measured | None]]:
    """Cases that belong together, in the new side's order; a side is None where there is none.

    What ran under other conditions is only matched when nothing else could be meant.
    """
    by_key: dict[str, list[Measured]] = {}
    for old in base:
        by_key.setdefault(old.key, []).append(old)
    partners: list[Measured | None] = []
    for now in new:
        alike = by_key.get(now.key, [])
        partner = next((old for old in alike if old.conditions == now.conditions), None)
        if partner is not None:
            alike.remove(partner)
        partners.append(partner)
    alone = Counter(now.key for now, old in zip(new, partners, strict=True) if old is None)
    for now, partner in zip(new, partners, strict=True):
        alike = by_key.get(now.key, [])
        if partner is None and len(alike) == 1 == alone[now.key]:
            partner = alike.pop()
        yield partner, now
    yield from ((old, None) for left in by_key.values() for old in left)


def _compared(
    old: Measured, now: Measured, estimate: Estimate, threshold: float, significant: bool
) -> CaseVerdict:
    counts = f"{len(old.processes_s)} and {plural(len(now.processes_s), 'process')}"
    verdict = CaseVerdict(
        case=now.label,
        status="inconclusive",
        base_s=float(np.median(old.processes_s)),
        new_s=float(np.median(now.processes_s)),
        ratio=estimate.value,
        over=counts,
    )
    if estimate.interval is None:
        return dataclasses.replace(
            verdict, reason="one side has a single process; no confidence interval can be computed"
        )
    low, high = estimate.interval.low, estimate.interval.high
    status, reason = _decided(estimate, threshold, significant)
    if disturbed := [
        f"{side}: {each.disturbance}"
        for side, each in (("base", old), ("new", now))
        if each.disturbance
    ]:
        # such times can be wrong by an order of magnitude and scatter as little as good ones
        status, reason = "inconclusive", f"disturbed while timed; {'; '.join(disturbed)}"
    return dataclasses.replace(verdict, low=low, high=high, status=status, reason=reason)


def _decided(estimate: Estimate, threshold: float, significant: bool) -> tuple[Status, str]:
    assert estimate.interval is not None
    low, high, ratio = estimate.interval.low, estimate.interval.high, estimate.value
    limit, percent = 1 + threshold, f"{100 * threshold:.3g} %"
    if 1 / limit < low and high < limit:
        return "same", f"the whole interval lies within {percent}"
    if low <= 1 <= high:
        return "inconclusive", f"no difference is possible, and so is one of more than {percent}"
    if 1 / limit <= ratio <= limit:
        return "inconclusive", f"differs, but whether by more than {percent} is open"
    if not significant:
        return "inconclusive", "might be chance, with so many cases compared"
    return "slower" if ratio > 1 else "faster", f"by more than {percent}, beyond chance"


def _one_side(old: Measured | None, now: Measured | None) -> CaseVerdict:
    """A case of which one side only has figures."""
    if old is not None and old.processes_s:
        why = f"not measured in the new one: {now.problem}" if now else "not in the new one"
        base_s = float(np.median(old.processes_s))
        return CaseVerdict(old.label, "missing", base_s=base_s, reason=why)
    assert now is not None
    why = f"not measured in the base: {old.problem}" if old else "not in the base"
    return CaseVerdict(now.label, "new", new_s=float(np.median(now.processes_s)), reason=why)


def _unknown(base: Side, new: Side) -> Iterator[Difference]:
    """Fields of the machine that one of two sides that say where they were measured does not know."""
    for field in MACHINE:
        if base.fields and new.fields and (field in base.fields) != (field in new.fields):
            yield Difference(
                field, base.facts.get(field, "unknown"), new.facts.get(field, "unknown")
            )


def _of_cases(
    base: Side, new: Side, measured: Sequence[tuple[Measured, Measured]]
) -> Iterator[Difference]:
    """Conditions in which cases differ, and what must be alike where a file does not say it of all its cases."""
    of_files = base.facts.keys() & new.facts.keys()
    for old, now in measured:
        was, is_now = (
            {field: value for field, value in side.facts_of(case).items() if field not in of_files}
            for side, case in ((base, old), (new, now))
        )
        for each in (*differing(was, is_now), *differing(old.conditions, now.conditions)):
            yield dataclasses.replace(each, case=now.label)


def _notes(
    base: Side, new: Side, measured: Sequence[tuple[Measured, Measured]], in_neither: int
) -> Iterator[str]:
    yield DRIFT
    sampled = [
        (now.label, old.sampled, now.sampled)
        for old, now in measured
        if old.sampled and now.sampled
    ]
    if unlike := sampling_note(sampled, "the base", "the new one"):
        yield unlike
    if in_neither:
        yield f"{plural(in_neither, 'case')} measured on neither side"
    for side in (base, new):
        if not side.fields:
            yield f"{side.name} does not say where it was measured"
    one_sided = (base.fields ^ new.fields) - {*MACHINE}
    unknown = sorted(one_sided) if base.fields and new.fields else []
    if unknown:
        yield f"said by one side only, so not compared: {', '.join(unknown)}"
    for package in sorted(base.versions.keys() | new.versions.keys()):
        was, now = (side.versions.get(package, "none") for side in (base, new))
        # a list that nobody took is not one without packages
        if was != now and not (package.startswith(LISTED) and "none" in (was, now)):
            yield f"{package} {was} in the base, {now} in the new one"
