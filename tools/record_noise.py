"""Records how a machine's noise looks from fresh processes that all run the same code.

The gate's promises rest on such a stream: whatever differs between two processes of it is noise, so
verdicts about it can be counted as right or wrong (`tools/gate_trial.py`). Each process makes the
same arrays and times the same NumPy training step of a small dense network, on one thread, so that
the stream shows the machine and not a framework.

    python tools/record_noise.py --minutes 15 noise.csv.gz

The file has one row a process in the order in which they ran: its number, then its step times in
whole microseconds. It is written anew every minute, so an interrupted recording keeps what it has.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import os
import subprocess
import sys
import time
from pathlib import Path

STEPS = 40
WARM_UP_STEPS = 5
SAMPLES = 256
_SAVE_EVERY_S = 60.0
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def main() -> None:
    """Records until the time is over, or until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path, nargs="?", help="what to write: a .csv.gz")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--process", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.process:
        print(*one_process())
    elif chosen.file is None:
        parser.error("which file is to be written?")
    else:
        record(chosen.file, 60 * chosen.minutes)


def record(path: Path, seconds: float) -> None:
    """Runs one process after the other and writes what they timed."""
    if path.exists():
        raise SystemExit(f"{path} exists already, and a recording is never overwritten")
    rows: list[list[str]] = []
    end_s = time.monotonic() + seconds
    save_s = time.monotonic() + _SAVE_EVERY_S
    try:
        while time.monotonic() < end_s:
            timed = subprocess.run(
                [sys.executable, "-I", __file__, "--process"],
                env=os.environ | _ONE_THREAD,
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            rows.append(timed.stdout.split())
            if time.monotonic() > save_s:
                save(path, rows)
                save_s += _SAVE_EVERY_S
    except KeyboardInterrupt:
        pass
    save(path, rows)
    print(f"{len(rows):,} processes in {path}", file=sys.stderr)


def save(path: Path, rows: list[list[str]]) -> None:
    """Writes the rows as gzipped CSV, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["process", *(f"s{step}" for step in range(STEPS))])
    writer.writerows([number, *row] for number, row in enumerate(rows))
    part = path.with_suffix(".part")
    part.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))
    part.replace(path)


def one_process() -> list[int]:
    """The step times (µs) of this process, after a few steps that are not kept."""
    import numpy as np

    draw = np.random.default_rng(0)
    inputs = draw.standard_normal((SAMPLES, 784), np.float32)
    labels = draw.integers(0, 10, SAMPLES)
    hidden = draw.standard_normal((784, 128), np.float32) * np.float32(0.05)
    output = draw.standard_normal((128, 10), np.float32) * np.float32(0.1)
    rows = np.arange(SAMPLES)
    times_us = []
    for _ in range(WARM_UP_STEPS + STEPS):
        begin_ns = time.perf_counter_ns()
        active = np.maximum(inputs @ hidden, 0)
        logits = active @ output
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        shares[rows, labels] -= 1
        shares /= SAMPLES
        from_output = active.T @ shares
        from_hidden = inputs.T @ np.where(active > 0, shares @ output.T, 0)
        output -= np.float32(0.01) * from_output
        hidden -= np.float32(0.01) * from_hidden
        times_us.append((time.perf_counter_ns() - begin_ns) // 1000)
    return times_us[WARM_UP_STEPS:]


if __name__ == "__main__":
    main()
