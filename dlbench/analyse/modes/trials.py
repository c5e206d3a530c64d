"""Short trials of all modes of each backend (``--best``): in which order they are candidates, and what became of each.

Of the cases that differ in their mode alone one is measured in full: the fastest in its trial that agrees with the
oracle. A trial is one session, so its figures order modes and do no more: no figure of a row is computed from them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

from dlbench.analyse.statistics import process_summary
from dlbench.record.case import Case, without
from dlbench.record.schema import Choice, Process, Record, Trial

ALIKE = 1.1
"""Up to so many times as long as the fastest, a mode is not told apart from it: sessions of one mode scatter by several
per cent."""

Group = tuple[Any, ...]
"""What cases share of which one is to be chosen."""

Verdict = Literal["taken", "slower", "alike", "out", "open"]


@dataclasses.dataclass(frozen=True)
class Tried:
    """A mode that was tried, or was to be.

    Attributes
    ----------
    case : in which scenario, and so on.
    verdict : ``taken``; ``slower`` in its trial than what was taken; ``alike``, not to be told apart from that;
        ``out``, since it is not right or cannot run here; ``open`` where the run was cut off before the choice.
    process : the trial; None where there was none.
    behind : how many times as long a step takes as one of the mode that was taken.
    """

    case: Case
    verdict: Verdict
    process: Process | None = None
    behind: float | None = None

    @property
    def median_s(self) -> float | None:
        """The median step of the trial (s)."""
        well = self.process is not None and self.process.timings_ns
        return process_summary(self.process.timings_ns) if self.process and well else None


def group_of(case: Case) -> Group:
    """What a case shares with those that differ from it in their mode alone."""
    return without(case, "mode")


def tried_of(record: Record) -> dict[Case, Process]:
    """The trial of each case, the last where there are several."""
    return {line.case: line.process for line in record.lines if isinstance(line, Trial)}


def chosen_of(record: Record) -> Choice | None:
    """What was chosen; None where nothing was to be, or the run was cut off before."""
    found = [line for line in record.lines if isinstance(line, Choice)]
    return found[-1] if found else None


def candidates(trials: Mapping[Case, Process]) -> dict[Group, list[Case]]:
    """The cases of which one is to be chosen, by group, the fastest first. One whose steps were not finished when they
    had been synchronised comes behind the others: its figure says little."""
    well = {case: each for case, each in trials.items() if each.status == "ok" and each.timings_ns}
    found: dict[Group, list[Case]] = {}
    for case in sorted(well, key=lambda c: (well[c].late, process_summary(well[c].timings_ns))):
        found.setdefault(group_of(case), []).append(case)
    return found


def not_taken(record: Record) -> frozenset[Case]:
    """The cases that were left at their trial because others were faster; none where nothing was chosen."""
    choice = chosen_of(record)
    if choice is None:
        return frozenset()
    well = (case for cases in candidates(tried_of(record)).values() for case in cases)
    return frozenset(well) - frozenset(choice.taken)


def tried(record: Record, wrong: Collection[Case]) -> list[Tried]:
    """What became of each mode, in the order of the run, and there the fastest first; nothing of runs without trials.

    Parameters
    ----------
    wrong : cases that are not right, or cannot run.
    """
    if not record.header.best:
        return []
    choice, trials = chosen_of(record), tried_of(record)
    taken = {group_of(case): case for case in (choice.taken if choice else ())}
    order = candidates(trials)
    found = []
    for group in dict.fromkeys(map(group_of, record.header.cases)):
        own = [case for case in record.header.cases if group_of(case) == group]
        ranked = [*order.get(group, ()), *own]
        for case in dict.fromkeys(ranked):
            found.append(_became(case, trials, taken.get(group), case in wrong))
    return found


def _became(case: Case, trials: Mapping[Case, Process], best: Case | None, out: bool) -> Tried:
    process = trials.get(case)
    if case == best:
        # what went wrong later stands in its own row
        return Tried(case, "taken", process, 1.0 if process else None)
    if out or process is None or process.status != "ok" or not process.timings_ns:
        return Tried(case, "out" if out or process else "open", process)
    if best is None or best not in trials:
        return Tried(case, "open", process)
    behind = _times_as_long(process, trials[best])
    return Tried(case, "slower" if behind > ALIKE else "alike", process, behind)


def _times_as_long(one: Process, other: Process) -> float:
    return process_summary(one.timings_ns) / process_summary(other.timings_ns)


def split_winners(taken: Iterable[Case]) -> list[tuple[Case, ...]]:
    """The cases that were taken of a backend in different modes, since its scenarios have different winners."""
    groups: dict[tuple[Any, ...], list[Case]] = {}
    for case in taken:
        groups.setdefault(without(case, "mode", "scenario"), []).append(case)
    several: Sequence[list[Case]] = list(groups.values())
    return [tuple(own) for own in several if len({case.mode for case in own}) > 1]
