"""The Keras backend on each of its engines: right, and wrong where Keras is left to its own conventions."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dlbench.contract import Plan
from dlbench.errors import BackendUnavailable, PlanRefused

pytest.importorskip("keras")

from dlbench.backends.keras import adapter

# of each engine one way, between them both
WAYS = ("torch", "tensorflow-step", "jax-step")
FEW = ("layer:batch_norm of features", "optimizer:adamw, biases*", "session:results*")


def on_one_core():
    """So that one worker imports and compiles."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})


def conformant(folder, mode, *words, timeout_s=300, preexec_fn=None):
    command = [Path(sys.executable).with_name("dlbench"), "conformance", "keras", "--mode", mode]
    ran = subprocess.run(
        [*command, "--threads", "1", "--quiet", *words],
        cwd=folder,
        preexec_fn=preexec_fn,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert 0 == ran.returncode, ran.stdout + ran.stderr
    return re.search(r"^conformant: .*$", ran.stdout, re.MULTILINE)[0]


@pytest.mark.parametrize("mode", WAYS)
def test_running_statistics_and_moments_agree_on_each_engine(tmp_path, mode):
    pytest.importorskip(mode.partition("-")[0])
    words = [word for name in FEW for word in ("--only", name)]
    told = conformant(tmp_path, mode, *words, preexec_fn=on_one_core)
    assert "refused" not in told


@pytest.mark.soak
@pytest.mark.parametrize("mode", adapter.MODES)
def test_a_whole_mode_is_conformant_with_networks_drawn_afresh(tmp_path, mode):
    seed = int.from_bytes(os.urandom(3), "big")
    conformant(tmp_path, mode, "--networks", "200", "--seed", str(seed), timeout_s=7200)


@pytest.fixture(scope="module")
def found(cache_dir):
    """The first check that fails, by fault."""
    pytest.importorskip("torch")
    program = Path(__file__).with_name("keras_faults.py")
    ran = subprocess.run(
        [sys.executable, program, cache_dir], capture_output=True, text=True, timeout=300
    )
    assert 0 == ran.returncode, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("Keras' running variance", "running_variance after the step, step 1"),
        ("Keras' momentum", "running_mean after the step, step 1"),
        ("Keras' velocity", "after the step, step 2"),
        ("Keras' eps before the correction", "after the step, step 1"),
        ("Keras' eps inside the root", "after the step, step 1"),
        ("another layout", "logits, step 1"),
        ("labels of four bytes", "loss, step 1"),
    ],
)
def test_a_convention_of_keras_is_found_by_the_check_meant_for_it(found, fault, check):
    assert check in found[fault]


def test_without_a_fault_every_check_passes(found):
    assert ["", ""] == [found[name] for name in found if name.startswith("nothing")]


def test_the_first_mode_is_one_whose_engine_is_installed(monkeypatch):
    find = adapter.importlib.util.find_spec
    absent = {"tensorflow", "jax"}
    monkeypatch.setattr(
        adapter.importlib.util, "find_spec", lambda name: None if name in absent else find(name)
    )
    assert "torch" == adapter.Adapter().info().mode
    absent.add("torch")
    with pytest.raises(BackendUnavailable, match="none of its engines") as refused:
        adapter.Adapter().info()
    assert "pip install" in refused.value.remedy
    absent.add("keras")
    with pytest.raises(BackendUnavailable, match="Keras is not installed"):
        adapter.Adapter().info()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"device": "cuda"}, "keras computes on cpu, not on 'cuda'"),
        ({"precision": "bf16"}, "keras computes in fp32, not in 'bf16'"),
        ({"mode": "auto"}, "it has no 'auto'"),
    ],
)
def test_what_it_has_not_got_is_refused(changes, told):
    plan = Plan(**({"backend": "keras", "device": "cpu", "batch": 4, "threads": 1} | changes))
    with pytest.raises(PlanRefused, match=re.escape(told)):
        adapter.Adapter().start(plan)


def test_each_mode_asks_for_its_engine_before_keras_is_imported():
    asked = {}
    for mode in adapter.MODES:
        plan = Plan("keras", "cpu", 4, 3, mode=mode)
        asked[mode] = adapter.Adapter().environment(plan)
    assert {mode: mode.partition("-")[0] for mode in adapter.MODES} == {
        mode: environment["KERAS_BACKEND"] for mode, environment in asked.items()
    }
    assert "3" == asked["jax-step"]["NPROC"] == asked["tensorflow"]["TF_NUM_INTRAOP_THREADS"]
