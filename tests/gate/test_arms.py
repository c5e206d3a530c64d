"""What makes two versions two, piece by piece."""

import shutil
import sys
from pathlib import Path

import pytest
from dlbench.backends.numpy import adapter
from record_makers import make_gate_header

from dlbench.errors import DlbenchError, UsageError
from dlbench.gate import request, schema
from dlbench.gate.build import built
from dlbench.gate.isolation import absent
from dlbench.gate.versions import Version
from dlbench.gate.waivers import read_waived
from dlbench.record.file import Writer
from dlbench.spec.suite import load_suite
from dlbench.worker.launch import Launch, run_worker, worker_environment
from dlbench.worker.measurements import LOOK
from dlbench.worker.supervisor import Ended


def test_both_checkouts_have_paths_of_equal_length_and_the_working_trees_changes(repository):
    repository.write("mine.py", "changed = True\n")
    repository.write("untracked.py", "")
    repository.write(".gitignore", "ignored.py\n")
    repository.write("ignored.py", "")
    (repository.folder / "tiny.toml").unlink()
    with built(repository.folder, "main") as (base, new):
        assert len(str(base.folder)) == len(str(new.folder))
        names = {path.name for path in new.folder.iterdir()} - {".git"}
        assert {"mine.py", "untracked.py", ".gitignore"} == names
        assert "changed = True\n" == (new.folder / "mine.py").read_text()
        assert {"mine.py", "tiny.toml", ".git"} == {path.name for path in base.folder.iterdir()}


def test_the_backends_of_a_version_stand_in_for_those_of_the_runner(tmp_path):
    copy = tmp_path / "dlbench" / "backends"
    shutil.copytree(Path(adapter.__file__).parents[1], copy)
    (copy / "numpy" / "adapter.py").write_text("raise ImportError('this is the copy')\n")
    own = Version("base", "copy", folder=tmp_path).own()
    job = {"adapter": "dlbench.backends.numpy.adapter:Adapter", "open": False}
    launch = Launch(worker_environment(1), 60.0)
    assert "this is the copy" in run_worker(LOOK, job | {"own": own, "threads": 1}, launch).reason
    plain = run_worker(LOOK, job | {"threads": 1}, launch)
    assert "ok" == plain.status, plain.reason


@pytest.mark.parametrize(
    ("missing", "is_absent"),
    [
        ("own", True),
        ("own.backend", True),
        ("own.backend:Adapter", True),
        ("torch", False),
        ("", False),
    ],
)
def test_a_version_lacks_a_backend_by_what_was_not_found_and_not_by_words(missing, is_absent):
    ended = Ended("failed", "whatever the interpreter says", missing=missing)
    assert is_absent == absent(ended, "own.backend:Adapter.Inner")


def test_a_reason_may_hold_any_character():
    assert {"slower:a:b/c": "x = y: z"} == read_waived(["slower:a:b/c=x = y: z"])


@pytest.mark.parametrize("word", ["", "slower:a", "faster:a=b", "slower:=b", "slower:a= "])
def test_a_waiver_without_case_or_reason_is_refused(word):
    with pytest.raises(UsageError, match="slower:CASE=reason"):
        read_waived([word])


def test_what_is_not_the_record_of_a_gate_is_refused(tmp_path):
    path = tmp_path / "other.jsonl"
    path.write_text('{"kind":"note","text":"no header"}\n')
    with pytest.raises(DlbenchError, match="no header"):
        schema.read(path)
    path.write_text("{}\n\n")
    with pytest.raises(DlbenchError, match="line 1"):
        schema.read(path)


def test_a_record_of_before_is_judged_by_the_rule_of_then(tmp_path):
    writer = Writer(tmp_path / "old.jsonl")
    writer.write(make_gate_header([], schema=1))
    writer.close()
    old = writer.path.read_text().replace('"suspicion":0.75,', "")
    writer.path.write_text(old)
    assert "suspicion" not in old
    assert 1.0 == schema.read(writer.path).header.design.suspicion
    writer.path.write_text(old.replace('"schema":1', '"schema":2'))
    assert 0.75 == schema.read(writer.path).header.design.suspicion
    writer.path.write_text(old.replace('"schema":1', '"schema":3'))
    with pytest.raises(DlbenchError, match="schemas 1 to 2"):
        schema.read(writer.path)


def test_an_interpreter_has_no_folder_of_its_own():
    assert {"path": [], "last": [], "backends": None, "working_tree": None} == Version(
        "new", "x", python=sys.executable
    ).own()


def test_the_stand_in_is_that_of_the_suites_data(tmp_path):
    options = request.Options(data="stand-in", cache_dir=tmp_path, folder=tmp_path)
    assert "stand-in-mnist" == request._plan(options, load_suite("ci")).data
