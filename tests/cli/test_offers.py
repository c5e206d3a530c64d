"""What backends answer when they are asked what they have."""

import importlib.util
import json

import pytest
from click.testing import CliRunner

from dlbench import plugins
from dlbench.cli.frameworks.offers import ask
from dlbench.cli.main import cli
from dlbench.environments.recipes import RECIPES
from dlbench.execute import probe
from dlbench.plan.matrix import AGREES, FAILS, NOT_INSTALLED, NOT_OFFERED, REFUSES, Cell
from dlbench.spec.layers import KINDS
from dlbench.spec.network import walk
from dlbench.spec.training import LOSSES, OPTIMIZERS
from dlbench.verify.conformance import example_of


@pytest.fixture(scope="module")
def found(cache_dir):
    backends = [f"partial:{name}" for name in ("Partial", "OnlyInfers", "NotHere")]
    return ask(backends, cache_dir=cache_dir)


@pytest.mark.parametrize("word", KINDS)
def test_every_layer_has_an_example(word):
    kinds = {type(node.layer) for node in walk(example_of("layer", word).workload.nodes)}
    assert KINDS[word] in kinds


@pytest.mark.parametrize(("group", "kinds"), [("loss", LOSSES), ("optimizer", OPTIMIZERS)])
def test_every_loss_and_optimizer_has_an_example(group, kinds):
    for word, kind in kinds.items():
        workload = example_of(group, word).workload
        assert kind in (type(workload.loss), type(workload.optimizer))


def test_what_no_trial_has_is_an_error_and_not_another_trial():
    with pytest.raises(LookupError, match="no trial of layer has lstm"):
        example_of("layer", "lstm")


def test_a_backend_agrees_refuses_or_fails_word_for_word(found):
    cells = found.columns["partial:Partial"].cells
    assert Cell(REFUSES, "partial has no avg_pool") == cells["layer", "avg_pool"]
    assert FAILS == cells["layer", "leaky_relu"].state
    assert "leaky_relu1" in cells["layer", "leaky_relu"].reason
    others = {(s, w): c for (s, w), c in cells.items() if s in ("layer", "loss", "optimizer")}
    del others["layer", "avg_pool"], others["layer", "leaky_relu"]
    assert {AGREES} == {cell.state for cell in others.values()}
    assert set(KINDS) == {word for section, word in cells if section == "layer"}
    frozen = {cell for (section, _), cell in cells.items() if section == "freeze"}
    assert {REFUSES} == {cell.state for cell in frozen}
    assert all("has no freeze: it trains every layer" in cell.reason for cell in frozen)


def test_what_is_not_named_is_not_offered_and_what_lacks_a_tool_is_not_installed(found):
    cells = found.columns["partial:Partial"].cells
    assert (AGREES, NOT_OFFERED) == tuple(
        cells["precision", word].state for word in ("fp32", "bf16")
    )
    assert Cell(AGREES) == cells["mode", "plain"]
    assert Cell(NOT_INSTALLED, "there is no compiler: apt install gcc") == cells["mode", "compiled"]
    assert Cell(AGREES) == cells["device", "cpu"]
    assert Cell(NOT_INSTALLED, "no GPU here") == cells["device", "cuda"]


def test_a_backend_that_only_infers_is_asked_nothing_of_training(found):
    cells = found.columns["partial:OnlyInfers"].cells
    assert Cell(NOT_OFFERED) == cells["scenario", "train"]
    assert Cell(AGREES) == cells["scenario", "infer"]
    of_training = ("loss", "optimizer", "freeze")
    training = {c.state for (section, _), c in cells.items() if section in of_training}
    assert {NOT_OFFERED} == training
    assert AGREES == cells["layer", "batch_norm"].state


def test_a_backend_that_is_not_here_answers_nothing(found):
    column = found.columns["partial:NotHere"]
    assert "its framework is not installed: pip install it" == column.absent
    assert {Cell(NOT_INSTALLED)} == set(column.cells.values())


def test_reasons_are_numbered_within_a_table_and_told_beneath_it(found):
    text = plugins.text_of(found, "markdown", plugins.MATRICES)
    layers = text.partition("### layer\n")[2].partition("\n### ")[0]
    assert "| leaky\\_relu | fails (1) |" in layers
    # each of the two fails with an error of its own
    assert "| avg\\_pool | refuses (3) | refuses (3) | not installed |" in layers
    assert "(3) partial has no avg\\_pool" in layers
    assert 1 == layers.count("partial has no")
    for word in KINDS:
        assert word in plugins.text_of(found, "table", plugins.MATRICES, 60)
    told = json.loads(plugins.text_of(found, "json", plugins.MATRICES))
    refused = {"state": "refuses", "reason": "partial has no avg_pool"}
    assert refused == told["partial:Partial"]["layer"]["avg_pool"]


def test_an_environment_is_a_remedy_where_the_framework_is_missing(monkeypatch):
    there = importlib.util.find_spec

    def without_torch(name, package=None):
        return None if name == "torch" else there(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", without_torch)
    remedy = probe._or_environment("torch", "pip install it")
    assert "pip install it or dlbench env create torch" == remedy
    assert "dlbench env create torch" == probe._or_environment("torch", "dlbench env create torch")
    assert "pip install it" == probe._or_environment("numpy", "pip install it")
    assert "pip install it" == probe._or_environment("cupy", "pip install it")
    assert "cupy" not in RECIPES


def test_the_command_writes_what_was_answered(tmp_path, monkeypatch, cache_dir):
    monkeypatch.chdir(tmp_path)
    words = ["list", "backends", "--matrix", "--backend", "partial:NotHere", "--format", "json"]
    done = CliRunner().invoke(cli, [*words, "--output", "page.json"])
    assert 0 == done.exit_code, done.output
    told = json.loads((tmp_path / "page.json").read_text("utf-8"))
    assert "its framework is not installed: pip install it" == told["partial:NotHere"]["absent"]
    for words in (["--output", "x"], ["--format", "json"], ["--backend", "numpy"]):
        alone = CliRunner().invoke(cli, ["list", "backends", *words])
        assert (2, True) == (alone.exit_code, "add --matrix" in alone.stderr)
