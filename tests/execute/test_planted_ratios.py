"""How often intervals of measured ratios hold the ratio that was planted: 200 runs of three rounds each, live.

Runs for most of an hour, prints the counts, and needs a machine that nobody else uses.
"""

import csv
import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dlbench.analyse.outcomes import timed_of
from dlbench.analyse.statistics import case_estimate, ratio
from dlbench.record.file import read_record
from dlbench.record.schema import Process

pytestmark = pytest.mark.soak
RUNS = int(os.environ.get("DLBENCH_CAMPAIGN_RUNS", "200"))
ROUNDS = 3
SHARE_S = 0.2
PLANTED = {"planted:Same": 1.0, "planted:Slower": 1.05}
FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="module")
def timed(tmp_path_factory):
    """By scenario and backend, what each fresh process timed, by round."""
    folder = tmp_path_factory.mktemp("planted")
    output, rounds = folder / "planted.jsonl", RUNS * ROUNDS
    command = [Path(sys.executable).with_name("dlbench"), "run", "--suite", "smoke", "--quiet"]
    command += [word for name in ("planted:Base", *PLANTED) for word in ("--backend", name)]
    command += ["--rounds", rounds, "--budget", SHARE_S * rounds, "--max-wait", 0]
    command += ["--telemetry-period", "off", "--output", output]
    done = subprocess.run(
        list(map(str, command)),
        cwd=FIXTURES,
        env=os.environ | {"DLBENCH_CACHE_DIR": str(folder / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = {}
    for line in read_record(output).lines:
        if isinstance(line, Process) and line.status == "ok":
            found.setdefault((line.case.scenario, line.case.backend), {})[line.round] = timed_of(
                line
            )
    if "DLBENCH_BLOCKS" in os.environ:
        write(found, Path(os.environ["DLBENCH_BLOCKS"]))
    return found


def write(found, path):
    """The medians of blocks in µs, a row a process."""
    with gzip.open(path, "wt", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        for (scenario, backend), processes in found.items():
            for number, process in processes.items():
                blocks_us = [f"{1e6 * block_s:.2f}" for block_s in process.blocks_s]
                rows.writerow([scenario, backend, number, *blocks_us])


def by_run(processes):
    """Those of each run of `ROUNDS`."""
    for first in range(1, RUNS * ROUNDS, ROUNDS):
        numbers = range(first, first + ROUNDS)
        yield {number: processes[number] for number in numbers if number in processes}


@pytest.mark.parametrize("scenario", ["train", "infer"])
@pytest.mark.parametrize(("backend", "truth"), PLANTED.items())
def test_the_interval_of_a_ratio_holds_what_was_planted(timed, scenario, backend, truth, capsys):
    sides = (by_run(timed[scenario, name]) for name in (backend, "planted:Base"))
    found = [ratio(*run) for run in zip(*sides, strict=True)]
    held = sum(not each.interval.excludes(truth) for each in found)
    widths = sorted(each.interval.high / each.interval.low for each in found)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{scenario} {truth}: {held} of {len(found)}, median width {widths[len(widths) // 2]:.4f}"
        )
    assert 0.92 * len(found) <= held <= 0.98 * len(found)


@pytest.mark.parametrize("scenario", ["train", "infer"])
def test_the_interval_of_a_median_holds_the_median_over_all_processes(timed, scenario, capsys):
    processes = timed[scenario, "planted:Base"]
    truth_s = case_estimate([each.median_s for each in processes.values()]).value
    runs = [[each.median_s for each in run.values()] for run in by_run(processes)]
    held = sum(not case_estimate(run).interval.excludes(truth_s) for run in runs)
    with capsys.disabled():
        sys.stdout.write(f"\n{scenario} median: {held} of {len(runs)}")
