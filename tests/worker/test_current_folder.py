"""Files of the current folder are not run in place of a framework that is not installed."""

import os
import subprocess
import sys

import pytest

COMMANDS = {
    "list": ("list", "backends"),
    "doctor": ("doctor",),
    "run": (
        "run",
        "--suite",
        "smoke",
        "--backend",
        "absent",
        "--output",
        "r.jsonl",
    ),
    "conformance": ("conformance", "absent", "--networks", "0"),
}
POINTS = "[dlbench.backends]\nabsent = absent_adapter:Adapter\n"
ADAPTER = """
from dlbench.contract import AdapterBase, BackendInfo, Device
from dlbench.errors import BackendUnavailable

class Adapter(AdapterBase):
    def info(self):
        try:
            import absent_framework
        except ModuleNotFoundError:
            raise BackendUnavailable("absent_framework is not installed", "install it") from None
        return BackendInfo("1", (Device("cpu", ""),))

    def open(self, plan, workload, weights):
        raise AssertionError("nobody can have asked")
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with files that bear frameworks' names, each of which leaves a trace when it is run."""
    from third_party import install

    installed = install(tmp_path / "installed", name="absent-backend", entry_points=POINTS)
    (installed / "absent_adapter.py").write_text(ADAPTER)
    here = tmp_path / "here"
    here.mkdir()
    for name in ("absent_framework", "cupy", "torch", "tensorflow"):
        trace = tmp_path / f"{name}-was-run"
        (here / f"{name}.py").write_text(f"open({str(trace)!r}, 'w').close()\n")
    return here


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_file_that_bears_a_frameworks_name_is_not_run(folder, words):
    script = "import sys; from dlbench.cli.main import main; main()"
    path = str(folder.parent / "installed")
    program = [sys.executable, "-P", "-c", script, *words]
    environment = os.environ | {"PYTHONPATH": path, "XDG_CACHE_HOME": str(folder.parent / "cache")}
    ran = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True)
    assert "absent_framework is not installed" in ran.stdout + ran.stderr
    assert [] == sorted(each.name for each in folder.parent.glob("*-was-run"))


def test_a_backend_named_by_its_module_is_found_in_the_current_folder(folder):
    (folder / "mine.py").write_text("from dlbench.backends.numpy.adapter import Adapter\n")
    script = (
        "from dlbench.execute.probe import look; print(look('mine:Adapter', 1, False, 60.0).status)"
    )
    program = [sys.executable, "-P", "-c", script]
    ran = subprocess.run(program, cwd=folder, capture_output=True, text=True)
    assert "ok\n" == ran.stdout, ran.stderr
