"""`dlbench new-backend`: what it writes runs, is right in what it has, and refuses the rest."""

import os
import re
import subprocess
import sys

import pytest
from click.testing import CliRunner

from dlbench.cli.main import cli


@pytest.fixture
def program(cache_dir):
    """Runs ``dlbench`` in a folder."""
    script = "from dlbench.cli.main import main; main()"

    def program(*words, cwd):
        command = [sys.executable, "-c", script, *words]
        environment = os.environ | {"DLBENCH_CACHE_DIR": str(cache_dir)}
        return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)

    return program


def written(tmp_path, monkeypatch, *words):
    monkeypatch.chdir(tmp_path)
    return CliRunner().invoke(cli, ["new-backend", *words])


FEW = ("layer:linear", "layer:batch_norm", "loss:mean_squared_error", "optimizer:sgd")


@pytest.mark.parametrize(
    ("options", "trials"),
    [
        ([], FEW),
        (["--functional"], FEW),
        pytest.param([], (), marks=pytest.mark.soak),
        pytest.param(["--functional"], (), marks=pytest.mark.soak),
    ],
)
def test_a_new_backend_is_conformant_in_what_it_has_and_refuses_the_rest(
    program, tmp_path, monkeypatch, options, trials
):
    if options:
        pytest.importorskip("jax")
    made = written(tmp_path, monkeypatch, "fresh_backend", *options)
    assert (0, "fresh_backend.py\n") == (made.exit_code, made.stdout)
    command = re.search(r"dlbench (conformance .*)$", made.stderr.strip())[1].split()
    only = [word for name in trials for word in ("--only", name)]
    ran = program(*command, "--quiet", *only, cwd=tmp_path)
    assert 0 == ran.returncode, ran.stdout + ran.stderr
    assert "✗" not in ran.stdout
    assert "fresh_backend has no batch_norm" in ran.stdout
    for group in ("layer", "loss", "optimizer"):
        assert re.search(rf"^✓ {group}", ran.stdout, re.MULTILINE)


def test_a_new_backend_gets_a_verified_row(program, tmp_path, monkeypatch):
    written(tmp_path, monkeypatch, "fresh_backend")
    words = ["verify", "--suite", "linear-mse", "--backend", "fresh_backend:Adapter"]
    ran = program(*words, "--quiet", "--format", "csv", cwd=tmp_path)
    assert 0 == ran.returncode, ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my-backend", "'my-backend' is no name for a Python module; like my_backend"),
        ("class", "'class' is no name for a Python module"),
        ("../outside", "is no name for a Python module"),
        ("json", "'json' is the name of a backend or a module that is installed; like my_json"),
        ("__main__", "is the name of a backend or a module that is installed"),
        ("cupy", "'cupy' is the name of a backend or a module that is installed"),
        ("taken", "taken.py is there already; choose another name, or move it away"),
    ],
)
def test_a_name_that_will_not_do_is_told_and_nothing_is_written(
    tmp_path, monkeypatch, name, message
):
    (tmp_path / "taken.py").write_text("mine = 1\n")
    made = written(tmp_path, monkeypatch, name)
    assert 2 == made.exit_code
    assert message in made.stderr
    assert ["taken.py"] == [path.name for path in tmp_path.iterdir()]
    assert "mine = 1\n" == (tmp_path / "taken.py").read_text()


def test_a_file_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    (tmp_path / "fresh_backend.py").symlink_to("nowhere")
    made = written(tmp_path, monkeypatch, "fresh_backend")
    assert (2, True) == (made.exit_code, "cannot be written: File exists" in made.stderr)
