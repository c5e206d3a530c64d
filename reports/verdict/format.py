"""The words and figures that all formats of verdicts share."""

from __future__ import annotations

from dlbench.compare.verdicts import CaseVerdict, Verdicts
from dlbench.record.comparability import Difference
from dlbench.text import one_line, seconds, signed

from ..tables.model import Line, Section, table

INTERVALS = "[ ] 95 % confidence interval; above 0 % the new one is slower"
_STYLES = {
    "slower": "bad",
    "failed": "bad",
    "missing": "doubtful",
    "inconclusive": "doubtful",
    "same": "good",
}


def build_sections(verdicts: Verdicts) -> list[Section]:
    """What was compared, in what the sides differ, the verdicts, and the answer last."""
    unlike: tuple[str, ...] = ()
    if verdicts.advisory:
        unlike = (f"! {advisory(verdicts)}", *(f"! {difference(d)}" for d in verdicts.differences))
    cells = [(one_line(case.case), times(case), change(case), case.over) for case in verdicts.cases]
    return [
        Section(
            title(verdicts),
            top=True,
            intro=(*unlike, INTERVALS),
            columns=table(cells, "case", "time", "change", "over"),
            lines=tuple(
                Line(status(case), _STYLES.get(case.status, ""), reason(case))
                for case in verdicts.cases
            ),
            marks_title="verdict",
            texts_title="reason",
            notes=(*verdicts.notes, f"→ {conclusion(verdicts)}"),
        )
    ]


def title(verdicts: Verdicts) -> str:
    """What was compared with what, in one line."""
    return f"{verdicts.base} → {verdicts.new} · threshold {100 * verdicts.threshold:.3g} %"


def status(case: CaseVerdict) -> str:
    """The status; what fails a build stands in capitals."""
    if case.accepted:
        return "waived"
    return case.status.upper() if case.status in ("slower", "failed") else case.status


def times(case: CaseVerdict) -> str:
    """``35.9 ms → 36.4 ms``; a side without a figure is a dash."""
    return f"{seconds(case.base_s) or '–'} → {seconds(case.new_s) or '–'}"


def change(case: CaseVerdict) -> str:
    """``+6.1 % [+4.8, +7.2]``; empty when one side was not measured."""
    if case.ratio is None:
        return ""
    if case.low is None or case.high is None:
        return f"{_signed(case.ratio)} %"
    return f"{_signed(case.ratio)} % [{_signed(case.low)}, {_signed(case.high)}]"


def reason(case: CaseVerdict) -> str:
    """Why the verdict is what it is, with why it was waived."""
    said = one_line(case.reason)
    return f"{said}; waived: {one_line(case.accepted)}" if case.accepted else said


def difference(each: Difference) -> str:
    """A field in which the sides are unlike, with both values."""
    whose = f"{each.case}: " if each.case else ""
    return f"{whose}{each.field}: {one_line(each.base)} in the base, {one_line(each.new)} in the new one"


def advisory(verdicts: Verdicts) -> str:
    """What unlike sides mean, empty when they are alike."""
    return "advisory only: the two sides are not comparable" if verdicts.advisory else ""


def conclusion(verdicts: Verdicts) -> str:
    """The answer, with the exit code."""
    return f"exit {verdicts.exit_code}: {verdicts.conclusion}"


def _signed(ratio: float) -> str:
    share = 100 * (ratio - 1)
    if share >= 1e4:
        return "+∞" if share > 1e6 else f"+{share:,.0f}"
    return signed(ratio - 1)
