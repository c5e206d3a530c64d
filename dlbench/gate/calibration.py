"""What the gate can promise on this machine: its decision tried on the machine's own noise.

The processes are recorded live, all of the same code, and cut into trials afterwards (`dlbench.gate.trial`), so
that one recording answers for many gates and every planted slowdown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dlbench.errors import DlbenchError
from dlbench.gate.design import Design
from dlbench.gate.pairs import order
from dlbench.gate.schema import Beside, Half, Record
from dlbench.gate.trial import Share, Tally, consecutive, overlapping
from dlbench.gate.verdicts import pairs_of
from dlbench.text import duration, plural

THRESHOLDS = (0.01, 0.015, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3)
SLOWDOWN_FACTOR = 5 / 3
"""A slowdown of so many thresholds is to be found nearly always; one of just the threshold is found two times in
three."""
ENOUGH = 0.9
"""Share of same-code gates that pass, and of slowdowns that are found, which a promise needs."""
SURE = 0.8
"""What the exact interval of either must lie above: a few trials bound nothing, and promise nothing."""
FALSE_ALARMS = 0.01
"""Share of same-code gates that may be called slower: none is promised whose interval lies above."""
GATE_S = 60.0
"""Time for the pairs of a gate; building and verifying come before."""
_ENOUGH_TRIALS = 40


@dataclasses.dataclass(frozen=True)
class Row:
    """Trials with one threshold and one planted slowdown: disjoint ones, whose intervals are exact, and all that
    begin at every fourth process."""

    threshold: float
    disjoint: Tally
    every: Tally


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What a recording says.

    Attributes
    ----------
    case : what was timed.
    processes : how many.
    pair_s : wall time of a pair (s).
    looks : of the design, as far as a gate of `GATE_S` reaches.
    rows : by threshold, same code and planted.
    promise : the smallest threshold with which same code passes and slowdowns are found often enough; None when
        no threshold tried does.
    """

    case: str
    processes: int
    pair_s: float
    looks: tuple[int, ...]
    rows: tuple[Row, ...]
    promise: float | None


def stream_of(record: Record) -> npt.NDArray[np.float64]:
    """The summaries of a calibration's processes in the order in which they ran.

    Raises
    ------
    DlbenchError : a process failed, or there is none.
    """
    case = record.header.cases[0]
    pairs = pairs_of(record, case)
    wrong = [line.reason for line in record.lines if isinstance(line, Beside)]
    if trouble := pairs.trouble or next(iter(wrong), ""):
        raise DlbenchError(f"no calibration of {case.label}: {trouble}")
    if not pairs.base_s:
        raise DlbenchError("no calibration: no pair was measured; a larger --budget gives more")
    times = []
    for number, (base_s, new_s) in enumerate(zip(pairs.base_s, pairs.new_s, strict=True)):
        times += [base_s, new_s] if order(number)[0] == "base" else [new_s, base_s]
    return np.array(times)


def calibrate(record: Record) -> Calibration:
    """Tries the decision on a recording.

    Raises
    ------
    DlbenchError : it is too short for a single trial, or a gate would be.
    """
    stream = stream_of(record)
    design = record.header.design
    pair_s = _pair_s(record)
    looks = tuple(look for look in design.looks if look * pair_s <= GATE_S)
    if len(looks) < 2:
        raise DlbenchError(
            f"a pair takes {pair_s:.2g} s here, so {duration(GATE_S)} reach fewer than the"
            f" {plural(design.looks[1], 'pair')} that a gate needs to call anything slower; a smaller --batch is"
            " faster, and a gate of this case needs a larger --budget"
        )
    if len(stream) < 2 * looks[-1]:
        raise DlbenchError(
            f"too little was recorded for one trial: {plural(len(stream), 'process')} at"
            f" {pair_s / 2:.2g} s each; give a --budget of {_ENOUGH_TRIALS * looks[1] * pair_s:.0f} s or more"
        )
    wanted = design.threshold
    promise = next(
        (each for each in THRESHOLDS if _holds(stream, _design(record, looks, each))), None
    )
    rows = tuple(
        Row(threshold, *(run(stream, tried, slowdown) for run in (consecutive, overlapping)))
        for threshold in dict.fromkeys([wanted, *([] if promise is None else [promise])])
        for tried in [_design(record, looks, threshold)]
        for slowdown in (0.0, threshold, SLOWDOWN_FACTOR * threshold)
    )
    label = record.header.cases[0].label
    return Calibration(label, len(stream), pair_s, looks, rows, promise)


