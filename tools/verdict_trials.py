"""How often a backend that is right is called unverified: runs of small suites with drawn batches, data and seeds.

    python tools/verdict_trials.py FOLDER [--processes 2000] [--backend numpy --backend torch]

Each run is the command `dlbench run` as a user would run it, with twelve fresh processes a row, each of which is held
against the oracle after it was timed. Suites with and without dropout take turns. The records stay in FOLDER; the same
command goes on where it was stopped. It may run beside anything: what a busy machine does to the figures is no verdict.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import random
import subprocess
import sys
from pathlib import Path

import dlbench
from dlbench.record.schema import Process

SUITES = ("smoke", "ci", "linear-mse")
DATA = {"smoke": ("stand-in", "noise", "digits"), "ci": ("stand-in", "noise")}
ROUNDS = 12
_PROGRAM = "from dlbench.cli.main import main; main()"


def command(number: int, backends: list[str], output: Path) -> list[str]:
    """The run of that number."""
    draw = random.Random(number)
    suite = SUITES[number % len(SUITES)]
    words = ["-c", _PROGRAM, "run", "--suite", suite, "--rounds", str(ROUNDS), "--budget", "2"]
    words += ["--batch", str(draw.randint(2, 16)), "--seed", str(draw.randrange(10_000))]
    words += ["--data", draw.choice(DATA.get(suite, ("noise",)))]
    words += ["--max-wait", "0", "--telemetry-period", "off", "--quiet", "--output", str(output)]
    return [sys.executable, *words, *(word for name in backends for word in ("--backend", name))]


def main() -> None:
    """Runs what is missing, and counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--processes", type=int, default=2000)
    parser.add_argument("--backend", action="append")
    chosen = parser.parse_args()
    backends = chosen.backend or ["numpy", "torch", "tensorflow"]
    chosen.folder.mkdir(parents=True, exist_ok=True)
    counts: collections.Counter[str] = collections.Counter()
    for number in itertools.count():
        record = chosen.folder / f"{number:04}.jsonl"
        if not record.exists():
            part = record.with_suffix(".part.jsonl")
            part.unlink(missing_ok=True)
            done = subprocess.run(
                command(number, backends, part), capture_output=True, text=True, check=False
            )
            if not part.exists():
                raise SystemExit(f"run {number}: exit {done.returncode}: {done.stderr[-2000:]}")
            part.rename(record)
        results = dlbench.load(record)
        [(_, record_read)] = results.records
        lines = [line for line in record_read.lines if isinstance(line, Process)]
        counts.update(f"{line.case.backend}: processes {line.status}" for line in lines)
        for row in results:
            counts[f"{row.case.backend}: rows {row.status}"] += 1
            if row.status != "ok":
                print(f"{record.name}: {row.label}: {row.status}: {row.problem}", flush=True)
        print(dict(sorted(counts.items())), flush=True)
        if sum(n for what, n in counts.items() if " processes " in what) >= chosen.processes:
            break


if __name__ == "__main__":
    main()
