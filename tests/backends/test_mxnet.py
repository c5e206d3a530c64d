"""The MXNet backend, in an environment of its own: right, and wrong where MXNet is left to its own conventions."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from dlbench.backends.mxnet.adapter import Adapter

import dlbench
from dlbench.contract import Plan
from dlbench.environments.installed import Store
from dlbench.environments.recipes import RECIPES
from dlbench.errors import BackendUnavailable, PlanRefused
from dlbench.execute.probe import look
from dlbench.record.file import read_record
from dlbench.record.schema import Process, Verification

FEW = ("layer:batch_norm of features", "layer:avg_pool in*", "optimizer:adamw", "session:results*")
# as a worker begins, then a program
BOOT = """\
import importlib.util, runpy, sys
program, count = sys.argv[1], int(sys.argv[2])
folders, sys.argv[1:] = sys.argv[3 : 3 + count], sys.argv[3 + count :]
spec = importlib.util.spec_from_file_location(
    "dlbench", folders[0] + "/__init__.py", submodule_search_locations=folders)
sys.modules["dlbench"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
runpy.run_path(program, run_name="__main__")
"""


@pytest.fixture(scope="module")
def environments(pytestconfig):
    """A folder with the environment that `dlbench env create mxnet` makes. It stays for the next time."""
    recipe = RECIPES["mxnet"]
    store = Store(pytestconfig.cache.mkdir("-".join([recipe.framework, *recipe.beside])))
    try:
        store.create("mxnet")
    except BackendUnavailable as error:
        pytest.skip(f"MXNet cannot be installed: {error.reason}")
    return store.folder


@pytest.fixture(scope="module")
def python(environments):
    return Store(environments).find("mxnet").python


@pytest.fixture(scope="module")
def command(environments, tmp_path_factory):
    """Runs dlbench where it finds that environment."""
    folder = tmp_path_factory.mktemp("mxnet")

    def run(*words, timeout_s=300):
        ran = subprocess.run(
            [Path(sys.executable).with_name("dlbench"), *map(str, words)],
            cwd=folder,
            env={**os.environ, "DLBENCH_ENVIRONMENTS": str(environments)},
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert 0 == ran.returncode, ran.stdout + ran.stderr
        return ran.stdout

    return run


def conformant(command, *words, **options):
    told = command("conformance", "mxnet", "--threads", "1", "--quiet", *words, **options)
    return re.search(r"^conformant: .*$", told, re.MULTILINE)[0]


def test_statistics_windows_and_moments_agree(command):
    told = conformant(command, *(word for name in FEW for word in ("--only", name)))
    assert "refused" not in told


@pytest.mark.soak
def test_all_of_it_is_conformant_with_networks_drawn_afresh(command):
    seed = int.from_bytes(os.urandom(3), "big")
    conformant(command, "--networks", "200", "--seed", seed, timeout_s=7200)


def test_an_old_framework_stands_in_one_table_with_a_new_numpy(command, tiny_file, tmp_path):
    record = tmp_path / "record.jsonl"
    words = ["--backend", "numpy", "--backend", "mxnet", "--budget", "0.2", "--rounds", "1"]
    command("run", "--suite", tiny_file, *words, "--quiet", "--output", record)
    lines = read_record(record).lines
    verified = {
        (line.case.backend, line.status) for line in lines if isinstance(line, Verification)
    }
    assert {("numpy", "ok"), ("mxnet", "ok")} == verified
    facts = [
        line.facts for line in lines if isinstance(line, Process) and "mxnet" == line.case.backend
    ]
    assert facts
    for seen in facts:
        assert ("on", "off") == (seen["onednn"], seen["tf32"])


def test_what_it_is_is_seen_in_its_own_interpreter(python):
    found = look("mxnet", 2, True, 60.0, str(python))
    assert "ok" == found.status, found.reason
    assert "1.9.1" == found.version
    assert found.libraries.keys() == {"openblas"}


@pytest.fixture(scope="module")
def found(python, cache_dir):
    """The first check that fails, by fault."""
    program = Path(__file__).with_name("mxnet_faults.py")
    folders = [*dlbench.__path__, str(Path(dlbench.backends.__path__[0]).parent)]
    ran = subprocess.run(
        [python, "-c", BOOT, program, str(len(folders)), *folders, cache_dir],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert 0 == ran.returncode, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("running variance", "running_variance after the step, step 1"),
        ("momentum", "running_mean after the step, step 1"),
        ("fix_gamma", "logits, step 1"),
        ("another eps", "logits, step 1"),
        ("uneven padding", "logits, step 1"),
        ("padding counted", "logits, step 1"),
        ("the gradient of LRN", "gradient of conv1."),
        ("hard_sigmoid", "gradient of conv1."),
        ("rate in the velocity", "after the step, step 2"),
        ("decay beside the velocity", "after the step, step 2"),
        ("Adam uncorrected", "after the step, step 1"),
        ("eps inside the root", "after the step, step 1"),
        ("labels of four bytes", "loss, step 1"),
        ("oneDNN's log softmax", "gradient of linear1.weight"),
    ],
)
def test_a_convention_of_mxnet_is_found_by_the_check_meant_for_it(found, fault, check):
    assert check in found[fault]


def test_without_a_fault_every_check_passes(found):
    assert {""} == {found[name] for name in found if name.startswith("nothing")}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"device": "cuda"}, "mxnet computes on cpu, not on 'cuda'"),
        ({"precision": "bf16"}, "mxnet computes in fp32, not in 'bf16'"),
        ({"mode": "symbol"}, "it has no 'symbol'"),
    ],
)
def test_what_it_has_not_got_is_refused(changes, told):
    plan = Plan(**({"backend": "mxnet", "device": "cpu", "batch": 4, "threads": 1} | changes))
    with pytest.raises(PlanRefused, match=re.escape(told)):
        Adapter().start(plan)


def test_where_it_is_not_installed_the_command_that_makes_its_environment_is_told():
    with pytest.raises(BackendUnavailable, match="MXNet is not installed") as refused:
        Adapter().info()
    assert "dlbench env create mxnet" == refused.value.remedy


def test_its_threads_are_asked_for_before_it_is_imported():
    asked = Adapter().environment(Plan("mxnet", "cpu", 4, 3))
    assert ("3", "3") == (asked["OMP_NUM_THREADS"], asked["OPENBLAS_NUM_THREADS"])
