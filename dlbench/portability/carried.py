"""What is found out where weights are carried from one backend to another."""

from __future__ import annotations

import dataclasses

from dlbench.record.case import Case
from dlbench.record.facts import Check


@dataclasses.dataclass(frozen=True)
class Carried:
    """Weights that one case was trained to, run by another.

    Attributes
    ----------
    trained, ran : the two cases.
    reason : why nothing is known; empty where something is.
    logits : of the case that ran against the float64 oracle's at these weights: the worst.
    accuracy : its share of right answers on the test part; None for regression.
    others : test samples that it answers otherwise than the session did that was trained, near ties not among them;
        None for regression.
    near_ties : test samples with another answer between whose two classes rounding alone decides; None for regression.
    """

    trained: Case
    ran: Case
    reason: str = ""
    logits: Check | None = None
    accuracy: float | None = None
    others: int | None = None
    near_ties: int | None = None

    @property
    def share(self) -> float | None:
        """How far the worst logit is from the oracle's, as a share of the tolerance; None where it is not finite."""
        found = self.logits
        if found is None or found.error is None or not found.tolerance:
            return None
        return found.error / found.tolerance

    @property
    def agrees(self) -> bool:
        """Whether the logits are the oracle's, and every test sample has the same answer but for near ties."""
        return self.logits is not None and self.logits.passed and not self.others
