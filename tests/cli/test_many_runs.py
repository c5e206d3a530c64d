"""What only many runs show: that no right backend is ever called unverified, and that nothing is concluded beside a
process that burns a core."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.soak

RUNS = 50
PROCESSES = 2000
BACKENDS = ("numpy", "torch", "tensorflow")
BATCHES = (1, 2, 3, 4, 6, 8, 11, 16)
SUITES = Path(__file__).resolve().parents[2] / "suites"


@pytest.fixture
def run(tmp_path, cache_dir):
    """A run of the program with a seed of its own, and what it found."""

    def run(*words):
        seed = str(random.SystemRandom().randrange(2**31))
        program = [sys.executable, "-c", "from dlbench.cli.main import main; main()", "run"]
        more = ["--max-wait", "0", "--seed", seed, "--format", "json", "--quiet"]
        done = subprocess.run(
            [*program, *words, *more, "--output", str(tmp_path / f"{seed}.jsonl")],
            env=os.environ | {"DLBENCH_CACHE_DIR": str(cache_dir)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (words, seed, done.stdout, done.stderr)
        return json.loads(done.stdout)

    return run


@pytest.fixture
def burner():
    with subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) as burning:
        yield
        burning.kill()


def test_nothing_is_concluded_from_a_disturbed_row(run, burner):
    for _ in range(RUNS):
        words = ["--suite", "smoke", "--backend", "numpy", "--backend", "torch"]
        found = run(*words, "--budget", "0.3", "--rounds", "2")
        for scenario, about in (("train", "training"), ("infer", "inference")):
            rows = [row for row in found["rows"] if row["scenario"] == scenario]
            if any(row["disturbed"] for row in rows):
                said = [text for text in found["readings"] if about in text or scenario in text]
                assert said, found["readings"]
                assert all(f"nothing is concluded about {about}" in text for text in said), said


@pytest.mark.parametrize("data", ["noise", "mnist"])
@pytest.mark.parametrize("dropout", [True, False])
@pytest.mark.parametrize("backend", BACKENDS)
def test_no_process_of_a_right_backend_is_called_unverified(backend, dropout, data, run, tmp_path):
    suite = tmp_path / "suite.toml"
    text = (SUITES / "smoke.toml").read_text("utf-8")
    suite.write_text(text if dropout else text.replace("rate = 0.25", "rate = 0.0"))
    groups = len(BACKENDS) * 2 * 2 * len(BATCHES)
    rounds = -(-PROCESSES // groups)
    for batch in BATCHES:
        words = ["--suite", str(suite), "--backend", backend, "--data", data, "--batch", str(batch)]
        words += ["--scenario", "train", "--rounds", str(rounds), "--budget", str(rounds / 10)]
        (row,) = run(*words)["rows"]
        assert row["verified"], row
