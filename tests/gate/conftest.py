"""A small repository of somebody's own backend, and the gate run in it as its owner would."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from dlbench.cli import main
from dlbench.gate import session

SUITE = """
description = "takes no time"
[network]
input = [10]
layers = [{ type = "linear", out_features = 8 }, { type = "relu" }, { type = "linear", out_features = 1 }]
[training]
loss = "mean_squared_error"
optimizer = { type = "sgd", learning_rate = 0.05 }
[data]
name = "linear"
[matrix]
backends = ["numpy"]
devices = ["cpu"]
scenarios = ["train"]
batches = [32]
"""
GOOD = """
from dlbench.backends.numpy.adapter import Adapter as Numpy


class Adapter(Numpy):
    def open(self, plan, workload, weights):
        session = super().open(plan, workload, weights)
        self.spoil(session)
        return session

    def spoil(self, session):
        pass
"""


class Repository:
    """A repository with one commit, ``main``, and a working tree."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.write("mine.py", GOOD)
        self.write("tiny.toml", SUITE)
        self.git("init", "-q", "-b", "main")
        self.commit()

    def git(self, *words):
        return subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@localhost", *words],
            cwd=self.folder,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def write(self, name, text):
        (self.folder / name).write_text(text)

    def commit(self):
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "one")

    def spoil(self, body):
        """Has the working tree's adapter do something to its sessions."""
        self.write("mine.py", GOOD.replace("        pass\n", body))


@pytest.fixture
def environment(tmp_path, cache_dir, monkeypatch):
    """Where temporary folders and the cache are; the processes are shorter than in earnest."""
    monkeypatch.setattr(session, "SHARE_S", 0.02)
    monkeypatch.setenv("DLBENCH_CACHE_DIR", str(cache_dir))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    return tmp_path


@pytest.fixture
def repository(environment, monkeypatch):
    """The repository; whatever a test did in it, the gate has left nothing behind."""
    made = Repository(environment / "repository")
    monkeypatch.chdir(made.folder)
    yield made
    assert [] == list((environment / "temporary").glob("dlbench-*"))
    assert 1 == len(made.git("worktree", "list").splitlines())


@pytest.fixture
def gate(repository):
    """Runs the gate against main."""

    def gate(*words, base=("--base", "main"), backend="mine:Adapter"):
        named = [] if backend is None else ["--backend", backend]
        where = ["--output", str(repository.folder.parent / "gate.jsonl"), "--quiet"]
        words = ["gate", *base, "--suite", "tiny.toml", *named, *where, *words]
        return CliRunner().invoke(main.cli, words)

    return gate


@pytest.fixture
def program(repository):
    """Starts the program itself."""

    def program(*words, **options):
        return subprocess.Popen(
            [sys.executable, "-c", "from dlbench.cli.main import main; main()", *words],
            cwd=repository.folder,
            env=dict(os.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    return program


@pytest.fixture(scope="session")
def recordings():
    return Path(__file__).resolve().parent / "data"
