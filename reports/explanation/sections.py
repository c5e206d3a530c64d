"""An explanation as sections and sentences, which terminal and Markdown print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dlbench.profile.explanation import CAUSES, Difference, Explanation, Seen
from dlbench.profile.onednn import REORDER
from dlbench.text import factor, listed, percent, seconds

from ..tables.model import Column, Line, Section, table

_MOST_NAMED = 2
_MORE = " (smaller differences are told by dlbench profile --budget 27, three processes a row)"
_BAR_CELLS = 20


def build_sections(explanations: Sequence[Explanation]) -> list[Section]:
    """A section of parts and one of causes for each explanation, and sentences beneath."""
    return [section for each in explanations for section in _sections(each)]


def _sections(found: Explanation) -> Iterator[Section]:
    first, second = found.first.row_name, found.second.row_name
    scenario = f"{found.first.scenario} at batch {found.first.batch}"
    steps = [seconds(each.mean_s) for each in (found.first_time, found.second_time)]
    title = f"{first} against {second}, {scenario}: {steps[0]} against {steps[1]}"
    most = max(abs(part.time.mean_s) for part in found.parts)
    yield Section(
        title,
        top=True,
        intro=(_intro(found),),
        columns=(
            Column("part", (*(p.name for p in found.parts), "all"), names=True),
            Column("difference", tuple(map(_interval, (*found.parts, found.whole))), right=True),
            Column("", (*(_bar(p, most) for p in found.parts), ""), priority=60),
            Column("about", (*(p.cause or "" for p in found.parts), ""), priority=70),
            Column("evidence", (*(p.evidence for p in found.parts), ""), priority=80),
        ),
        lines=tuple(Line(style="" if p.is_told else "dim") for p in (*found.parts, found.whole)),
    )
    if found.seen:
        yield _seen(found.seen)
    yield Section(
        "by cause",
        columns=(
            Column("cause", tuple(CAUSES[c.cause] for c in found.causes if c.cause), names=True),
            Column("difference", tuple(map(_interval, found.causes)), right=True),
            Column("in", tuple(c.evidence for c in found.causes), priority=60),
        ),
        lines=tuple(Line() for _ in found.causes),
        notes=tuple(f"→ {sentence}" for sentence in sentences(found)),
    )


def _intro(found: Explanation) -> str:
    how = "round by round" if found.takes_turns else "by their means, since they took no turns"
    return (
        f"time that {found.first.row_name} needs more, or below 0 less, compared {how};"
        " [ ] 95 % confidence interval"
    )


def _seen(seen: Sequence[Seen]) -> Section:
    """What oneDNN did, a line for each primitive; of what only moves tensors, all of a row together."""
    lines: dict[tuple[str, ...], tuple[int, float]] = {}
    for each in seen:
        what = each.primitive
        key = (each.part, each.row, what.implementation, what.direction, what.formats, what.fused)
        if what.kind == REORDER:
            key = (each.part, each.row, "", "", "", "")
        calls, total_s = lines.get(key, (0, 0.0))
        lines[key] = calls + what.calls, total_s + what.total_s
    cells = [
        (*key[:3], key[3], key[4], key[5], str(calls), seconds(total_s))
        for key, (calls, total_s) in lines.items()
    ]
    titles = ("part", "row", "implementation", "direction", "formats", "fused", "calls", "time")
    return Section(
        "what oneDNN did in a step of another process, which it was asked to print",
        columns=table(cells, *titles, right=("calls", "time")),
        lines=tuple(Line() for _ in cells),
    )


def sentences(found: Explanation) -> Iterator[str]:
    """A few sentences: which is faster, where that lies, and what would be if one part were the other's; none of these
    where a profile was disturbed."""
    first, second = found.first.row_name, found.second.row_name
    if found.disturbed:
        for label, by in found.disturbed.items():
            yield f"Nothing is concluded, since the profile of {label} was disturbed ({by}): make it again."
        return
    ratio = found.first_time.mean_s / found.second_time.mean_s
    if not found.whole.is_told:
        yield f"{first} and {second} cannot be told apart by these profiles."
    elif ratio > 1:
        yield f"{second} is {factor(ratio)} times as fast as {first}."
    else:
        yield f"{first} is {factor(1 / ratio)} times as fast as {second}."
    yield from _where(found)
    yield from _layouts(found)
    unknown = [p.name for p in found.parts if not p.is_told]
    if unknown:
        more = _MORE if found.processes == 1 else ""
        yield f"What cannot be told apart from none: {listed(unknown)}{more}."


def _where(found: Explanation) -> Iterator[str]:
    """Where the difference lies; of steps that cannot be told apart, which parts differ all the same."""
    first, second = found.first.row_name, found.second.row_name
    told = [part for part in found.parts if part.is_told]
    if not found.whole.is_told:
        if told:
            parts = [f"{part.name} ({_interval(part)})" for part in told[:_MOST_NAMED]]
            yield f"{first} needs another time than {second} in {listed(parts)}."
        return
    whole_s = found.whole.time.mean_s
    same = [part for part in told if part.time.mean_s * whole_s > 0][:_MOST_NAMED]
    if same:
        shares = [f"{part.name} ({percent(part.time.mean_s / whole_s)})" for part in same]
        yield f"What is told of the difference lies above all in {listed(shares)}."
        then = factor(found.with_the_others(same[0]))
        yield f"With {second}'s {same[0].name}, the step of {first} would be {then} times as long as {second}'s."


def _layouts(found: Explanation) -> Iterator[str]:
    """Who lays tensors out anew between layers, by oneDNN's own account."""
    rows = dict.fromkeys(each.row for each in found.seen if each.primitive.kind == REORDER)
    for row in rows:
        moved = [each.primitive for each in found.seen if each.row == row]
        moved = [each for each in moved if each.kind == REORDER]
        calls, total_s = sum(each.calls for each in moved), sum(each.total_s for each in moved)
        yield f"{row} has oneDNN lay out tensors anew {calls} times a step ({seconds(total_s)} while it printed)."


def _interval(part: Difference) -> str:
    return seconds(part.time.mean_s, part.time.low_s, part.time.high_s)


def _bar(part: Difference, most_s: float) -> str:
    cells = round(abs(part.time.mean_s) / most_s * _BAR_CELLS) if most_s else 0
    return ("█" if part.time.mean_s > 0 else "░") * cells
