"""`dlbench conformance` as somebody uses it who writes a backend."""

import json
import re
import subprocess
import sys

import pytest

BAD = """
from dlbench.backends.numpy.adapter import Adapter as Numpy


class Boom(Numpy):
    def open(self, plan, workload, weights):
        session = super().open(plan, workload, weights)
        session.train_step = explode
        return session


def explode(batch):
    print("about to explode")
    return deeper(batch)


def deeper(batch):
    raise ValueError("no such thing")
"""


@pytest.fixture
def conformance(tmp_path, cache_dir):
    (tmp_path / "bad.py").write_text(BAD)

    def conformance(*words):
        program = [sys.executable, "-c", "from dlbench.cli.main import main; main()"]
        return subprocess.run(
            [*program, "conformance", *words, "--networks", "0"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    return conformance


def test_an_exception_has_a_place_and_is_shown_once(conformance):
    done = conformance("bad:Boom", "--only", "loss")
    assert done.returncode == 1
    assert done.stdout.count("raised ValueError: no such thing (in explode)") == 2
    assert done.stdout.count('in deeper\n    raise ValueError("no such thing")') == 1
    assert "raised in 2 trials:" in done.stdout
    assert "dlbench/verify" not in done.stdout
    # what fails is told at once, and what the adapter prints too
    assert "✗ loss, cross_entropy: raised ValueError" in done.stderr
    assert "1 of 2, loss: cross_entropy" in done.stderr
    assert "about to explode" in done.stderr


def test_the_first_failure_can_be_the_last(conformance):
    done = conformance("bad:Boom", "--only", "layer", "--fail-fast", "--quiet")
    assert "not conformant: 1 trial of 1 failed" in done.stdout


@pytest.mark.parametrize(
    ("words", "tried"),
    [
        (["layer:max_pool"], {"max_pool"}),
        (["layer:max_pool*"], {"max_pool", "max_pool, overlapping"}),
        (["loss", "optimizer:sgd"], {"cross_entropy", "mean_squared_error", "sgd"}),
    ],
)
def test_only_what_is_named_is_tried(conformance, words, tried):
    only = [word for each in words for word in ("--only", each)]
    done = conformance("numpy", *only, "--format", "json", "--quiet")
    assert done.returncode == 0, done.stderr
    trials = json.loads(done.stdout)["trials"]
    assert {trial["name"] for trial in trials} == tried
    assert all(trial["reason"] == "" for trial in trials)


def test_a_name_that_is_none_is_told_with_the_nearest(conformance):
    done = conformance("numpy", "--only", "layer:max_pol")
    assert done.returncode == 2
    assert "--only layer:max_pol: no such trial" in done.stderr
    assert "layer:max_pool" in done.stderr


def test_every_trial_can_be_seen_with_its_largest_error(conformance):
    done = conformance("numpy", "--only", "loss", "--verbose", "--quiet")
    assert re.search(r"^  loss, cross_entropy: largest error \d", done.stdout, re.M)
