"""Prints how often the gate is right on a recording: false alarms, passes, slowdowns found.

    python tools/gate_trial.py tests/gate/data/two_cores.csv.gz --part second
    python tools/gate_trial.py noise.jsonl --cases 8

`dlbench gate --calibrate --output noise.jsonl` makes a recording. The design is the one that `dlbench gate` uses
(`dlbench/gate/design.py`).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlbench.errors import DlbenchError
from dlbench.gate.design import Design
from dlbench.gate.trial import Tally, consecutive, tally, trial
from recording import read_stream

SLOWDOWNS = (0.0, 0.02, 0.03, 0.05, 0.08)
PARTS = {"all": (0.0, 1.0), "first": (0.0, 0.5), "second": (0.5, 1.0)}


def main() -> None:
    """Reads a recording, prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--threshold", type=float, default=3.0, help="in %%")
    parser.add_argument(
        "--cases", type=int, default=1, help="cases judged together, one of them with the slowdown"
    )
    parser.add_argument("--part", choices=PARTS, default="all", help="half of the recording")
    parser.add_argument(
        "--slowdown", type=float, action="append", help="planted, in %%; repeatable"
    )
    chosen = parser.parse_args()
    try:
        stream = read_stream(chosen.file)
        design = Design(threshold=chosen.threshold / 100)
    except (DlbenchError, OSError) as error:
        sys.exit(f"error: {error}")
    begin, end = (round(share * len(stream)) for share in PARTS[chosen.part])
    part = stream[begin:end]
    planted = [percent / 100 for percent in chosen.slowdown or ()] or SLOWDOWNS
    print(f"{chosen.file.name}, pairs {begin:,} to {end - 1:,}; {design}\n")
    for title, run in (
        ("Trials one after the other (no pair twice)", consecutive),
        (
            "Trials that begin at every second pair, either arm first (not independent)",
            overlapping,
        ),
    ):
        print(f"{title}, threshold {chosen.threshold:g} %, cases: {chosen.cases}\n")
        print(
            "| planted | trials | called slower | passed | inconclusive | failed wrongly | pairs |"
        )
        print("|---:|---:|---:|---:|---:|---:|---:|")
        for slowdown in planted:
            print(line(run(part, design, slowdown, chosen.cases), exact=run is consecutive))
        print(flush=True)


def overlapping(
    stream: npt.NDArray[np.float64],
    design: Design,
    slowdown: float = 0.0,
    cases: int = 1,
    step: int = 2,
) -> Tally:
    """Trials that begin at every `step`-th pair, with either arm first.

    They share pairs, so they are many but not independent: the shares are good estimates, their
    intervals are too narrow.
    """
    needed = design.most_pairs * cases
    return tally(
        slowdown,
        (
            trial(stream[begin : begin + needed], design, slowdown, cases, swapped)
            for begin in range(0, len(stream) - needed + 1, step)
            for swapped in (False, True)
        ),
    )


def line(found: Tally, exact: bool) -> str:
    """A row of the table, with exact intervals where the trials are disjoint."""
    shares = (found.slower, found.passed, found.inconclusive, found.wrongly_failed)
    cells = [
        f"+{100 * found.slowdown:g} %" if found.slowdown else "same code",
        f"{found.wrongly_failed.of:,}",
        *(share.told if exact else share.percent for share in shares),
        f"{found.mean_pairs:.1f} (at most {found.most_pairs})",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
