"""`dlbench import-torch`: from a file of Python to a file that `dlbench run --suite` takes."""

from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("torch")

from dlbench.cli.main import cli
from dlbench.spec.suite import load_suite

NETWORK = """
import torch
from beside import CHANNELS
from torch import nn

def make():
    return nn.Sequential(
        nn.Conv2d(3, CHANNELS, 3), nn.ReLU(), nn.Conv2d(CHANNELS, CHANNELS, 3), nn.ReLU(),
        nn.Flatten(), nn.LazyLinear(10),
    )

class Wrong(nn.Module):
    def forward(self, x):
        return torch.fft.fft2(x).real

class Net(nn.Module):
    def __init__(self, classes, width=4, **others):
        super().__init__()

class Branches(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            x = torch.relu(x)
        return x

there = nn.Sequential(nn.Flatten(), nn.Linear(192, 1), nn.Softmax(1))
no_module = {"a": 1}

def fails():
    raise RuntimeError("no such weights")
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command in a folder with a network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "net.py").write_text(NETWORK)
    (tmp_path / "beside.py").write_text("CHANNELS = 4")
    monkeypatch.delitem(__import__("sys").modules, "beside", raising=False)
    return lambda *words: CliRunner().invoke(cli, ["import-torch", *words])


def test_a_network_becomes_a_suite_that_can_be_loaded(run):
    done = run("net.py:make", "--input", "3,8,8", "--output", "mine.toml")
    assert (0, "mine.toml\n") == (done.exit_code, done.stdout), done.output
    suite = load_suite("mine.toml")
    assert "mine" == suite.name
    assert "make of net.py, from PyTorch" == suite.description
    assert 3 * 4 * 9 + 4 + 4 * 4 * 9 + 4 + 4 * 16 * 10 + 10 == suite.workload.parameter_count
    assert "input = [3, 8, 8]\n" in Path("mine.toml").read_text()
    assert "910 parameters" in done.stderr
    *_, noise, images = done.stderr.splitlines()
    assert "with random data: dlbench run --suite mine.toml" == noise
    assert "your images: dlbench run --suite mine.toml --data images --data-dir FOLDER" == images


def test_without_a_file_the_suite_is_what_is_answered(run, tmp_path):
    done = run("net.py:there", "--input", "3,8,8")
    assert 0 == done.exit_code, done.output
    (tmp_path / "other.toml").write_text(done.stdout)
    assert 193 == load_suite("other.toml").workload.parameter_count
    assert "softmax at the end is left out" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["net.py:Wrong"], "has no counterpart in dlbench"),
        (["net.py:no_module"], "no_module is a dict: no torch.nn.Module, nor what makes one"),
        (["net.py:fails"], "RuntimeError: no such weights (net.py, line "),
        (["net.py:nothing"], "net.py has make, Wrong, Net, Branches, there, fails, and no nothing"),
        (["net.py:net"], "and no net; did you mean Net?"),
        (["net.py:Net"], "write a function that gives them, `def make(): return Net(classes=…)`"),
        (["net.py:Branches"], "depends on the values of its input (net.py, line 22)"),
        (["none.py:make"], "none.py: there is no such file"),
        (["net.py"], "'net.py' is not of the form FILE.py:NAME"),
        (["no_such_module:make"], "No module named 'no_such_module'"),
    ],
)
def test_what_goes_wrong_is_told_in_a_line(run, words, message):
    done = run(*words, "--input", "3,8,8")
    assert 2 == done.exit_code
    assert message in done.stderr
    assert 1 == len(done.stderr.splitlines())


def test_a_shape_with_the_channels_at_its_end_is_told_the_order(run):
    done = run("net.py:make", "--input", "8,9,3")
    assert "--input is C,H,W (channels, height, width)" in done.stderr
    assert done.stderr.endswith("takes 3 channels: --input 3,8,9\n")


@pytest.mark.parametrize("shape", ["3,8", "3,8,a", "", "-1,8,8"])
def test_a_shape_that_is_none_is_refused(run, shape):
    done = run("net.py:make", "--input", shape)
    assert 2 == done.exit_code


def test_a_file_that_is_there_is_left_alone(run, tmp_path):
    (tmp_path / "mine.toml").write_text("mine")
    done = run("net.py:make", "--input", "3,8,8", "--output", "mine.toml")
    assert 2 == done.exit_code
    assert "mine" == (tmp_path / "mine.toml").read_text()


def test_without_pytorch_it_is_said_what_would_help(run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    done = run("net.py:make", "--input", "3,8,8")
    assert done.exit_code
    assert "pip install 'dlbench[torch]'" in done.stderr
