"""Prints how often two records of the same code, some minutes apart, are called unlike.

    python tools/compare_trial.py tests/gate/data/two_cores.csv.gz

From a recording of processes that all ran the same code (`tools/recording.py`), two sets of a few
processes each are taken as two records would hold them, one case of eight measured in turn, and
judged as `dlbench compare` does. Every "slower" and "faster" is false.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np

from dlbench.compare.judge import compare
from dlbench.compare.sides import Measured, Side
from dlbench.errors import DlbenchError
from recording import read_timings

CASES = 8
COUNTS = (3, 6, 10)
APART = (400, 2000)
STEP = 37
STATUSES = ("slower", "faster", "same", "inconclusive")


def main() -> None:
    """Reads a recording, prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--threshold", type=float, default=5.0, help="in %%")
    chosen = parser.parse_args()
    try:
        medians = [float(np.median(row)) for row in read_timings(chosen.file)]
    except DlbenchError as error:
        sys.exit(f"error: {error}")
    print(f"{chosen.file.name}, {len(medians):,} processes, threshold {chosen.threshold:g} %\n")
    print(f"| processes a side | trials | {' | '.join(STATUSES)} |")
    print(f"|---:|---:|{'---:|' * len(STATUSES)}")
    for count in COUNTS:
        found = Counter(trials(medians, count, chosen.threshold / 100))
        total = found.total()
        cells = (f"{100 * found[status] / total:.1f} %" if total else "–" for status in STATUSES)
        print(f"| {count} | {total} | {' | '.join(cells)} |")


def trials(medians: list[float], count: int, threshold: float) -> list[str]:
    """The verdicts on pairs of records from places `STEP` processes apart."""
    length = CASES * count
    found = []
    for begin in range(0, len(medians) - max(APART) - length, STEP):
        for apart in APART:
            base = side(medians[begin : begin + length : CASES])
            new = side(medians[begin + apart : begin + apart + length : CASES])
            found.append(str(compare(base, new, threshold).cases[0].status))
    return found


def side(processes: list[float]) -> Side:
    """A record of one case with these process medians."""
    return Side("", (Measured("case", "case", tuple(processes)),), {}, {})


if __name__ == "__main__":
    main()
