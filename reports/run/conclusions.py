"""What a table says, in sentences: who is the fastest, by how much, and from which batch size on.

A difference is only stated where intervals that hold for all rows compared together exclude 1
(`dlbench.analyse.ranking`), and nothing at all where one of these rows was disturbed or rests on a single process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from dlbench.analyse.columns import Row
from dlbench.analyse.crossover import Crossover, crossovers
from dlbench.analyse.ranking import rank, simultaneous
from dlbench.analyse.statistics import Estimate, ratio
from dlbench.analyse.table import Report, Run
from dlbench.record.baseline import across
from dlbench.record.case import AXES, RESIDENT, Case, values
from dlbench.spec.scenarios import KINDS, Scenario
from dlbench.text import factor, is_told, listed, percent, plural, times

from . import sweep

_SAME = tuple(axis for axis in AXES if axis.baseline != "any")
"""In which rows that are compared are alike."""


def conclusions(report: Report, *, intervals: bool = False) -> list[str]:
    """Of each kind of device the fastest verified row and how it stands against the baseline; of a sweep over batch
    sizes, from which on each row of another kind of device than the baseline's is faster, or each where there is
    none; and what streaming costs each row. With `intervals` every factor has its own, which holds for all rows
    compared at once."""
    sentences: list[str] = []
    for run in report.runs:
        prefix = f"{run.name}: " if len(report.runs) > 1 else ""
        found = list(_crossovers(run)) or list(_fastest(run, intervals))
        found += _streamed(run)
        sentences += [f"→ {prefix}{sentence}" for sentence in found]
    return sentences


def _crossovers(run: Run) -> Iterator[str]:
    found = crossovers(run.rows)
    if not found:
        return
    base = run.baseline.cases[0]
    chosen = [each for each in found if each.case.device_kind != base.device_kind] or found
    told = _Told([each.case for each in found], run)
    for scenario in dict.fromkeys(each.case.scenario for each in chosen):
        rows = [row for row in run.rows if row["speedup"] is not None]
        rows = [row for row in rows if row.case.scenario == scenario]
        of = [each for each in chosen if each.case.scenario == scenario]
        doubt = told.doubt(rows, f"a batch size in {KINDS[scenario].noun}")
        yield from [doubt] if doubt else _of_sweep(of, told, base)


def _of_sweep(chosen: Sequence[Crossover], told: _Told, base: Case) -> Iterator[str]:
    for each in chosen:
        ours, theirs = (
            f"{told.precise(case, other)} on {told.where(case)}"
            for case, other in ((each.case, base), (base, each.case))
        )
        what = f"{ours} {_verb(each.case.scenario)} faster than {theirs}"
        yield f"{'With the copies, ' * each.with_copies}{what} {sweep.sentence(each)}."


def _fastest(run: Run, intervals: bool) -> Iterator[str]:
    rows = {row.case: row for row in run.rows if row["speedup"] is not None}
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for case, row in rows.items():
        groups.setdefault((*values(case, _SAME), case.device_kind), []).append(row)
    for group in groups.values():
        base = run.baseline.of(group[0].case)
        if base in rows and [row.case for row in group] != [base]:
            yield from _of_group(group, rows[base], _Told(list(rows), run, intervals))


def _of_group(group: Sequence[Row], base: Row, told: _Told) -> Iterator[str]:
    """Rows on one kind of device under the same circumstances, of which the baseline may be one."""
    compared = list({row.case: row for row in (base, *group)}.values())
    if doubt := told.doubt(compared):
        quiet = [row for row in group if not told.doubt([row])]
        if (
            not told.intervals
            or told.doubt([base])
            or not {row.case for row in quiet} - {base.case}
        ):
            yield doubt
            return
        # what holds without the others is worth saying where there is room for it
        yield told.doubt([row for row in compared if told.doubt([row])], told.in_particular(group))
        yield from (f"without these: {text}" for text in _of_group(quiet, base, told))
        return
    ranking = rank([row.outcome.timed for row in group])
    contenders = [group[index] for index in ranking.contenders]
    if len(contenders) > 1:
        yield told.alike(contenders, len(group))
        yield from told.behind(group, contenders)
    confidence = simultaneous(len(group) - (base in group))
    if base not in contenders:
        yield told.against(contenders[0], base, _ratio(base, contenders[0], confidence))
    elif contenders == [base]:
        second = group[ranking.order[1]]
        yield told.against(base, second, _ratio(second, base, confidence), ", the next fastest")


def _streamed(run: Run) -> Iterator[str]:
    """What a loader costs each row that has a resident one beside it."""
    rows = {row.case: row for row in run.rows}
    pairs = [
        (row, rows[msgspec.structs.replace(row.case, input=RESIDENT)])
        for row in run.rows
        if row["input_cost"] is not None
    ]
    if not pairs:
        return
    told = _Told([row.case for pair in pairs for row in pair], run)
    certain = [pair for pair in pairs if not told.doubt(pair)]
    for streamed, resident in certain:
        yield told.cost(streamed, _ratio(streamed, resident, simultaneous(len(certain))))
    if doubtful := [pair for pair in pairs if pair not in certain]:
        names = listed(list(dict.fromkeys(told.plain(streamed.case) for streamed, _ in doubtful)))
        yield told.doubt(
            [row for pair in doubtful for row in pair], f"what streaming costs {names}"
        )


def _ratio(slower: Row, faster: Row, confidence: float) -> Estimate:
    return ratio(slower.outcome.timed, faster.outcome.timed, confidence)


_MOST_NAMED = 3
"""Rows that one sentence holds another against."""


class _Told:
    """Says of cases what tells them apart, and nothing else."""

    def __init__(self, cases: Sequence[Case], run: Run, intervals: bool = False) -> None:
        self._run = run
        self.intervals = intervals
        self._several = {
            axis.name: len({getattr(case, axis.name) for case in cases}) > 1 for axis in AXES
        }
        self._modes: dict[tuple[str, str], set[str]] = {}
        for case in cases:
            self._modes.setdefault((case.backend, case.device), set()).add(case.mode)

    def alike(self, contenders: Sequence[Row], compared: int) -> str:
        """That several may be the fastest."""
        first, second = contenders[:2]
        names = listed([self.who(row.case) for row in contenders])
        estimate = _ratio(second, first, simultaneous(compared - 1))
        left = compared > len(contenders)
        fastest = f", each of which may be the fastest of {compared}" if left else ""
        where = ", ".join([first["scenario"], *self._which(first.case), self.where(first.case)])
        if estimate.interval is None:
            return (
                f"{names}{fastest} ({where}): no interval from a single process each, "
                f"{times(estimate.value)}."
            )
        if len(contenders) > 2:
            return f"no significant difference between {names}{fastest} ({where})."
        shown = times(estimate.value, estimate.interval.low, estimate.interval.high)
        shown += f" in favour of {self.who(first.case)}"
        return f"no significant difference between {names}{fastest} ({where}): {shown}."

    def behind(self, group: Sequence[Row], contenders: Sequence[Row]) -> Iterator[str]:
        """How much slower each other row is than those that may be the fastest, where there is room to say so; each
        interval holds for all pairs of the group at once."""
        if not self.intervals or len(contenders) > _MOST_NAMED:
            return
        confidence = simultaneous(len(group) * (len(group) - 1) // 2)
        for row in (row for row in group if row not in contenders):
            seen = [(other, _ratio(other, row, confidence)) for other in contenders]
            if not all(e.interval and e.interval.high < 1 for _, e in seen):
                continue
            shown = [
                f"{times(e.value, e.interval.low, e.interval.high)} of {self.who(other.case)}'s speed"
                for other, e in seen
                if e.interval
            ]
            where = ", ".join([row["scenario"], *self._which(row.case), self.where(row.case)])
            yield f"{self.who(row.case)} is slower ({where}): {listed(shown)}."

    def in_particular(self, group: Sequence[Row]) -> str:
        """The rows of a group that are in doubt, and where."""
        doubtful = [row for row in group if self.doubt([row])]
        names = listed(list(dict.fromkeys(self.who(row.case) for row in doubtful)))
        case = group[0].case
        parts = [names, "in", KINDS[case.scenario].noun, *self._which(case), "on", self.where(case)]
        return " ".join(parts)

    def cost(self, row: Row, seen: Estimate) -> str:
        """What streaming costs a row, and of what."""
        own = " ".join([self.plain(row.case), *self._which(row.case), "on", self.where(row.case)])
        interval = (seen.interval.low, seen.interval.high) if seen.interval else ()
        told = times(seen.value, *interval)
        if not is_told(*interval or (None, None)):
            return f"what streaming costs {own} {told}."
        if seen.interval is None or not seen.interval.excludes(1):
            return f"no significant cost of streaming for {own}: {told}."
        said = f"streaming costs {own} {told} of a resident step"
        waits = row["waiting_share"]
        if seen.value <= 1 or waits is None:
            return f"{said}."
        more = 1 - 1 / seen.value
        if waits >= more / 2:
            return f"{said}, most of it since it waits for batches ({percent(waits)} of a step)."
        return (
            f"{said}: it waits for batches {percent(waits)} of a step; the rest is copies, and the"
            " loader's work on the cores that the step needs."
        )

    def doubt(self, rows: Sequence[Row], what: str = "") -> str:
        """Why nothing is concluded from rows, and what would help; empty where something may be."""
        disturbed = [row for row in rows if row["disturbed"]]
        single = [row for row in rows if len(row.outcome.timed) < 2]
        if not disturbed and not single:
            return ""
        first = rows[-1]
        about = what or " ".join(
            [
                KINDS[first.case.scenario].noun,
                *self._which(first.case),
                "on",
                self.where(first.case),
            ]
        )
        if disturbed:
            names = listed(list(dict.fromkeys(self.who(row.case) for row in disturbed)))
            reason = f"others were at work beside {names}"
            remedy = "run again when `dlbench doctor` says that the machine is quiet"
        else:
            names = listed(list(dict.fromkeys(self.who(row.case) for row in single)))
            reason = f"there is a single process of {names}"
            remedy = "run with --rounds 3"
        return f"nothing is concluded about {about}: {reason}; {remedy}."

    def against(self, faster: Row, slower: Row, seen: Estimate, remark: str = "") -> str:
        """How two rows compare; on the same device that is named once."""
        here, there = (f" on {self.where(row.case)}" for row in (faster, slower))
        closing = there if here == there else ""
        here, there = ("", "") if closing else (here, there)
        own = across(faster.case, slower.case)
        parts = self._which(faster.case, *(["precision"] if own else []))
        which = "".join(f" {part}" for part in parts)
        verb = _verb(faster.case.scenario)
        ours = self.precise(faster.case, slower.case)
        theirs = self.precise(slower.case, faster.case)
        if seen.interval is None or not seen.interval.excludes(1):
            where = ", ".join([faster["scenario"], *parts])
            interval = (seen.interval.low, seen.interval.high) if seen.interval else ()
            told = f"{ours}{here} and {theirs}{there}{closing} ({where}): "
            return f"no significant difference between {told}{times(seen.value, *interval)}."
        low, high, value = seen.interval.low, seen.interval.high, seen.value
        if value < 1:
            low, high, value = 1 / high, 1 / low, 1 / value
        told = f" ({times(value, low, high)})" * self.intervals
        if seen.value < 1:
            return f"{theirs} {verb}{there}{which} {_times(value)} as fast as {ours}{here}, the fastest there{told}."
        return (
            f"{ours} {verb}{here}{which} {_times(value)} as fast as {theirs}{there}{closing}"
            f"{remark}{told}."
        )

    def who(self, case: Case) -> str:
        """A backend by its title, as the record knows it; with its label, its mode where it has several, and its ranks
        where they are."""
        name, at, label = case.backend.partition("@")
        title = self._run.header.titles.get(name, name)
        several = len(self._modes.get((case.backend, case.device), ())) > 1
        ranks = f"{case.world} ranks" if case.world > 1 else ""
        streamed = case.input if case.input != RESIDENT else ""
        told = ", ".join(filter(None, [case.mode if several else "", ranks, streamed]))
        return f"{title}{at}{label}{f' ({told})' if told else ''}"

    def plain(self, case: Case) -> str:
        """The same whether it is streamed or not."""
        return self.who(msgspec.structs.replace(case, input=RESIDENT))

    def precise(self, case: Case, other: Case) -> str:
        """The same with its precision, where it is compared with one of another."""
        return f"{self.who(case)} in {case.precision}" if across(case, other) else self.who(case)

    def where(self, case: Case) -> str:
        """A device; one of its own by its name where the record has one of that name."""
        if case.on_host:
            return "this CPU"
        rows = self._run.rows
        names = {row["device"]: row["device_name"] for row in rows if row["device_name"]}
        name = names.get(case.device)
        return name if name and list(names.values()).count(name) == 1 else case.device

    def _which(self, case: Case, *but: str) -> list[str]:
        """What tells this comparison from the others, when there are several, `but` for what is said elsewhere."""
        said = {
            "batch": f"at batch {case.batch:,}",
            "threads": f"with {plural(case.threads, 'thread')}",
            "precision": f"in {case.precision}",
        }
        return [text for name, text in said.items() if self._several[name] and name not in but]


def _verb(scenario: Scenario) -> str:
    return KINDS[scenario].words


def _times(value: float) -> str:
    if value < 1.095:
        return f"{factor(value)} times" if value >= 1.005 else f"{value:.3f} times"
    return f"{value:.1f} times" if value < 9.95 else f"{value:,.0f} times"
