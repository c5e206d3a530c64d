"""Proves the live gate on this machine: gates of the same code, and of a step really made 5 % longer.

Every trial is the command `dlbench gate`, run as a user would run it, in a small repository of its own whose
adapter is the NumPy backend, with or without a slowdown in the working tree:

- ``same``: nothing but a comment differs,
- ``wait``: each step is followed by a busy wait of 5 % of its own duration,
- ``copy``: each step is followed by a copy of an array, of the size that was found beforehand to make steps 5 %
  longer on this machine,
- ``burn``: as ``same``, while another process keeps one core busy,
- ``small``: as ``wait``, with 2 %, and the threshold is 2 % too.

    python tools/gate_campaign.py results/gate-campaign.jsonl
    python tools/gate_campaign.py results/gate-campaign.jsonl --minutes 10
    python tools/gate_campaign.py results/gate-campaign.jsonl --report

The same command resumes a campaign that was stopped. The kinds take turns, so that any
part of the campaign has some of each. The configuration is fixed here, before the first trial.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dlbench.gate.trial import Share
from dlbench.host.machine import look
from dlbench.telemetry.device import gpu_names

TRIALS = {"same": 60, "wait": 30, "copy": 30, "burn": 40, "small": 30}
PLANTED, SMALL = 0.05, 0.02
LIMIT_S = 60.0
BUDGET_S = 55.0
WORDS = (
    *("gate", "--base", "HEAD", "--backend", "planted:Adapter", "--suite", "ci"),
    *("--scenario", "train", "--threads", "1", "--threshold", "3%", "--budget", f"{BUDGET_S:g}"),
    *("--quiet", "--format", "json"),
)
ADAPTER = '''\
"""The NumPy backend, with a slowdown where `amount` says so."""

import time

import numpy as np
from amount import KIND, VALUE

from dlbench.backends.numpy.adapter import Adapter as Numpy


class Adapter(Numpy):
    def open(self, plan, workload, weights):
        session = super().open(plan, workload, weights)
        if KIND == "wait":
            session.train_step = waiting(session.train_step)
        elif KIND == "copy":
            session.train_step = copying(session.train_step)
        return session


def waiting(step):
    def slowed(batch):
        begin = time.perf_counter_ns()
        result = step(batch)
        until = time.perf_counter_ns()
        until += int(VALUE * (until - begin))
        while time.perf_counter_ns() < until:
            pass
        return result

    return slowed


def copying(step):
    source = np.ones(int(VALUE), np.uint8)
    target = np.empty_like(source)

    def slowed(batch):
        result = step(batch)
        np.copyto(target, source)
        return result

    return slowed
'''
CALIBRATE = '''\
import json, statistics, sys, time
from pathlib import Path
import numpy as np
from dlbench.backends.numpy.adapter import Adapter as Numpy
from dlbench.contract import Plan
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import initial_weights

workload = load_suite("ci").workload
weights = initial_weights(workload, 0)
session = Numpy().open(Plan("numpy", "cpu", 32, 1), workload, weights)
random = np.random.default_rng(0)
batch = session.upload(
    random.standard_normal((32, *workload.input_shape), np.float32), random.integers(0, 10, 32)
)

def steps_ns(size, count=120):
    """Medians of steps alone and of steps with a copy, in turn."""
    source = np.ones(size, np.uint8)
    target = np.empty_like(source)
    alone, copied = [], []
    for number in range(count):
        if number % 16 == 0:
            session.load(weights)
        begin = time.perf_counter_ns()
        session.train_step(batch)
        alone.append(time.perf_counter_ns() - begin)
        begin = time.perf_counter_ns()
        session.train_step(batch)
        np.copyto(target, source)
        copied.append(time.perf_counter_ns() - begin)
    return [sorted(each)[count // 4] for each in (alone, copied)]

size, wanted = 1 << 20, float(sys.argv[1])
steps_ns(size)
for _ in range(5):
    alone, copied = steps_ns(size)
    found = copied / alone - 1
    size = int(size * min(max(wanted / max(found, 0.005), 0.3), 3.0))
found = [copied / alone - 1 for alone, copied in (steps_ns(size) for _ in range(5))]
print(json.dumps({"bytes": size, "found": statistics.median(found)}))
'''


def main() -> None:
    """Runs or resumes a campaign, or reports one."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "file", type=Path, help="the campaign's record, as JSON lines; created where it is missing"
    )
    parser.add_argument("--minutes", type=float, help="start no trial after this time")
    parser.add_argument(
        "--report", action="store_true", help="print the results so far, as Markdown"
    )
    chosen = parser.parse_args()
    if not chosen.report:
        resume(chosen.file, None if chosen.minutes is None else 60 * chosen.minutes)
    print(report(read(chosen.file)))


