"""Judges the cases of a gate from the differences of their pairs, look by look.

Everything follows from the differences seen so far and the design; nothing is remembered between
calls. A live gate calls `judge` whenever pairs have been added, and goes on with the cases that are
still undecided.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from dlbench.gate.design import Design
from dlbench.gate.signed_rank import (
    hodges_lehmann,
    lower_bound,
    p_greater,
    upper_bound,
    walsh_averages,
)
from dlbench.text import plural

Status = Literal["slower", "passed", "inconclusive", "undecided"]
_INTERVAL_LEVEL = 0.025


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The decision on one case.

    Attributes
    ----------
    status : ``slower`` is confirmed, and its estimate reaches the design's `suspicion`; ``passed`` is below the
        threshold with confidence; ``inconclusive`` is neither, and more pairs will not be run; ``undecided``
        asks for more pairs.
    pairs : how many pairs the verdict rests on.
    change : estimated slowdown as a share, 0.05 for 5 % slower; None without a pair.
    low, high : 95 % interval for it, infinite where the pairs are too few.
    p_value : of the one-sided test against no slowdown; None without a pair.
    reason : one sentence.
    futile : more time would hardly bring a verdict, or bring no more pairs.
    """

    status: Status
    pairs: int
    change: float | None = None
    low: float = -1.0
    high: float = math.inf
    p_value: float | None = None
    reason: str = ""
    futile: bool = False


@dataclasses.dataclass(frozen=True)
class _Standing:
    """A case at a look; differences of logarithms throughout."""

    pairs: int
    estimate: float
    p_value: float
    to_pass: float
    averages: npt.NDArray[np.float64]


def judge(
    differences: Mapping[str, Sequence[float]], design: Design, *, ended: bool = False
) -> dict[str, Verdict]:
    """The verdicts on cases that are measured side by side.

    Parameters
    ----------
    differences : by case, ln(new / base) of its pairs in the order in which they ran. The cases are
        the family over which false alarms are held down (Holm 1979, "A simple sequentially
        rejective multiple test procedure"), so those already decided stay in.
    ended : no more pairs will come; what is undecided is inconclusive then.

    Returns
    -------
    A verdict for each case, which rests on the pairs up to the look that decided it. A case whose
    pairs lag behind the others' waits and does not hold them up.
    """
    decided: dict[str, Verdict] = {}
    flagged: dict[str, int] = {}
    for pairs in design.looks:
        here = {
            case: _standing(values[:pairs], design)
            for case, values in differences.items()
            if case not in decided and len(values) >= pairs
        }
        waiting = {case: since for case, since in flagged.items() if case not in here}
        for case in flagged.keys() & here.keys():
            if _confirms(differences[case][flagged[case] : pairs], design):
                decided[case] = _verdict(
                    "slower", here.pop(case), "regression confirmed by further pairs"
                )
        family = len(differences) - sum(one.status == "slower" for one in decided.values())
        found = _rejected(here, design.alpha, family)
        flagged = waiting | {
            case: pairs for case in found if here[case].estimate > design.log_suspicion(family)
        }
        for case, standing in here.items():
            if case not in flagged and (ending := _ending(standing, design)):
                decided[case] = ending
    return {
        case: decided.get(case) or _open(values, case in flagged, design, ended)
        for case, values in differences.items()
    }


def _standing(values: Sequence[float], design: Design) -> _Standing:
    averages = walsh_averages(values)
    return _Standing(
        len(values),
        hodges_lehmann(averages),
        p_greater(values),
        upper_bound(averages, design.level_to_pass(len(values))),
        averages,
    )


def _confirms(fresh: Sequence[float], design: Design) -> bool:
    """Whether pairs that had no part in the suspicion bear it out."""
    return hodges_lehmann(walsh_averages(fresh)) > design.confirmation * design.log_threshold


def _rejected(here: Mapping[str, _Standing], alpha: float, family: int) -> list[str]:
    """Cases in which "no slowdown" is rejected at this look, by Holm's procedure."""
    rejected: list[str] = []
    for case, standing in sorted(here.items(), key=lambda item: item[1].p_value):
        if standing.p_value > alpha / (family - len(rejected)):
            break
        rejected.append(case)
    return rejected


def _ending(standing: _Standing, design: Design) -> Verdict | None:
    """The verdict on a case that is not suspected, if this look brings one."""
    if standing.to_pass < design.log_threshold:
        share = _percent(design.threshold)
        return _verdict("passed", standing, f"below {share} with confidence")
    if standing.pairs < design.most_pairs and _hope(standing, design) < design.futility:
        reason = f"stopped for futility: too noisy to decide within {design.most_pairs} pairs"
        return _verdict("inconclusive", standing, reason, futile=True)
    return None


def _hope(standing: _Standing, design: Design) -> float:
    """The chance of a verdict at the last look if the present estimate is true, by the normal
    approximation."""
    quantile = -float(ndtri(design.pass_level))
    error = (upper_bound(standing.averages, design.pass_level) - standing.estimate) / quantile
    share = standing.pairs / design.most_pairs
    last_error = error * math.sqrt(share)
    still_to_come = error * math.sqrt(1 - share)
    if not 0 < still_to_come < math.inf:
        return 1.0
    to_pass = design.log_threshold + float(ndtri(design.last_pass_level)) * last_error
    to_fail = max(design.log_suspicion(1), -float(ndtri(design.alpha)) * last_error)
    return float(
        ndtr((to_pass - standing.estimate) / still_to_come)
        + ndtr((standing.estimate - to_fail) / still_to_come)
    )


def _open(values: Sequence[float], flagged: bool, design: Design, ended: bool) -> Verdict:
    """A case that no look has decided."""
    used = values[: design.most_pairs]
    if not used:
        status: Status = "inconclusive" if ended else "undecided"
        return Verdict(status, 0, reason="no pair was measured")
    standing = _standing(used, design)
    if not ended and len(values) < design.most_pairs:
        return _verdict("undecided", standing, "to be confirmed" if flagged else "")
    share = _percent(design.threshold)
    low, high = (f(standing.averages, _INTERVAL_LEVEL) for f in (lower_bound, upper_bound))
    if flagged:
        reason = f"suspected regression, not confirmed within {plural(standing.pairs, 'pair')}"
    elif low > 0:
        reason = f"slower, but possibly by less than {share}"
    elif math.isinf(high):
        reason = "too few pairs"
    else:
        reason = f"neither a slowdown of {share} nor its absence is established"
    futile = standing.pairs == design.most_pairs
    return _verdict("inconclusive", standing, reason, futile=futile)


def _verdict(status: Status, standing: _Standing, reason: str, *, futile: bool = False) -> Verdict:
    return Verdict(
        status=status,
        pairs=standing.pairs,
        change=math.expm1(standing.estimate),
        low=math.expm1(lower_bound(standing.averages, _INTERVAL_LEVEL)),
        high=_expm1(upper_bound(standing.averages, _INTERVAL_LEVEL)),
        p_value=standing.p_value,
        reason=reason,
        futile=futile,
    )


def _expm1(value: float) -> float:
    return math.inf if value > 700 else math.expm1(value)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
