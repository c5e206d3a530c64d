"""The modes that were tried to find the best of each backend, beneath the table of those that were taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dlbench.analyse.columns import Row
from dlbench.analyse.modes.trials import Tried, group_of, split_winners
from dlbench.analyse.outcomes import Outcome
from dlbench.analyse.table import Run
from dlbench.record.case import Case
from dlbench.text import listed, plural, seconds

from ..tables.model import Column, Line, Section
from . import words
from .names import names

_TITLE = "modes tried, one short process each: no figure above is computed from these"


def measured_in_full(run: Run) -> list[Row]:
    """The rows but for those of modes that were left out where another of the same backend was taken."""
    taken = {each.case for each in run.tried if each.verdict == "taken"}
    groups = set(map(group_of, taken))
    return [row for row in run.rows if row.case in taken or group_of(row.case) not in groups]


def sections(run: Run) -> Iterator[Section]:
    """One, of a record of which the best modes were to be found."""
    if not run.tried:
        return
    rows = [_row(each) for each in run.tried]
    why = {row.case: words.trouble(row) for row in run.rows if row["status"] != "ok"}
    columns = [
        *names(rows),
        Column("step", tuple(_or_none(each.median_s) for each in run.tried), right=True),
        Column("first step", tuple(_first(each) for each in run.tried), right=True, priority=20),
    ]
    lines = tuple(_line(each, why.get(each.case, "")) for each in run.tried)
    yield Section(
        _TITLE,
        columns=tuple(column for column in columns if any(column.cells)),
        lines=lines,
        texts_title="outcome",
        notes=tuple(_notes(run.tried)),
    )


def sentence(one: Tried, why: str = "") -> str:
    """What became of a mode, in a few words."""
    match one.verdict:
        case "taken":
            return "taken" if one.process else "taken, the only one there is"
        case "slower" | "alike":
            assert one.behind is not None
            apart = "not told apart from the one taken: " if one.verdict == "alike" else "slower: "
            return f"{apart}{one.behind:.2f} times as long"
        case "out":
            return why or "went wrong"
    return "nothing was chosen: the run was interrupted"


def _line(one: Tried, why: str) -> Line:
    mark, style = {"taken": ("✓", "good"), "out": ("✗", "bad")}.get(one.verdict, ("·", "dim"))
    if one.verdict == "out" and one.process is None and not why.startswith("not verified"):
        mark, style = "–", "dim"
    return Line(mark, style, sentence(one, why), one.case.label)


def _notes(tried: Sequence[Tried]) -> Iterator[str]:
    taken = [each.case for each in tried if each.verdict == "taken"]
    if not any(each.process for each in tried):
        return
    split = [_winners(cases) for cases in split_winners(taken)]
    apart = f"; different scenarios have different winners: {listed(split)}" if split else ""
    configurations = {each.case.configuration for each in tried if each.process}
    yield (
        f"→ --best: {plural(len(configurations), 'mode')} tried, and for each backend the fastest that agrees with the "
        f"oracle measured in full{apart}."
    )
    if any(each.verdict in ("slower", "alike") for each in tried):
        yield "modes that were not taken because others were faster have not been held against the oracle"


def _winners(cases: Sequence[Case]) -> str:
    modes = listed([f"{case.mode} for {case.scenario}" for case in cases])
    return f"{cases[0].backend} {modes}"


def _row(one: Tried) -> Row:
    version = one.process.version if one.process else ""
    cells = {"backend": one.case.backend, "version": version}
    return Row(one.case, Outcome(one.case, "ok"), cells)


def _first(one: Tried) -> str:
    first_ns = one.process.first_step_ns if one.process else None
    return _or_none(None if first_ns is None else first_ns * 1e-9)


def _or_none(value_s: float | None) -> str:
    return "" if value_s is None else seconds(value_s)