def resume(path: Path, seconds: float | None) -> None:
    """Runs the trials that remain."""
    end_s = float("inf") if seconds is None else time.monotonic() + seconds
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        add(path, header())
    head, *done = read(path)
    whole = path.read_text("utf-8").rpartition("\n")[0]
    path.write_text(f"{whole}\n", "utf-8")
    now = conditions()
    if unlike := [name for name, value in now.items() if head[name] != value]:
        sys.exit(f"{path} was started with another {' and '.join(unlike)}; start a new file")
    counts = {kind: sum(trial["kind"] == kind for trial in done) for kind in TRIALS}
    for kind, number in plan():
        if number < counts[kind]:
            continue
        if time.monotonic() + LIMIT_S / 4 > end_s:
            break
        trial = one(kind, head["copy_bytes"])
        add(path, trial)
        print(f"{kind} {number + 1} of {TRIALS[kind]}: {told(trial)}", file=sys.stderr, flush=True)


def plan() -> list[tuple[str, int]]:
    """All trials, each kind spread evenly over the whole."""
    every = [(kind, number) for kind, count in TRIALS.items() for number in range(count)]
    return sorted(every, key=lambda each: (each[1] + 0.5) / TRIALS[each[0]])


def header() -> dict[str, Any]:
    """Machine, configuration, and the size of the copy."""
    found = subprocess.run(
        [sys.executable, "-c", CALIBRATE, str(PLANTED)],
        env=os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    copy = json.loads(found.stdout)
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"created": created, **conditions()} | {
        "copy_bytes": copy["bytes"],
        "copy_found": copy["found"],
    }


def conditions() -> dict[str, Any]:
    """What must stay as it is in all of a campaign."""
    machine = look(gpu_names())
    return {
        "command": f"dlbench {' '.join(WORDS)}",
        "cpu": machine.cpu,
        "cores": machine.usable_cores,
        "python": machine.python,
        "numpy": machine.packages.get("numpy"),
    }