def _pair_s(record: Record) -> float:
    """Wall time of a pair (s), with the start and the end of its processes: from one first step to the next."""
    halves = [line.process for line in record.lines if isinstance(line, Half)]
    began_ns = [process.started_ns for process in halves if process.started_ns is not None]
    return 2e-9 * (began_ns[-1] - began_ns[0]) / (len(began_ns) - 1)


def describe(found: Calibration) -> str:
    """A calibration in words."""
    timed = f"{plural(found.processes, 'process')} of the same code, {found.pair_s:.2g} s a pair"
    reach = f"in {duration(GATE_S)} a gate makes {plural(found.looks[-1], 'pair')}"
    lines = [
        f"{found.case}: {timed}; {reach}",
        "disjoint trials with exact 95 % intervals; (trials that begin at every fourth process)",
        "",
        "| threshold | planted | trials | called slower | passed | inconclusive | pairs |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in found.rows:
        exact, every = row.disjoint, row.every
        planted = f"+{100 * exact.slowdown:.3g} %" if exact.slowdown else "same code"
        cells = [
            f"{100 * row.threshold:.3g} %",
            planted,
            f"{exact.slower.of} ({every.slower.of:,})",
            *(
                f"{_exact(one)} ({100 * all_.value:.1f} %)"
                for one, all_ in (
                    (exact.slower, every.slower),
                    (exact.passed, every.passed),
                    (exact.inconclusive, every.inconclusive),
                )
            ),
            f"{exact.mean_pairs:.1f} (at most {exact.most_pairs})",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    if found.promise is None:
        few = max(row.disjoint.slower.of for row in found.rows) < _ENOUGH_TRIALS
        lines.append(
            f"no threshold up to {100 * THRESHOLDS[-1]:.3g} % can be promised in {duration(GATE_S)} of pairs on this"
            f" machine{' from so few trials; a larger --budget gives more' if few else ''}"
        )
    else:
        lines.append(
            f"in {duration(GATE_S)} of pairs this machine can promise a threshold of {100 * found.promise:.3g} %: in"
            f" this recording at least {100 * ENOUGH:.0f} % of the same code passed, as much of slowdowns of"
            f" {100 * SLOWDOWN_FACTOR * found.promise:.3g} % was found (both at least {100 * SURE:.0f} % by their"
            f" intervals), and of the same code {_exact(_same(found).slower)} was called slower"
        )
    return "\n".join(lines)


def _design(record: Record, looks: Sequence[int], threshold: float) -> Design:
    return dataclasses.replace(record.header.design, looks=tuple(looks), threshold=threshold)


def _holds(stream: npt.NDArray[np.float64], design: Design) -> bool:
    same = consecutive(stream, design)
    if same.slower.interval[0] > FALSE_ALARMS or not _often(same.passed):
        return False
    return _often(consecutive(stream, design, SLOWDOWN_FACTOR * design.threshold).slower)


def _often(share: Share) -> bool:
    return share.value >= ENOUGH and share.interval[0] >= SURE


def _same(found: Calibration) -> Tally:
    """The trials of the same code at the threshold that is promised."""
    return next(row.disjoint for row in found.rows if row.threshold == found.promise)


def _exact(share: Share) -> str:
    if not share.of:
        return "–"
    low, high = (100 * bound for bound in share.interval)
    return f"{100 * share.value:.1f} % [{low:.1f}, {high:.1f}]"
