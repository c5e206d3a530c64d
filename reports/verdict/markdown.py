"""Verdicts as Markdown, for pull requests and job summaries."""

from __future__ import annotations

from dlbench.compare.verdicts import Verdicts

from . import format as say


def render(verdicts: Verdicts, *, width: int = 80, colour: bool = False) -> str:
    """The answer, then a table, then what the sides differ in."""
    parts = [
        f"### {_text(say.title(verdicts))}",
        f"**{_text(verdicts.conclusion)}** (exit {verdicts.exit_code})",
    ]
    if verdicts.advisory:
        fields = [f"- {_text(say.difference(each))}" for each in verdicts.differences]
        parts += [f"**{say.advisory(verdicts)}**", "\n".join(fields)]
    if verdicts.cases:
        lines = ["| verdict | case | time | change | over | reason |", "|---|---|---|---|---|---|"]
        for case in verdicts.cases:
            cells = (
                say.status(case),
                case.case,
                say.times(case),
                say.change(case),
                case.over,
                say.reason(case),
            )
            lines.append(f"| {' | '.join(map(_text, cells))} |")
        parts += ["\n".join(lines), say.INTERVALS]
    if verdicts.notes:
        parts.append("\n".join(f"- {_text(note)}" for note in verdicts.notes))
    return "\n\n".join(parts) + "\n"


def _text(text: str) -> str:
    """Text on one line that cannot end a cell or start markup."""
    flat = " ".join(text.split())
    for character in "\\|*_`<[":
        flat = flat.replace(character, f"\\{character}")
    return flat
