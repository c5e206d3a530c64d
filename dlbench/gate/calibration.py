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
from dlbench.gate.record import Half, Record
from dlbench.gate.tell import pairs_of
from dlbench.gate.trial import Share, Tally, consecutive, overlapping
from dlbench.wording import duration, plural

THRESHOLDS = (0.01, 0.015, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3)
SLOWDOWN_FACTOR = 5 / 3
"""A slowdown of so many thresholds is to be found nearly always; one of just the threshold is found two times in
three."""
ENOUGH = 0.9
"""Share of same-code gates that pass, and of slowdowns that are found, which a promise needs."""
GATE_S = 60.0


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
    pairs = pairs_of(record, record.header.cases[0])
    if pairs.trouble or not pairs.base_s:
        raise DlbenchError(
            f"no calibration: {pairs.trouble or 'no pair was measured'}; a larger --budget gives more"
        )
    times = []
    for number, (base_s, new_s) in enumerate(zip(pairs.base_s, pairs.new_s, strict=True)):
        times += [base_s, new_s] if order(number)[0] == "base" else [new_s, base_s]
    return np.array(times)


def calibrate(record: Record) -> Calibration:
    """Tries the decision on a recording.

    Raises
    ------
    DlbenchError : it is too short for a single trial.
    """
    stream = stream_of(record)
    halves = [line.process for line in record.lines if isinstance(line, Half)]
    pair_s = 2 * float(np.mean([sum(process.seconds.values()) for process in halves]))
    looks = tuple(look for look in record.header.design.looks if look * pair_s <= GATE_S)
    if len(looks) < 2 or len(stream) < 2 * looks[-1]:
        raise DlbenchError(
            f"too little was recorded for one trial: {plural(len(stream), 'process')} at"
            f" {pair_s / 2:.2g} s each; give a --budget of {8 * record.header.design.most_pairs * pair_s:.0f} s"
            " or more"
        )
    wanted = record.header.design.threshold
    promise = next(
        (each for each in THRESHOLDS if _holds(stream, _design(record, looks, each))), None
    )
    rows = tuple(
        Row(threshold, *(run(stream, design, slowdown) for run in (consecutive, overlapping)))
        for threshold in dict.fromkeys([wanted, *([] if promise is None else [promise])])
        for design in [_design(record, looks, threshold)]
        for slowdown in (0.0, threshold, SLOWDOWN_FACTOR * threshold)
    )
    label = record.header.cases[0].label
    return Calibration(label, len(stream), pair_s, looks, rows, promise)


def describe(found: Calibration) -> str:
    """A calibration in words."""
    timed = f"{plural(found.processes, 'process')} of the same code, {found.pair_s:.2g} s a pair"
    reach = f"a gate of {duration(GATE_S)} reaches {plural(found.looks[-1], 'pair')}"
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
        lines.append(
            f"no threshold up to {100 * THRESHOLDS[-1]:.3g} % can be promised in {duration(GATE_S)} on this machine"
        )
    else:
        lines.append(
            f"within {duration(GATE_S)} this machine can promise a threshold of {100 * found.promise:.3g} %:"
            f" no same code called slower, and at least {100 * ENOUGH:.0f} % of it passed and of slowdowns of"
            f" {100 * SLOWDOWN_FACTOR * found.promise:.3g} % found, in this recording"
        )
    return "\n".join(lines)


def _design(record: Record, looks: Sequence[int], threshold: float) -> Design:
    return dataclasses.replace(record.header.design, looks=tuple(looks), threshold=threshold)


def _holds(stream: npt.NDArray[np.float64], design: Design) -> bool:
    same = overlapping(stream, design)
    if same.slower.count or not same.passed.value >= ENOUGH:
        return False
    planted = overlapping(stream, design, SLOWDOWN_FACTOR * design.threshold)
    return planted.slower.value >= ENOUGH


def _exact(share: Share) -> str:
    if not share.of:
        return "–"
    low, high = (100 * bound for bound in share.interval)
    return f"{100 * share.value:.1f} % [{low:.1f}, {high:.1f}]"
