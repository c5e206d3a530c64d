"""How often a disturbance is marked, and how often a machine at rest is called disturbed: twenty runs a condition.

Runs for minutes, prints the counts, and needs a machine that nobody else uses.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from disturbers import NotPermittedError, burner, quota

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(
        len(os.sched_getaffinity(0)) < 2, reason="takes two cores: one to time on, one to disturb"
    ),
]
RUNS = int(os.environ.get("DLBENCH_CAMPAIGN_RUNS", "20"))
CORES = sorted(os.sched_getaffinity(0))[:2]
# a run among bursts is to be longer than the time between two
BUDGET_S = {"bursts": 3}
OTHER_BUDGET_S, PATIENCE_S = 1, 1


@contextlib.contextmanager
def condition(name):
    """Words before the command, and what the runs are to be marked with."""
    on_two = ["taskset", "-c", ",".join(map(str, CORES))]
    if name == "burner":
        with burner():
            yield on_two, "other processes had"
    elif name == "bursts":
        with burner(2, 5):
            yield on_two, "other processes had"
    elif name == "one core":
        yield ["taskset", "-c", str(CORES[0])], "confined to 1"
    elif name == "quota":
        with quota(1.5) as processes:
            joined = f'echo $$ > {processes} && exec "$@"'
            yield [*on_two, "sh", "-c", joined, "sh"], "a quota of 1.5 cores for 2 threads"
    else:
        yield on_two, None


def run(before, folder, number, budget_s):
    """One run: its rows."""
    command = [*before, Path(sys.executable).with_name("dlbench"), "run", "--suite", "smoke"]
    command += ["--backend", "numpy", "--budget", budget_s, "--patience", PATIENCE_S, "--quiet"]
    # a worker that is confined has fewer cores than threads that are asked for
    command += ["--threads", 2, "--output", folder / f"{number}.jsonl", "--format", "json"]
    done = subprocess.run(
        list(map(str, command)),
        env=os.environ | {"DLBENCH_CACHE_DIR": str(folder / "cache")},
        capture_output=True,
        text=True,
    )
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout)["rows"]


@pytest.mark.parametrize("name", ["at rest", "burner", "bursts", "one core", "quota"])
def test_every_row_of_a_disturbed_run_is_marked_and_hardly_one_at_rest(name, tmp_path, capsys):
    marked = []
    try:
        with condition(name) as (before, cause):
            for number in range(RUNS):
                rows = run(before, tmp_path, number, BUDGET_S.get(name, OTHER_BUDGET_S))
                told = [row["disturbed"] and (row["disturbance"] or "") for row in rows]
                right = [bool(text) and (cause or "") in text for text in told]
                marked.append(any(right) if cause is None else all(right))
                with capsys.disabled():
                    sys.stdout.write(f"\n{name}, run {number + 1}: {told}")
    except NotPermittedError as reason:
        pytest.skip(str(reason))
    with capsys.disabled():
        sys.stdout.write(f"\n{name}: {sum(marked)} of {RUNS} runs marked\n")
    if cause is None:
        assert sum(marked) <= RUNS / 20
    else:
        assert all(marked)
