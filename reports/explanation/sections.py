"""An explanation as sections and sentences, which terminal and Markdown print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dlbench.profile.explanation import CAUSES, Difference, Explanation
from dlbench.text import factor, percent, seconds

from ..tables.model import Column, Line, Section

_MOST_NAMED = 2
_BAR_CELLS = 20


def build_sections(explanations: Sequence[Explanation]) -> list[Section]:
    """A section of parts and one of causes for each explanation, and sentences beneath."""
    return [section for each in explanations for section in _sections(each)]


def _sections(found: Explanation) -> Iterator[Section]:
    first, second = found.first.row_name, found.second.row_name
    scenario = f"{found.first.scenario} at batch {found.first.batch}"
    whole = found.whole.time
    steps = [seconds(each.mean_s) for each in (found.first_time, found.second_time)]
    title = f"{first} against {second}, {scenario}: {steps[0]} against {steps[1]}"
    most = max(abs(part.time.mean_s) for part in found.parts)
    yield Section(
        title,
        top=True,
        intro=(
            f"+ is time that {first} needs more, − time that it needs less; ± is half of a 95 % interval",
        ),
        columns=(
            Column("part", (*(p.name for p in found.parts), "all"), names=True),
            Column(
                "difference", tuple(_signed(p) for p in (*found.parts, found.whole)), right=True
            ),
            Column("", (*(_bar(p, most) for p in found.parts), ""), priority=60),
            Column("about", (*(p.cause for p in found.parts), ""), priority=70),
            Column("evidence", (*(p.evidence for p in found.parts), ""), priority=80),
        ),
        lines=tuple(Line(style="" if p.is_told else "dim") for p in (*found.parts, found.whole)),
    )
    yield Section(
        "by cause",
        columns=(
            Column("cause", tuple(CAUSES[c.cause] for c in found.causes), names=True),
            Column("difference", tuple(map(_signed, found.causes)), right=True),
            Column("in", tuple(c.evidence for c in found.causes), priority=60),
        ),
        lines=tuple(Line() for _ in found.causes),
        notes=tuple(f"→ {sentence}" for sentence in sentences(found, whole.mean_s)),
    )


def sentences(found: Explanation, whole_s: float) -> Iterator[str]:
    """A few sentences: which is faster, where most of it lies, and what would be if one part were the other's."""
    first, second = found.first.row_name, found.second.row_name
    ratio = found.first_time.mean_s / found.second_time.mean_s
    if not found.whole.is_told:
        yield f"{first} and {second} cannot be told apart by these profiles."
    elif ratio > 1:
        yield f"{second} is {factor(ratio)} times as fast as {first}."
    else:
        yield f"{first} is {factor(1 / ratio)} times as fast as {second}."
    told = [p for p in found.parts if p.is_told and p.time.mean_s * whole_s > 0][:_MOST_NAMED]
    if told:
        shares = " and ".join(f"{p.name} ({percent(p.time.mean_s / whole_s)})" for p in told)
        yield f"Most of the difference is in {shares}."
        best = told[0]
        then = found.without[best.name]
        long = (
            f"{factor(then)} times as long" if then >= 1 else f"{factor(1 / then)} times as short"
        )
        how = f"{long} as {second}'s"
        yield f"With {second}'s {best.name}, the step of {first} would be {how}."
    dim = [p.name for p in found.parts if not p.is_told]
    if dim:
        yield f"What cannot be told apart from none: {', '.join(dim)}."


def _signed(part: Difference) -> str:
    mean, half = part.time.mean_s, part.time.half_s
    sign = "−" if mean < 0 else "+"
    return f"{sign}{seconds(abs(mean))} ± {seconds(half)}"


def _bar(part: Difference, most_s: float) -> str:
    cells = round(abs(part.time.mean_s) / most_s * _BAR_CELLS) if most_s else 0
    return ("█" if part.time.mean_s > 0 else "░") * cells
