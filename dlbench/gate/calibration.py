"""The smallest threshold that the gate supports on this machine: its decision tried on the machine's own noise.

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
from dlbench.gate.trial import Share, Tally, consecutive
from dlbench.gate.verdicts import pairs_of
from dlbench.text import duration, plural

THRESHOLDS = (0.01, 0.015, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3)
SLOWDOWN_FACTOR = 5 / 3
"""A slowdown of so many thresholds must nearly always be found."""
FOUND = 0.8
"""Share of slowdowns of just the threshold that must be found."""
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
    """Trials with one threshold and one planted slowdown; no process is in two of them, so intervals are exact."""

    threshold: float
    tally: Tally


@dataclasses.dataclass(frozen=True)
class Calibration:
    """The result of a calibration.

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
    """ln(second / first) of a calibration's pairs in the order in which they ran.

    Raises
    ------
    DlbenchError : a process failed, or there is none.
    """
    case = record.header.cases[0]
    pairs = pairs_of(record, case)
    wrong = [line.reason for line in record.lines if isinstance(line, Beside)]
    if trouble := pairs.trouble or next(iter(wrong), ""):
        raise DlbenchError(f"no calibration of {case.label}: {trouble}")
    if not pairs.differences:
        raise DlbenchError("no calibration: no pair was measured; a larger --budget gives more")
    return np.array(
        [
            one if order(number)[0] == "base" else -one
            for number, one in enumerate(pairs.differences)
        ]
    )


def calibrate(record: Record) -> Calibration:
    """Runs the gate's decision on a recording.

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
            f"a pair takes {pair_s:.2g} s here, so {duration(GATE_S)} are enough for fewer than the"
            f" {plural(design.looks[1], 'pair')} that a gate needs to call anything slower; use a smaller --batch, or"
            " gate this case with a larger --budget"
        )
    if len(stream) < looks[-1]:
        raise DlbenchError(
            f"the recording is too short for one trial: {plural(len(stream), 'pair')} at"
            f" {pair_s:.2g} s each; give a --budget of {_ENOUGH_TRIALS * looks[1] * pair_s:.0f} s or more"
        )
    wanted = design.threshold
    promise = next(
        (each for each in THRESHOLDS if _holds(stream, _design(record, looks, each))), None
    )
    rows = tuple(
        Row(threshold, consecutive(stream, tried, slowdown))
        for threshold in dict.fromkeys([wanted, *([] if promise is None else [promise])])
        for tried in [_design(record, looks, threshold)]
        for slowdown in (0.0, threshold, SLOWDOWN_FACTOR * threshold)
    )
    label = record.header.cases[0].label
    return Calibration(label, 2 * len(stream), pair_s, looks, rows, promise)


def _pair_s(record: Record) -> float:
    """Wall time of a pair (s), with the start and the end of its processes: from one first step to the next."""
    halves = [line.process for line in record.lines if isinstance(line, Half)]
    began_ns = [process.started_ns for process in halves if process.started_ns is not None]
    return 2e-9 * (began_ns[-1] - began_ns[0]) / (len(began_ns) - 1)


def describe(found: Calibration) -> str:
    """A calibration as a table and a conclusion."""
    timed = f"{plural(found.processes, 'process')} of the same code, {found.pair_s:.2g} s a pair"
    reach = f"in {duration(GATE_S)} a gate makes {plural(found.looks[-1], 'pair')}"
    lines = [
        f"{found.case}: {timed}; {reach}",
        "trials without a process in common, with exact 95 % confidence intervals",
        "",
        "| threshold | planted | trials | called slower | passed | inconclusive | pairs |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in found.rows:
        tally = row.tally
        cells = [
            f"{100 * row.threshold:.3g} %",
            f"+{100 * tally.slowdown:.3g} %" if tally.slowdown else "same code",
            str(tally.slower.of),
            *(share.told for share in (tally.slower, tally.passed, tally.inconclusive)),
            f"{tally.mean_pairs:.1f} (at most {tally.most_pairs})",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    if found.promise is None:
        few = max(row.tally.slower.of for row in found.rows) < _ENOUGH_TRIALS
        lines.append(
            f"no threshold up to {100 * THRESHOLDS[-1]:.3g} % is supported in {duration(GATE_S)} of pairs on this"
            f" machine{' by so few trials; a larger --budget gives more' if few else ''}"
        )
    else:
        lines.append(
            f"in {duration(GATE_S)} of pairs this machine supports a threshold of {100 * found.promise:.3g} %: in"
            f" this recording at least {100 * ENOUGH:.0f} % of the gates of the same code passed, at least as many"
            f" slowdowns of {100 * SLOWDOWN_FACTOR * found.promise:.3g} % were found (both at least"
            f" {100 * SURE:.0f} % by their intervals) and {100 * FOUND:.0f} % of those of the threshold, and"
            f" {_same(found).slower.told} of the gates of the same code were false alarms"
        )
    return "\n".join(lines)


def _design(record: Record, looks: Sequence[int], threshold: float) -> Design:
    return dataclasses.replace(record.header.design, looks=tuple(looks), threshold=threshold)


def _holds(stream: npt.NDArray[np.float64], design: Design) -> bool:
    same = consecutive(stream, design)
    if same.slower.interval[0] > FALSE_ALARMS or not _often(same.passed):
        return False
    if consecutive(stream, design, design.threshold).slower.value < FOUND:
        return False
    return _often(consecutive(stream, design, SLOWDOWN_FACTOR * design.threshold).slower)


def _often(share: Share) -> bool:
    return share.value >= ENOUGH and share.interval[0] >= SURE


def _same(found: Calibration) -> Tally:
    """The trials of the same code at the threshold that is promised."""
    return next(row.tally for row in found.rows if row.threshold == found.promise)