def one(kind: str, copy_bytes: int) -> dict[str, Any]:
    """Runs one gate; its verdict."""
    value = {"wait": PLANTED, "small": SMALL, "copy": copy_bytes}.get(kind, 0)
    gate = [word if kind != "small" or word != "3%" else f"{SMALL:.0%}" for word in WORDS]
    with tempfile.TemporaryDirectory(prefix="dlbench-campaign-") as folder:
        repository = Path(folder)
        (repository / "planted.py").write_text(ADAPTER)
        amount = repository / "amount.py"
        amount.write_text('KIND, VALUE = "none", 0\n')
        who = "-c user.name=campaign -c user.email=campaign@localhost"
        git = ["git", "-C", folder, *who.split()]
        for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "base"]):
            subprocess.run([*git, *words], check=True)
        if value:
            amount.write_text(
                f'KIND, VALUE = "{"copy" if kind == "copy" else "wait"}", {value!r}\n'
            )
        else:
            amount.write_text(f"{amount.read_text()}# the same\n")
        began_s = time.monotonic()
        with burning() if kind == "burn" else contextlib.nullcontext():
            command = [sys.executable, "-c", "from dlbench.cli.main import main; main()", *gate]
            done = subprocess.run(
                [*command, "--output", str(repository / "gate.jsonl")],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
        wall_s = time.monotonic() - began_s
    trial: dict[str, Any] = {
        "kind": kind,
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "exit": done.returncode,
        "wall_s": round(wall_s, 2),
        "commit": commit(),
    }
    try:
        verdicts = json.loads(done.stdout)
    except ValueError:
        return trial | {"error": done.stderr[-500:]}
    case = verdicts["cases"][0]
    kept = {name: case[name] for name in ("status", "ratio", "low", "high", "over", "reason")}
    return trial | kept | {"notes": verdicts["notes"]}


def commit() -> str | None:
    """The commit of dlbench that is tried, with a mark where files of it are changed; None outside of git."""
    words = ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    git = ["git", "-C", str(Path(__file__).resolve().parents[1])]
    found = subprocess.run([*git, *words], capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


@contextlib.contextmanager
def burning() -> Iterator[None]:
    """Keeps one core busy."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def told(trial: dict[str, Any]) -> str:
    """A trial in a line."""
    if "status" not in trial:
        return f"exit {trial['exit']}: {trial.get('error', '')}"
    change = "" if trial["ratio"] is None else f" {100 * (trial['ratio'] - 1):+.1f} %"
    return f"{trial['status']}{change}, {trial['over']}, {trial['wall_s']} s: {trial['reason']}"


def report(lines: list[dict[str, Any]]) -> str:
    """The campaign as Markdown."""
    head, *done = lines
    where = f"{head['cpu']}, {head['cores']} cores, Python {head['python']}, NumPy {head['numpy']}"
    when = f"{head['created']} to {done[-1]['at'] if done else '–'}"
    copy = f"the copy is of {head['copy_bytes']:,} bytes and was found to cost"
    rows = [
        f"`{head['command']}`",
        "",
        f"{where}; {when}; {copy} {100 * head['copy_found']:.1f} %",
        "",
        "| trials | done | slower | passed | inconclusive | failed | pairs | s a gate |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for kind, wanted in TRIALS.items():
        trials = [trial for trial in done if trial["kind"] == kind]
        if not trials:
            continue
        found = [trial.get("status", "failed") for trial in trials]
        passed = sum(status in ("same", "faster") for status in found)
        pairs = [int(trial["over"].split()[0]) for trial in trials if trial.get("over")]
        walls = [trial["wall_s"] for trial in trials]
        counts = (found.count("slower"), passed, found.count("inconclusive"), found.count("failed"))
        cells = [
            kind,
            f"{len(trials)} of {wanted}",
            *(share(Share(count, len(trials))) for count in counts),
            f"{sum(pairs) / max(len(pairs), 1):.1f} (at most {max(pairs, default=0)})",
            f"{sum(walls) / len(walls):.0f} (at most {max(walls):.0f})",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    rows += ["", *(f"- {what}: {told}" for what, told in promises(done))]
    if commits := list(dict.fromkeys(trial["commit"] for trial in done if trial.get("commit"))):
        rows += ["", f"dlbench at {', '.join(commits)}"]
    return "\n".join(rows)


def promises(done: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """What the gate is to keep over a whole campaign, and whether it was: held, not held, or open while trials that
    could break it are to come."""

    def of(*kinds: str) -> list[dict[str, Any]]:
        return [trial for trial in done if trial["kind"] in kinds]

    def wrong(trials: list[dict[str, Any]], *fine: str) -> int:
        return sum(trial.get("status", "failed") not in fine for trial in trials)

    same, planted, burn, small = of("same"), of("wait", "copy"), of("burn"), of("small")
    no_failure = ("same", "faster", "inconclusive")
    late = sum(trial["wall_s"] > LIMIT_S for trial in done)
    asked = (
        ("same code: none of 60 fails", wrong(same, *no_failure), 0, same, 60),
        ("same code: at least 54 of 60 pass", wrong(same, "same", "faster"), 6, same, 60),
        ("5 % slower: at least 57 of 60 are found", wrong(planted, "slower"), 3, planted, 60),
        (
            "2 % slower, at a threshold of 2 %: at least 24 of 30",
            wrong(small, "slower"),
            6,
            small,
            30,
        ),
        ("a core busy: none of 40 fails", wrong(burn, *no_failure), 0, burn, 40),
        (f"each gate within {LIMIT_S:.0f} s", late, 0, done, sum(TRIALS.values())),
    )
    found = []
    for what, broken, allowed, trials, wanted in asked:
        if broken > allowed:
            told = "not held"
        else:
            told = "held" if len(trials) >= wanted else "open"
        found.append((what, f"{told}: {broken} of {len(trials)} otherwise"))
    return found


def share(found: Share) -> str:
    """``3 of 60 [1.0, 13.9]``: with the exact 95 % interval in percent."""
    low, high = (100 * bound for bound in found.interval)
    return f"{found.count} [{low:.0f}, {high:.0f}] %"


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a campaign; one that was cut off is left out."""
    lines = path.read_text("utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line]


def add(path: Path, line: dict[str, Any]) -> None:
    """Adds a line to a campaign."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
