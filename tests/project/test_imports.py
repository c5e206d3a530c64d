"""What an import costs: which packages are loaded, seen in processes of their own."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "tensorflow", "keras", "cupy", "pandas", "scipy", "sklearn"}

# Imports each module named on its command line while packages are refused for whose name, `top`,
# the expression {blocked} holds, and prints the failures as JSON.
IMPORT_EACH = """
import importlib, importlib.abc, json, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if {blocked}:
            raise ModuleNotFoundError(f"{{name}} is blocked in this test", name=name)
        return None

sys.meta_path.insert(0, Refuse())
failures = {{}}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ImportError as problem:
        failures[name] = str(problem)
print(json.dumps(failures))
"""


def loaded_by(*command):
    """Top-level packages that a Python command imports, by the interpreter's own account."""
    run = subprocess.run(
        [sys.executable, "-X", "importtime", *command], capture_output=True, text=True, timeout=60
    )
    assert 0 == run.returncode, run.stderr[-2000:]
    times = [line for line in run.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in times}


def failures_when(blocked, names):
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH.format(blocked=blocked), *names],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert 0 == run.returncode, run.stderr[-2000:]
    return json.loads(run.stdout)


def test_importing_dlbench_loads_no_other_package():
    assert set() == loaded_by("-c", "import dlbench") & (HEAVY | {"numpy", "click", "rich"})


def test_the_help_loads_no_framework_and_no_pandas():
    script = str(Path(sys.executable).with_name("dlbench"))
    loaded = loaded_by(script, "--help")
    assert "dlbench" in loaded
    assert set() == loaded & HEAVY


@pytest.mark.parametrize(
    "package",
    [
        "dlbench.record.schema",
        "dlbench.analyse.statistics",
        "dlbench.analyse.table",
        "dlbench.compare",
        "dlbench.gate",
        "dlbench.history",
        "dlbench.compare.verdicts",
        "dlbench.reports",
    ],
)
def test_results_can_be_read_and_reported_without_any_framework(modules, package):
    names = [name for name in modules if name == package or name.startswith(f"{package}.")]
    assert names
    assert {} == failures_when("top in {'torch', 'tensorflow', 'keras', 'cupy', 'pynvml'}", names)


def test_every_worker_side_module_imports_where_there_is_only_numpy(worker_side):
    only_numpy = "top not in sys.stdlib_module_names and top not in {'numpy', 'dlbench'}"
    assert {} == failures_when(only_numpy, sorted(worker_side))


def test_the_blocking_of_the_tests_above_does_block():
    assert ["msgspec"] == [*failures_when("top == 'msgspec'", ["msgspec", "numpy"])]


def test_what_tests_skip_without_is_here():
    """`make test` installs it; a package that had dropped out of its extras would take its tests along unseen."""
    tests = Path(__file__).resolve().parents[1]
    named = {
        name
        for path in tests.rglob("*.py")
        for name in re.findall(r'importorskip\("([a-z0-9_]+)', path.read_text("utf-8"))
    }
    # of the repository itself, and what only a machine with a GPU has
    wanted = named - {"torch_float64", "cupy"}
    assert {"onnx", "onnxruntime", "openvino", "jax", "keras", "pyopencl"} <= wanted
    assert [] == sorted(name for name in wanted if importlib.util.find_spec(name) is None)
