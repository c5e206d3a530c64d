"""The gate's verdicts in the table that every verdict format shows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dlbench.compare.verdicts import CaseVerdict, Status
from dlbench.gate.decision import Verdict
from dlbench.text import plural


def case_verdict(
    case: str, verdict: Verdict, base_s: Sequence[float], new_s: Sequence[float], accepted: str = ""
) -> CaseVerdict:
    """The row of one case.

    Parameters
    ----------
    case : its name.
    verdict : what the gate decided; what is still undecided counts as inconclusive.
    base_s, new_s : the summaries of the arms' processes (s).
    accepted : why a slowdown of this case is let pass; empty when it is not.
    """
    bounded = math.isfinite(verdict.high)
    return CaseVerdict(
        case=case,
        status=_status(verdict),
        base_s=float(np.median(base_s)) if len(base_s) else None,
        new_s=float(np.median(new_s)) if len(new_s) else None,
        ratio=None if verdict.change is None else 1 + verdict.change,
        low=1 + verdict.low if bounded else None,
        high=1 + verdict.high if bounded else None,
        over=plural(verdict.pairs, "pair"),
        reason=verdict.reason,
        accepted=accepted if verdict.status == "slower" else "",
    )


def _status(verdict: Verdict) -> Status:
    """A case that passed is faster when its whole interval is below no difference."""
    if verdict.status == "passed":
        return "faster" if verdict.high < 0 else "same"
    return "slower" if verdict.status == "slower" else "inconclusive"
