"""Interpreters of their own: what is refused, what is skipped with a reason, and two versions in one run."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dlbench.errors import UsageError
from dlbench.execute.probe import look, look_at
from dlbench.execute.resume import request_for
from dlbench.execute.runner import resume
from dlbench.plan.cases import check
from dlbench.record.file import Writer
from dlbench.record.schema import Process, Record, Skip, Verification
from dlbench.worker.interpreters import read_pythons, trouble

ACME = """\
import dataclasses
from dlbench.backends.numpy.adapter import Adapter as Numpy

class Adapter(Numpy):
    def info(self):
        return dataclasses.replace(super().info(), version={version!r})
"""


@pytest.fixture(scope="module")
def interpreter(tmp_path_factory):
    """Makes a virtual environment with NumPy and, if it is asked for, a version of the backend acme."""

    def make(acme=None):
        folder = tmp_path_factory.mktemp("venv")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        (packages,) = folder.glob("lib/python*/site-packages")
        installed = Path(np.__file__).parents[1]
        for name in ("numpy", "numpy.libs", f"numpy-{np.__version__}.dist-info"):
            if (installed / name).exists():
                (packages / name).symlink_to(installed / name)
        if acme:
            (packages / "acme.py").write_text(ACME.format(version=acme))
            told = packages / f"acme-{acme}.dist-info"
            told.mkdir()
            (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: acme\nVersion: {acme}\n")
        return str(folder / "bin" / "python")

    return make


@pytest.fixture(scope="module")
def two_acmes(interpreter, carry_out, request_for):
    """A run of two versions of the backend acme, neither of which this interpreter has."""
    pythons = {f"acme:Adapter@{label}": interpreter(label) for label in ("1.0", "2.0")}
    request = request_for(backends=("numpy",), pythons=pythons, rounds=1, scenarios=("train",))
    return carry_out(request), request


@pytest.fixture
def program(tmp_path):
    """Makes something that can be started and says something."""

    def make(text):
        path = tmp_path / "program"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    return make


def test_two_versions_of_one_backend_are_two_rows_of_their_own_versions(two_acmes):
    ran, _ = two_acmes
    names = ["numpy", "acme:Adapter@1.0", "acme:Adapter@2.0"]
    assert names == [case.backend for case in ran.record.header.cases]
    for name, version in (("acme:Adapter@1.0", "1.0"), ("acme:Adapter@2.0", "2.0")):
        lines = [*ran.of(Verification, name), *ran.of(Process, name)]
        assert [("ok", version)] * 2 == [(line.status, line.version) for line in lines]


def test_a_record_tells_what_is_installed_where_workers_ran_and_never_where(two_acmes):
    ran, request = two_acmes
    environments = ran.record.header.environments
    assert {case.backend for case in ran.record.header.cases} == set(environments)
    own, old, new = environments.values()
    assert {"numpy": np.__version__} == old.packages == new.packages
    assert 2 == old.package_count == new.package_count < own.package_count
    assert 3 == len({each.packages_digest for each in environments.values()})
    text = json.dumps([str(line) for line in (ran.record.header, *ran.record.lines)])
    assert [] == [path for path in request.pythons.values() if os.path.dirname(path) in text]


def test_a_labelled_row_can_be_the_baseline(two_acmes):
    from dlbench.analyse.table import build

    ran, _ = two_acmes
    frame = build([("a.jsonl", ran.record)], "acme:Adapter@1.0:cpu").frame
    assert {"acme:Adapter@1.0:cpu"} == set(frame["baseline"])
    assert frame["speedup"].notna().all()
    assert 3 == frame["packages_digest"].nunique()


def test_a_record_is_resumed_under_the_same_interpreters_and_no_others(
    two_acmes, interpreter, tmp_path, tiny, cache_dir
):
    ran, request = two_acmes
    cut = Record(
        ran.record.header,
        tuple(
            line
            for line in ran.record.lines
            if not (isinstance(line, Process) and "@2.0" in line.case.backend)
        ),
    )

    def go_on(pythons):
        made = request_for(cut, tiny, request.machine, cache_dir, None, pythons)
        writer = Writer(tmp_path / "record.jsonl", append=(tmp_path / "record.jsonl").exists())
        try:
            return resume(made, cut, writer)
        finally:
            writer.close()

    # the round begins anew, so what is there of it runs again too
    with pytest.raises(UsageError, match=r"needs an interpreter: --python acme:Adapter@1.0=PATH"):
        go_on({})
    first = {"acme:Adapter@1.0": request.pythons["acme:Adapter@1.0"]}
    with pytest.raises(UsageError, match=r"needs an interpreter: --python acme:Adapter@2.0=PATH"):
        go_on(first)
    other = first | {"acme:Adapter@2.0": request.pythons["acme:Adapter@1.0"]}
    with pytest.raises(UsageError, match=r"backend acme:Adapter@2.0 is 2.0 in the record and 1.0"):
        go_on(other)
    with pytest.raises(UsageError, match="no backend of this run is torch@3"):
        go_on({"torch@3": sys.executable})
    assert "complete" == go_on(request.pythons).status


def test_a_package_more_in_an_environment_is_named_as_a_difference(two_acmes):
    from dlbench.record.comparability import environments

    ran, _ = two_acmes
    known = ran.record.header.environments["acme:Adapter@1.0"]
    changed = dataclasses.replace(known, package_count=3, packages_digest="f" * 64)
    (difference,) = environments("acme", known, changed)
    assert f"is 2 packages ({known.packages_digest[:8]}) in the record" in str(difference)
    older = dataclasses.replace(changed, packages={"numpy": "1.23.5"}, python="3.11.0")
    told = [each.field for each in environments("acme", known, older)]
    assert ["the Python of acme", "the package numpy of acme"] == told


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("echo; echo dlbench-probe 3.9.2 1.26.4", "is Python 3.9.2"),
        ("echo; echo dlbench-probe 2.7.18 none", "is Python 2.7.18"),
        ("echo; echo dlbench-probe 3.12.1 none", "has no NumPy"),
        ("echo; echo dlbench-probe 3.12.1 broken", "has a NumPy that cannot be imported"),
        ("echo; echo dlbench-probe 3.11.4 1.22.4", "has NumPy 1.22.4"),
        ("echo hello", "is no Python: it gave no answer"),
        ("exit 3", "is no Python: it gave no answer"),
    ],
)
def test_an_interpreter_that_no_worker_can_run_under_is_told_by_its_row(program, answer, reason):
    found = trouble("torch@old", program(answer))
    assert found is not None
    assert f"the interpreter of --python torch@old {reason}" == found.reason
    assert "NumPy 1.23" in found.remedy or "numpy>=1.23" in found.remedy


def test_a_path_that_is_no_program_is_told(tmp_path):
    (tmp_path / "text").write_text("print('hello')")
    for path, reason in (("", "is a folder"), ("none", "does not exist"), ("text", "cannot be")):
        found = trouble("torch@old", str(tmp_path / path))
        assert f"the interpreter of --python torch@old {reason}" in found.reason
        assert str(tmp_path) not in found.reason + found.remedy


def test_a_backend_whose_interpreter_is_unusable_is_skipped_and_the_others_run(
    request_for, carry_out
):
    pythons = {"cupy@no": "/nowhere/python", "tensorflow": "/nowhere/python"}
    request = request_for(backends=("numpy", "tensorflow"), pythons=pythons, rounds=1)
    ran = carry_out(request)
    skips = {(line.case.backend, line.case.device, line.case.scenario) for line in ran.of(Skip)}
    expected = {("tensorflow", "cpu"), ("cupy@no", "cuda")}
    assert {(*row, scenario) for row in expected for scenario in ("train", "infer")} == skips
    assert {"ok"} == {line.status for line in ran.of(Process, "numpy")}
    assert "/nowhere" not in str(ran.record)


def test_a_framework_that_is_missing_there_is_told_with_the_interpreter(interpreter):
    found = look("torch@old", 1, False, 60.0, interpreter())
    assert "skipped" == found.status
    assert "PyTorch is not installed in the interpreter of --python torch@old" == found.reason
    assert "with that interpreter: pip install 'dlbench[torch]'" == found.remedy


def test_another_interpreter_is_not_led_to_this_ones_modules(interpreter, monkeypatch):
    name, python = "torch@old", interpreter()
    monkeypatch.setenv("PYTHONPATH", str(Path(np.__file__).parents[1]))
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    assert trouble(name, python) is None
    assert "skipped" == look(name, 1, False, 60.0, python).status


def test_a_look_at_all_backends_takes_in_those_with_an_interpreter(interpreter):
    found = look_at(["numpy@bare"], pythons={"numpy@bare": interpreter()})["numpy@bare"]
    assert ("ok", np.__version__) == (found.status, found.version)
    assert 1 == found.environment.package_count


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["torch"], "--python 'torch' is not BACKEND=PATH"),
        (["=x"], "--python '=x' is not BACKEND=PATH"),
        (["torch="], "--python 'torch=' is not BACKEND=PATH"),
        (["torhc=x"], "backend 'torhc' is unknown; did you mean 'torch'"),
        (["torch@=x"], "'' is no label"),
        (["torch@a/b=x"], "'a/b' is no label"),
        (["torch=x", "torch=y"], "--python torch is given twice"),
    ],
)
def test_a_word_of_another_form_is_refused(words, told):
    with pytest.raises(UsageError, match=told):
        read_pythons(words)


def test_paths_are_made_absolute_without_following_links(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "python").symlink_to(sys.executable)
    found = read_pythons(["torch=./python", "numpy@sh=sh", "acme.x:Adapter@1.2=~/bin/python"])
    assert str(tmp_path / "python") == found["torch"]
    assert os.path.isabs(found["numpy@sh"])
    assert os.path.exists(found["numpy@sh"])
    assert os.path.expanduser("~/bin/python") == found["acme.x:Adapter@1.2"]


def test_a_label_needs_an_interpreter_and_an_interpreter_a_backend(request_for):
    with pytest.raises(UsageError, match="'numpy@old' has a label, so it needs an interpreter"):
        check(request_for(backends=("numpy@old",)))
    with pytest.raises(UsageError, match="--python torch: no backend of this run is torch; they"):
        check(request_for(pythons={"torch": sys.executable}))
    assert ("numpy", "torch@old") == request_for(pythons={"torch@old": "x"}).chosen_backends
