"""What a comparison says, case by case: the shared table of `dlbench compare` and `dlbench gate`,
which every verdict format shows.

A verdict is a status and a reason, and "cannot tell" is one. What is not comparable never passes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, Protocol, get_args

from dlbench.record.comparability import Difference
from dlbench.text import plural

Status = Literal["slower", "failed", "missing", "inconclusive", "same", "faster", "new"]
STATUSES: tuple[Status, ...] = get_args(Status)
"""In the order in which a reader wants to know of them."""

PASSED, SLOWER, INCONCLUSIVE, NOTHING = 0, 1, 3, 4
"""Exit codes."""


@dataclasses.dataclass(frozen=True)
class CaseVerdict:
    """The verdict on one case.

    Attributes
    ----------
    case : its name.
    status : ``missing`` is measured in the base only, ``new`` in the new one only; ``failed`` went
        wrong in one of them: a crash, or an answer that is not right.
    base_s, new_s : step times (s) that the ratio is about; None where not measured.
    ratio : new / base, above 1 where the new one is slower; None where one is not measured.
    low, high : 95 % interval of the ratio; None where there is too little for one.
    over : what the interval is over, ``3 and 3 processes``.
    reason : one sentence.
    accepted : why a slowdown of this case, or that it is missing, is let pass; empty when it is not.
    """

    case: str
    status: Status
    base_s: float | None = None
    new_s: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    over: str = ""
    reason: str = ""
    accepted: str = ""


@dataclasses.dataclass(frozen=True)
class Verdicts:
    """A whole comparison.

    Attributes
    ----------
    base, new : what was compared, as the user named it.
    threshold : the smallest slowdown that counts, as a share.
    cases : the verdicts.
    differences : what makes the two sides unlike. With any, the verdicts are advisory: shown, but
        neither a pass nor a failure.
    notes : what else a reader should know.
    inconclusive_passes : whether a case that cannot be told is let pass.
    """

    base: str
    new: str
    threshold: float
    cases: tuple[CaseVerdict, ...]
    differences: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()
    inconclusive_passes: bool = False

    @property
    def advisory(self) -> bool:
        """Whether the two sides are unlike, so that no verdict can be relied on."""
        return bool(self.differences)

    def having(self, *statuses: Status) -> list[CaseVerdict]:
        """The cases with one of these statuses, but for those that are waived."""
        return [case for case in self.cases if case.status in statuses and not case.accepted]

    @property
    def exit_code(self) -> int:
        """0 passed, 1 slower, 3 inconclusive (advisory, missing or undecided cases), 4 a case
        failed or nothing was measured on both sides."""
        if all(case.ratio is None for case in self.cases):
            return NOTHING
        if self.advisory:
            return INCONCLUSIVE
        if self.having("slower"):
            return SLOWER
        if self.having("failed"):
            return NOTHING
        undecided = () if self.inconclusive_passes else self.having("inconclusive")
        return INCONCLUSIVE if undecided or self.having("missing") else PASSED

    @property
    def conclusion(self) -> str:
        """The answer in one sentence."""
        code = self.exit_code
        failed = self.having("failed")
        if code == NOTHING and failed:
            return f"{plural(len(failed), 'case')} failed"
        if code == NOTHING:
            return "no case was measured on both sides"
        if self.advisory:
            fields = ", ".join(dict.fromkeys(each.field for each in self.differences))
            return f"advisory only, since the two sides are unlike ({fields})"
        percent = f"{100 * self.threshold:.3g} %"
        if code == SLOWER:
            return f"{plural(len(self.having('slower')), 'case')} slower by more than {percent}"
        if code == INCONCLUSIVE:
            counts = ((len(self.having(s)), s) for s in ("missing", "inconclusive"))
            undecided = " and ".join(
                f"{plural(count, 'case')} {word}" for count, word in counts if count
            )
            return f"none is known to be slower by more than {percent}, but {undecided}"
        told = f"no case is slower by more than {percent}"
        if waived := sum(bool(case.accepted) for case in self.cases):
            told += f", but for {waived} waived"
        if let_pass := self.having("inconclusive"):
            told += f" as far as it can be told; {len(let_pass)} inconclusive"
        return told


class VerdictReporter(Protocol):
    """A format of verdicts (entry points ``dlbench.verdicts``): a pure function to text."""

    def __call__(self, verdicts: Verdicts, *, width: int = 80, colour: bool = False) -> str:
        """The verdicts as text that ends in a line break."""


def ordered(cases: Sequence[CaseVerdict]) -> tuple[CaseVerdict, ...]:
    """The cases with what a reader must act on first, otherwise as they were."""
    return tuple(sorted(cases, key=lambda case: STATUSES.index(case.status)))
