"""The JAX backend: all of the specification, its threads, and faults that JAX and XLA make easy."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dlbench.contract import Plan
from dlbench.errors import BackendUnavailable
from dlbench.spec import layers as spec
from dlbench.spec.layers import KINDS
from dlbench.spec.training import LOSSES
from dlbench.verify.check import verify
from dlbench.verify.checks.steps import check_gradients, check_steps
from dlbench.verify.expected.reference import load_reference
from dlbench.verify.sessions.reuse import Reusing

jax = pytest.importorskip("jax")

from dlbench.backends.jax import adapter, layers  # noqa: E402

FOLDER = Path(layers.__file__).parent
MOST_LINES = 300
END = ({"type": "flatten"}, {"type": "linear", "out_features": 3})
IMAGE = ({"type": "conv2d", "out_channels": 2, "kernel": 3}, {"type": "tanh"}, *END)
NORM = ({"type": "flatten"}, {"type": "batch_norm"}, {"type": "linear", "out_features": 3})
# height, width and channels agree, so that an image read in another order has the same shape
SQUARE = (4, 4, 4)
PLAN = Plan("jax", "cpu", 4, 1)
SGD = {"type": "sgd", "learning_rate": 0.05, "momentum": 0.9}


def workload(lab, layers=END):
    return lab.workload(layers, SQUARE, optimizer=SGD)


def first_failure(made, lab, cache_dir, layers):
    """The first check of five steps that fails of an adapter; empty where none does. Not the whole verification, which
    goes on to find out where a fault lies, and has much compiled for it."""
    chosen, reusing = workload(lab, layers), Reusing(made)
    small = load_reference(chosen, 4, cache_dir, small=4).small
    gradients, of_the_rule = check_gradients(reusing, PLAN, chosen, small)
    checks = (
        gradients
        if not all(check.passed for check in gradients)
        else [*check_steps(reusing, PLAN, chosen, small), *of_the_rule]
    )
    return next((check.name for check in checks if not check.passed), "")


def test_it_has_all_layers_and_losses_and_a_session_of_few_lines():
    source = (FOLDER / "layers.py").read_text("utf-8")
    session = [(FOLDER / name).read_text("utf-8") for name in ("adapter.py", "runtime.py")]
    assert sum(len(each.splitlines()) for each in session) <= MOST_LINES
    for kinds, room in ((KINDS, "spec"), (LOSSES, "training")):
        for kind in kinds.values():
            assert re.search(rf"case {room}\.{kind.__name__}\(\)", source), kind


def test_a_network_is_verified_where_height_width_and_channels_agree(lab_of, cache_dir):
    lab = lab_of("jax")
    for chosen in (IMAGE, NORM, END):
        assert "" == first_failure(lab.adapter, lab, cache_dir, chosen)
    found = verify(Reusing(lab.adapter), PLAN, workload(lab, IMAGE), cache_dir, small_batch=4)
    assert "" == found.reason


class Wrong(adapter.Adapter):
    """Right in everything but one thing."""

    def entering(self, values, momentum):
        """What running statistics are moved by: how many values there were, and the share that is new."""
        return values, momentum

    def layer(self, node, x, run):
        if not isinstance(node.layer, spec.BatchNorm):
            return super().layer(node, x, run)
        move = run.move
        run.move = lambda node, mean, variance, *by: move(node, mean, variance, *self.entering(*by))
        outputs = super().layer(node, x, run)
        run.move = move
        return outputs


class BiasedVariance(Wrong):
    """Running statistics of the variance that the batch is normalised by."""

    def entering(self, values, momentum):
        return 2**40, momentum


class OtherMomentum(Wrong):
    """The share that stays for the share that is new."""

    def entering(self, values, momentum):
        return values, 1 - momentum


class ChannelsFirst(Wrong):
    """Images as they are given, read as if their channels were last."""

    def put(self, array, role):
        if role == "inputs":
            return jax.numpy.array(array)
        return super().put(array, role)


class ShortLabels(Wrong):
    """Labels of eight bits, of which the last place is lost."""

    def put(self, array, role):
        if role == "targets" and array.ndim == 1:
            array = (array // 2 * 2).astype(np.int8)
        return super().put(array, role)


class KeptState(Wrong):
    """A step that begins at the arrays that the first one was given: what is donated is copied and read again."""

    def training(self, plan, workload):
        step, first = super().training(plan, workload), []

        def stale(state, *arguments):
            first.append(jax.tree.map(lambda array: array.copy(), state))
            return step(jax.tree.map(lambda array: array.copy(), first[0]), *arguments)

        return stale


@pytest.mark.parametrize(
    ("wrong", "layers", "check"),
    [
        (BiasedVariance, NORM, "running_variance after the step, step 1"),
        (OtherMomentum, NORM, "running_mean after the step, step 1"),
        (ChannelsFirst, IMAGE, "logits, step 1"),
        (ShortLabels, END, "loss, step 1"),
        (KeptState, END, "step 2"),
    ],
)
def test_a_fault_of_a_functional_framework_is_found_by_the_check_meant_for_it(
    lab_of, cache_dir, wrong, layers, check
):
    assert check in first_failure(wrong(), lab_of("jax"), cache_dir, layers)


def test_a_donated_array_that_is_read_again_is_an_error_of_the_backend(lab_of, cache_dir):
    class ReadsAgain(Wrong):
        def training(self, plan, workload):
            step, first = super().training(plan, workload), []

            def again(state, *arguments):
                first.append(state)
                return step(first[0], *arguments)

            return again

    with pytest.raises((RuntimeError, ValueError), match=r"deleted|donated"):
        first_failure(ReadsAgain(), lab_of("jax"), cache_dir, END)


def test_a_device_that_is_not_there_says_what_would_help(lab_of):
    lab = lab_of("jax")
    info = lab.adapter.info()
    if any(device.kind == "cuda" for device in info.devices):
        pytest.skip("JAX has a GPU here")
    assert "CUDA" in info.absent["cuda"]
    with pytest.raises(BackendUnavailable, match="no CUDA device"):
        lab.open(workload(lab), device="cuda")


FACTS = """
import json, os
from dlbench.backends.jax.adapter import Adapter
from dlbench.contract import Plan
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import initial_weights
plan = Plan("jax", "cpu", 4, 3)
os.environ.update(Adapter().environment(plan))
workload = load_suite("linear-mse").workload
print(json.dumps(dict(Adapter().open(plan, workload, initial_weights(workload, 0)).facts)))
"""


def test_the_plans_threads_are_what_xla_starts_whatever_the_environment_asks_for():
    mischief = {"NPROC": "7", "OMP_NUM_THREADS": "5", "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16"}
    ended = subprocess.run(
        [sys.executable, "-c", FACTS], capture_output=True, text=True, env=os.environ | mischief
    )
    assert 0 == ended.returncode, ended.stderr
    facts = json.loads(ended.stdout)
    assert {"device": "cpu", "threads": 3, "tf32": "off"} == facts


def conformant(dlbench, *more, timeout_s=300):
    ran = dlbench("conformance", "jax", "--quiet", *more, timeout_s=timeout_s)
    assert 0 == ran.returncode, ran.stdout + ran.stderr
    assert re.search(r"^conformant: \d+ trials, [\d,]+ comparisons$", ran.stdout, re.MULTILINE)


def test_it_agrees_where_running_statistics_moments_and_windows_count(program):
    """The whole, which takes its compiler minutes, stands under the mark `soak`."""
    chosen = ("layer:avg_pool that counts padding, in*", "layer:max_pool, over*", "optimizer:adam")
    # more threads than there may be cores, so that one worker compiles all of it
    conformant(program, "--threads", "4", *(w for name in chosen for w in ("--only", name)))


@pytest.mark.soak
def test_the_whole_backend_is_conformant_with_networks_drawn_afresh(program):
    seed = int.from_bytes(os.urandom(3), "big")
    conformant(program, "--networks", "200", "--seed", str(seed), timeout_s=3600)


@pytest.fixture
def program(tmp_path):
    """Runs the program in an empty folder."""

    def program(*words, timeout_s):
        script = Path(sys.executable).with_name("dlbench")
        return subprocess.run(
            [script, *words], cwd=tmp_path, capture_output=True, text=True, timeout=timeout_s
        )

    return program
