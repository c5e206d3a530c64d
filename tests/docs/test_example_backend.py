import dataclasses
import json
import platform
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from dlbench.contract import Plan
from dlbench.errors import PlanRefused
from dlbench.plugins import adapter_target
from dlbench.record.file import read_record
from dlbench.record.schema import Profile
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import initial_weights, read_workload
from dlbench.verify.check import verify
from dlbench.verify.conformance import trials

DOCS = Path(__file__).resolve().parents[2] / "docs"
SOURCE = (DOCS / "example_backend.py").read_text("utf-8")
PAGE = (DOCS / "write-a-backend.md").read_text("utf-8")
JAX = DOCS.parent / "backends" / "jax"
EXAMPLES = (SOURCE, *((JAX / name).read_text("utf-8") for name in ("adapter.py", "layers.py")))
PYTHON_BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def adapter(source=SOURCE):
    """The example's adapter, from its source or a changed one."""
    module = types.ModuleType("changed_example")
    exec(compile(source, "changed_example.py", "exec"), module.__dict__)
    return module.Adapter()


def trial(group, name):
    return next(t for t in trials(0, 0) if (t.group, t.name) == (group, name))


def verdict(source, group, name, cache_dir):
    """What the verification says of the example, possibly changed, in one trial."""
    chosen = trial(group, name)
    plan = Plan("example", "cpu", chosen.batch, 1)
    return verify(adapter(source), plan, chosen.workload, cache_dir).reason


def changed(old, new):
    assert old in SOURCE
    return SOURCE.replace(old, new)


def test_the_example_is_conformant_and_refuses_what_it_lacks(dlbench):
    ran = dlbench("conformance", "example_backend:Adapter", "--networks", "0", "--quiet", cwd=DOCS)
    assert 0 == ran.returncode, ran.stdout + ran.stderr
    assert "✗" not in ran.stdout
    assert re.search(r"^conformant: \d+ trials", ran.stdout, re.MULTILINE)
    assert "example has no leaky_relu" in ran.stdout


def test_the_example_gets_verified_rows(dlbench, tmp_path):
    words = [
        "run",
        "--suite",
        "smoke",
        "--backend",
        "numpy",
        "--backend",
        "example_backend:Adapter",
        "--budget",
        "1",
    ]
    more = ["--rounds", "1", "--threads", "1", "--quiet", "--format", "json"]
    ran = dlbench(*words, *more, cwd=tmp_path, PYTHONPATH=str(DOCS))
    assert 0 == ran.returncode, ran.stderr
    rows = [r for r in json.loads(ran.stdout)["rows"] if r["backend"] == "example_backend:Adapter"]
    assert {"train", "infer"} == {row["scenario"] for row in rows}
    assert all(row["verified"] and row["status"] == "ok" and row["speedup"] > 0 for row in rows)


def test_the_example_has_a_profile_with_no_code_for_it(dlbench, tmp_path):
    """A ladder, its layers alone, and what oneDNN did beneath PyTorch's functions."""
    words = [
        "profile",
        "--suite",
        "smoke",
        "--backend",
        "example_backend:Adapter",
        "--budget",
        "0.2",
    ]
    more = ["--threads", "1", "--data", "noise", "--quiet", "--output", "profile.jsonl"]
    ran = dlbench(*words, *more, "--format", "json", cwd=tmp_path, PYTHONPATH=str(DOCS))
    assert 0 == ran.returncode, ran.stderr
    rows = json.loads(ran.stdout)["layers"]
    layers = [node.name for node in load_suite("smoke").workload.nodes]
    for scenario in ("train", "infer"):
        own = [row for row in rows if row["scenario"] == scenario and row["kind"] == "layer"]
        assert layers == [row["part"] for row in own]
        assert all(row["alone_s"] is not None for row in own)
    profiles = [
        line for line in read_record(tmp_path / "profile.jsonl").lines if isinstance(line, Profile)
    ]
    assert {"train", "infer"} == {line.case.scenario for line in profiles}
    kinds = [{each.kind for each in line.primitives} for line in profiles]
    assert all("convolution" in each for each in kinds) or platform.machine() != "x86_64"


@pytest.mark.parametrize(
    ("group", "name"),
    [("layer", "conv2d"), ("layer", "batch_norm"), ("optimizer", "sgd with momentum")],
)
def test_the_unchanged_example_passes_where_mistakes_are_planted(group, name, cache_dir):
    assert "" == verdict(SOURCE, group, name, cache_dir)


