"""`dlbench conformance` as somebody uses it who writes a backend."""

import json
import re
import signal
import subprocess
import sys

import pytest

BAD = """
import os
import time

from dlbench.backends.numpy.adapter import Adapter as Numpy
from dlbench.errors import PlanRefused


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


class Waits(Numpy):
    # goes on for ever in the trial of AdamW, and is wrong in those of Adam
    def open(self, plan, workload, weights):
        session = super().open(plan, workload, weights)
        kind = type(workload.optimizer).__name__
        if kind == "AdamW":
            print("waiting", flush=True)
            time.sleep(1000)
        if kind == "Adam":
            session.download = lambda result: None
        return session


class Dies(Numpy):
    def open(self, plan, workload, weights):
        if type(workload.optimizer).__name__ == "AdamW":
            os._exit(5)
        return super().open(plan, workload, weights)


class Plain(Numpy):
    def open(self, plan, workload, weights):
        if getattr(workload.optimizer, "momentum", 0):
            raise PlanRefused("no momentum")
        return super().open(plan, workload, weights)


class Flat(Numpy):
    def open(self, plan, workload, weights):
        if type(workload.loss).__name__ == "CrossEntropy":
            raise PlanRefused("no cross_entropy")
        return super().open(plan, workload, weights)


class Adaptor:
    def info(self):
        return "numpy"
"""


@pytest.fixture
def conformance(tmp_path, cache_dir):
    (tmp_path / "bad.py").write_text(BAD)

    def conformance(*words, start=subprocess.run, **streams):
        program = [sys.executable, "-c", "from dlbench.cli.main import main; main()"]
        return start(
            [*program, "conformance", *words, "--networks", "0"],
            cwd=tmp_path,
            text=True,
            **(streams or {"capture_output": True}),
        )

    return conformance


def test_an_exception_has_a_place_and_is_shown_once(conformance):
    done = conformance("bad:Boom", "--only", "loss")
    assert done.returncode == 1
    assert done.stdout.count("✗ 3 trials: raised ValueError: no such thing (in explode)") == 1
    assert re.search(r"^  loss: cross_entropy, .*mean_squared_error$", done.stdout, re.MULTILINE)
    assert done.stdout.count('in deeper\n    raise ValueError("no such thing")') == 1
    assert "raised in 3 trials:" in done.stdout
    assert "dlbench/verify" not in done.stdout
    # what fails is told at once, and what the adapter prints too
    assert "✗ loss, cross_entropy: raised ValueError" in done.stderr
    assert "1 of 3, loss: cross_entropy" in done.stderr
    assert "about to explode" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("form", ["table", "json"])
def test_an_interrupt_shows_what_was_found_until_then(conformance, number, form):
    names = ["adam", "adam with weight decay", "adamw"]
    words = [word for name in names for word in ("--only", f"optimizer:{name}")]
    words = ["bad:Waits", *words, "--format", form]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with conformance(*words, start=subprocess.Popen, **piped) as program:
        for line in program.stderr:
            if line.startswith("3 of 3, optimizer: adamw"):
                break
        program.send_signal(number)
        out, _ = program.communicate()
    assert 130 == program.returncode
    if form == "json":
        told = json.loads(out)
        assert (3, True) == (told["planned"], told["interrupted"])
        # the second may be under way still
        assert told["trials"]
        made = [trial["name"] for trial in told["trials"]]
        assert names[: len(made)] == made
    else:
        # alike ones are told together, and the second may be under way still
        failed = r"^✗ (optimizer, adam|2 trials): download\(\) of what .* gave is None"
        assert re.search(failed, out, re.M)
        assert re.search(r"^interrupted: ([12]) of 3 trials made, \1 failed$", out, re.M)


def test_a_worker_that_dies_fails_its_trial_and_no_other(conformance):
    names = ["adam", "adamw", "adagrad"]
    words = [word for name in names for word in ("--only", f"optimizer:{name}")]
    done = conformance("bad:Dies", *words, "--format", "json")
    assert 1 == done.returncode
    reasons = {trial["name"]: trial["reason"] for trial in json.loads(done.stdout)["trials"]}
    assert "exited with code 5 in verify" in reasons.pop("adamw")
    assert {"adam", "adagrad"} == reasons.keys()
    assert {""} == set(reasons.values())


@pytest.mark.parametrize(
    ("backend", "said"),
    [
        ("bad:Adapter", "did you mean 'Adaptor'?"),
        ("bad:Adaptor", "open(plan, workload, weights) of class bad:Adaptor is missing"),
        ("bat:Adaptor", "No module named 'bat'; did you mean 'bad'?"),
    ],
)
def test_what_is_no_adapter_is_told_before_anything_is_tried(conformance, backend, said):
    done = conformance(backend)
    assert 1 == done.returncode
    assert said in done.stderr
    assert "" == done.stdout
    assert ("Traceback" in done.stderr) == ("is missing" in said)


def test_a_backend_without_momentum_has_its_sessions_tried_without(conformance):
    done = conformance("bad:Plain", "--only", "session", "--quiet")
    assert 0 == done.returncode, done.stdout
    assert "✓ session  3 of 3 agree" in done.stdout
    assert "no trial of sessions" not in done.stdout


def test_a_verdict_says_that_no_trial_of_sessions_could_be_made(conformance):
    only = ["--only", "session", "--only", "loss:mean_squared_error"]
    done = conformance("bad:Flat", *only, "--quiet")
    assert 0 == done.returncode, done.stdout
    told = r"^conformant: 1 trial, .*; 3 refused; no trial of sessions could be made$"
    assert re.search(told, done.stdout, re.MULTILINE)


def test_the_first_failure_can_be_the_last(conformance):
    done = conformance("bad:Boom", "--only", "layer", "--fail-fast", "--quiet")
    assert "not conformant: 1 trial of 1 failed" in done.stdout


@pytest.mark.parametrize(
    ("words", "tried"),
    [
        (["layer:max_pool"], {"max_pool"}),
        (["layer:max_pool,*"], {"max_pool, overlapping"}),
        (["loss:mean*", "optimizer:sgd"], {"mean_squared_error", "sgd"}),
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
