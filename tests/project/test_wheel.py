"""The built distribution: complete, and able to do the main job far from the checkout."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from dlbench import __version__

PACKAGES = {
    "dlbench": "dlbench",
    "backends": "dlbench/backends",
    "reports": "dlbench/reports",
    "suites": "dlbench/suites",
}
SOURCES = ("pyproject.toml", "README.md", "LICENSE", *PACKAGES)
# the first that is built for each Python; worker environments may be that old
OLDEST_NUMPY = {(3, 11): "1.23.5", (3, 12): "1.26.4", (3, 13): "2.1.0", (3, 14): "2.3.2"}

# prints, for each entry point of the distribution, whether its module can be found, as JSON
ENTRY_POINTS = """
import importlib.metadata, importlib.util, json

points = importlib.metadata.distribution("dlbench").entry_points
print(json.dumps({point.name: bool(importlib.util.find_spec(point.module)) for point in points}))
"""


def run(command, cwd, *, timeout=120, **environment):
    """A command's stdout, run with none of this environment's Python settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert 0 == done.returncode, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    """The wheel made from the sdist, so that what the sdist lacks is missing here too."""
    # a copy: building writes beside the sources and would pick up what an earlier build left there
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (root / name).is_dir():
            shutil.copytree(
                root / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(root / name, source / name)
    built = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", built, source], built)
    assert [f"dlbench-{__version__}.tar.gz"] == [path.name for path in built.glob("*.tar.gz")]
    [wheel] = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The scripts folder of a clean environment that holds the wheel and sees what it depends on.

    The dependencies' folders are added by a path file, and path files in them are not read again: the
    editable install of the checkout, which is one, does not exist here.
    """
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, symlinks=True)
    scripts = folder / "bin"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--python",
        scripts / "python",
    ]
    run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], folder)
    paths = {"base": str(folder), "platbase": str(folder)}
    own = Path(sysconfig.get_path("purelib", "venv", paths))
    theirs = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (own / "dependencies.pth").write_text("".join(f"{path}\n" for path in theirs))
    return scripts


def test_the_wheel_holds_every_file_of_the_four_folders_and_nothing_else(root, wheel):
    expected = {
        f"{package}/{path.relative_to(root / folder).as_posix()}"
        for folder, package in PACKAGES.items()
        for path in (root / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert expected == names
    assert "dlbench/py.typed" in names
    assert "dlbench/suites/cnn-mnist.toml" in names


def test_the_wheel_carries_its_licence_and_its_version(wheel):
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        text = archive.read(metadata).decode()
        licences = [name for name in archive.namelist() if name.endswith("/licenses/LICENSE")]
    assert f"\nVersion: {__version__}\n" in text
    assert "\nLicense-Expression: MIT\n" in text
    assert 1 == len(licences)


def test_every_entry_point_of_the_wheel_names_a_module_that_is_there(installed, tmp_path):
    found = json.loads(run([installed / "python", "-c", ENTRY_POINTS], tmp_path))
    backends = {"numpy", "numpy-plain", "torch", "tensorflow", "cupy", "jax", "keras"}
    backends |= {"onnxruntime", "openvino", "opencl", "mxnet", "cudnn"}
    reports = {"terminal", "markdown", "csv", "json", "junit", "plot", "layers-csv", "trace"}
    reports |= {"html-fragment"}
    theirs = {"pytest-benchmark", "github-action-benchmark", "bencher"}
    charts = {"speedup", "time", "throughput", "latency", "layers", "roofline", "cold-start"}
    charts |= {"training", "precisions", "telemetry", "errors", "disturbance", "table"}
    charts |= {"pay-off", "percentiles", "rates"}
    every = backends | reports | theirs | charts | {"html", "dlbench"}
    assert dict.fromkeys(every, True) == found


@pytest.mark.soak
def test_the_worker_side_of_the_wheel_imports_with_the_oldest_numpy(wheel, worker_side, tmp_path):
    oldest = f"numpy=={OLDEST_NUMPY[sys.version_info[:2]]}"
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    run([*pip, "install", "--quiet", "--only-binary", ":all:", oldest], tmp_path)
    run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], tmp_path)
    imports = "\n".join(f"import {name}" for name in sorted(worker_side))
    run([python, "-c", imports], tmp_path)


def test_the_installed_command_lists_its_suites(installed, tmp_path):
    listed = run([installed / "dlbench", "list", "suites"], tmp_path)
    assert "cnn-mnist" in listed


def test_the_installed_command_does_the_main_job(installed, tmp_path):
    where = "import dlbench, dlbench.backends as b; print(dlbench.__file__, b.__file__)"
    folders = run([installed / "python", "-c", where], tmp_path).split()
    assert all(Path(folder).is_relative_to(installed.parent) for folder in folders)

    # the smallest suite, since every backend is verified and then started once a round
    words = ["run", "--suite", "linear-mse", "--rounds", "2", "--budget", "3", "--format", "json"]
    printed = run(
        [installed / "dlbench", *words],
        tmp_path,
        timeout=600,
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )
    rows = json.loads(printed)["rows"]
    by_backend = {}
    for row in rows:
        by_backend.setdefault(row["backend"], []).append(row)
    assert by_backend["numpy"]
    for row in by_backend["numpy"]:
        assert ("ok", True) == (row["status"], row["verified"]), row["reason"]
        assert row["ci_low_s"] <= row["median_s"] <= row["ci_high_s"]
    assert all(row["status"] == "ok" or row["reason"] for row in rows)
    assert 1 == len(list((tmp_path / "results").glob("*.jsonl")))