def test_a_wrong_order_in_flatten_is_named_as_the_page_says(cache_dir):
    source = changed("x.flatten(1)", "x.movedim(1, -1).flatten(1)")
    reason = verdict(source, "layer", "conv2d", cache_dir)
    assert reason.startswith("output of flatten1[")
    assert "gradient of linear1.bias, step 1" in reason
    assert "x.movedim(1, -1).flatten(1)" in PAGE
    assert "✗ layer, conv2d: output of flatten1[" in PAGE


def test_a_dampened_velocity_is_named_as_the_page_says(cache_dir):
    source = changed(".add_(gradient)", ".add_(gradient, alpha=1 - rule.momentum)")
    source = source.replace("gradient.clone()", "gradient * (1 - rule.momentum)")
    reason = verdict(source, "optimizer", "sgd with momentum", cache_dir)
    assert reason.startswith("conv1.weight after the step, step 1[")
    told = "; the optimizer steps as with a velocity that is an average"
    assert reason.endswith(told)
    assert told in PAGE
    assert "✗ optimizer, sgd with momentum: conv1.weight after the step, step 1[" in PAGE
    assert "" == verdict(source, "optimizer", "sgd", cache_dir)


def test_a_refused_layer_optimizer_device_and_precision_each_say_what_is_missing():
    small = trial("layer", "linear").workload
    plan = Plan("example", "cpu", 4, 1)
    for workload, changes, word in (
        (trial("layer", "sigmoid").workload, {}, "sigmoid"),
        (trial("optimizer", "adamw").workload, {}, "adamw"),
        (small, {"device": "cuda"}, "cuda"),
        (small, {"precision": "bf16"}, "bf16"),
        (small, {"mode": "graph"}, "graph"),
    ):
        with pytest.raises(PlanRefused, match=word):
            adapter().open(
                dataclasses.replace(plan, **changes), workload, initial_weights(workload, 0)
            )


def test_arrays_given_to_the_example_and_taken_from_it_are_copies():
    workload = trial("layer", "batch_norm").workload
    weights = initial_weights(workload, 0)
    session = adapter().open(Plan("example", "cpu", 4, 1), workload, weights)
    kept = {name: value.copy() for name, value in weights.items()}
    taken = session.weights()
    inputs = np.random.default_rng(0).standard_normal((4, *workload.input_shape), np.float32)
    session.train_step(session.upload(inputs, np.arange(4) % 3))
    for name, value in kept.items():
        np.testing.assert_array_equal(value, weights[name])
        np.testing.assert_array_equal(value, taken[name])
    assert all((session.weights()[name] != kept[name]).any() for name in kept)


@pytest.mark.parametrize("block", PYTHON_BLOCKS)
def test_code_on_the_page_is_an_examples_own_or_runs(block, monkeypatch, capsys):
    if any(block in example for example in EXAMPLES):
        return
    monkeypatch.syspath_prepend(str(DOCS))
    try:
        exec(compile(block, "page", "exec"), {})
    finally:
        sys.modules.pop("example_backend", None)
    assert float(capsys.readouterr().out) < 1e-5


def test_the_entry_point_on_the_page_gives_the_backend_its_name(tmp_path, monkeypatch):
    (table,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (line,) = [line for line in table.splitlines() if not line.startswith("[")]
    info = tmp_path / "example-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1.0\n")
    name, target = (part.strip(' "') for part in line.split("="))
    (info / "entry_points.txt").write_text(f"[dlbench.backends]\n{name} = {target}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "example_backend:Adapter" == adapter_target("example")


def test_what_the_page_says_verification_itself_needs_is_what_it_opens(cache_dir):
    used = set()
    real = adapter()

    class Watching:
        def info(self):
            return real.info()

        def open(self, plan, workload, weights):
            kinds = [layer["type"] for layer in workload.to_table()["layers"]]
            used.update([*kinds, workload.to_table()["loss"]])
            return real.open(plan, workload, weights)

    chosen = read_workload(
        {
            "input_shape": [1, 9, 9],
            "layers": [
                {"type": "conv2d", "out_channels": 2, "kernel": 3},
                {"type": "max_pool", "kernel": 2},
                {"type": "flatten"},
                {"type": "linear", "out_features": 3},
            ],
            "loss": "cross_entropy",
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )
    assert "" == verify(Watching(), Plan("example", "cpu", 4, 1), chosen, cache_dir).reason
    asked = used - {"conv2d", "max_pool", "flatten", "linear", "cross_entropy"}
    assert {"tanh", "mean_squared_error"} == asked
    assert all(f"`{word}`" in PAGE for word in asked)
