"""Whether two versions are really two: what each loads, and from where."""

import json
import os
import shutil
import sys
import sysconfig
import types
import venv
from pathlib import Path

import numpy
import pytest

from dlbench.errors import DlbenchError
from dlbench.gate.build import built, sources
from dlbench.gate.isolation import Seen, differing
from dlbench.worker.import_provenance import look


def seen(**files):
    """A version that loaded these files, whose contents are named by a word."""
    loaded = {"adapter": "", "files": files, "packages": {}, "working_tree": [], "python": "3.11"}
    return Seen("mine:Adapter", loaded=loaded)


def notes(repository, base, new):
    with built(repository.folder, "main") as (one, other):
        found = differing(
            {"base": one, "new": other},
            {"base": base, "new": new},
            sources(repository.folder, "main"),
        )
        return list(found)


def test_a_version_sees_nothing_of_the_working_tree(repository, gate):
    repository.write("kernels.py", "SLOW = False\n")
    repository.write("mine.py", "import kernels\n" + (repository.folder / "mine.py").read_text())
    repository.commit()
    repository.write("kernels.py", "SLOW = True\n")
    found = gate("--setup", 'cp mine.py "$DLBENCH_TARGET"', "--format", "json")
    assert 4 == found.exit_code, found.output
    [case] = json.loads(found.stdout)["cases"]
    assert "No module named 'kernels'" in case["reason"]
    assert "have --setup install it into $DLBENCH_TARGET" in case["reason"]
    (repository.folder.parent / "gate.jsonl").unlink()
    found = gate("--setup", 'mkdir "$DLBENCH_TARGET/nothing"')
    assert 4 == found.exit_code
    assert "has mine:Adapter; name a backend of the repository" in found.stderr


def test_a_module_that_is_new_is_not_lent_to_the_base(repository, gate):
    good = (repository.folder / "mine.py").read_text()
    lends = "try:\n    import extra\nexcept ImportError:\n    extra = None\n"
    repository.write("mine.py", lends + good)
    repository.commit()
    repository.write("extra.py", "")
    found = gate("--threshold", "200%")
    assert 0 == found.exit_code, found.output
    lines = (repository.folder.parent / "gate.jsonl").read_text().splitlines()
    loaded = [set(line["files"]) for line in map(json.loads, lines) if line["kind"] == "loaded"]
    assert [{"mine.py"}, {"mine.py", "extra.py"}] == loaded


def test_what_comes_from_the_working_tree_all_the_same_is_refused(repository):
    # an editable install may find modules by other ways than the search path
    stray = seen(**{"mine.py": "one"})
    stray.loaded["working_tree"].append("kernels.py")
    with pytest.raises(DlbenchError, match=r"working tree loads kernels\.py from .*--setup"):
        notes(repository, seen(**{"mine.py": "two"}), stray)


@pytest.mark.parametrize(
    ("name", "path", "is_stray"),
    [
        ("kernels", "kernels.py", True),
        ("package.kernels", "src/package/kernels.py", True),
        ("dlbench.backends.other", "backends/other.py", True),
        ("dlbench.other", "dlbench/other.py", False),
        ("installed", ".venv/lib/python3.11/site-packages/installed.py", False),
        ("own", "target/own.py", False),
    ],
)
def test_a_file_of_the_working_tree_is_one_that_is_not_installed(
    tmp_path, monkeypatch, name, path, is_stray
):
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    module = types.ModuleType(name)
    module.__file__ = str(file)
    monkeypatch.setitem(sys.modules, name, module)
    own = {"path": [str(tmp_path / "target")], "working_tree": str(tmp_path)}
    assert ([path] if is_stray else []) == look(own, "json:loads")["working_tree"]
    assert [] == look(own | {"working_tree": None}, "json:loads")["working_tree"]


def test_a_changed_file_is_not_taken_for_another_of_its_name(repository):
    (repository.folder / "tests").mkdir()
    repository.write("tests/mine.py", "ONE = 1\n")
    repository.commit()
    repository.write("tests/mine.py", "TWO = 2\n")
    alike = seen(**{"mine.py": "one"})
    assert ["both versions loaded the same code (1 file alike)"] == notes(repository, alike, alike)


@pytest.mark.parametrize("place", ["mine.py", "src/package/mine.py", "lib/mine.py"])
def test_a_changed_file_that_is_loaded_as_it_was_is_refused_wherever_it_is_installed(
    repository, place
):
    (repository.folder / "mine.py").unlink()
    (repository.folder / place).parent.mkdir(parents=True, exist_ok=True)
    repository.write(place, "ONE = 1\n")
    repository.commit()
    repository.write(place, "TWO = 2\n")
    alike = seen(**{place.removeprefix("src/").replace("lib/", "package/lib/"): "one"})
    with pytest.raises(DlbenchError, match=f"{place} was changed, but both versions load"):
        notes(repository, alike, alike)


def test_where_several_files_can_be_the_source_none_is_accused(repository):
    for place in ("src/package", "other/package"):
        (repository.folder / place).mkdir(parents=True)
        repository.write(f"{place}/mine.py", "ONE = 1\n")
    repository.commit()
    repository.write("other/package/mine.py", "TWO = 2\n")
    alike = seen(**{"package/mine.py": "one"})
    assert 1 == len(notes(repository, alike, alike))


@pytest.fixture
def other_python(environment):
    """An interpreter with a copy of this one's NumPy and nothing else."""
    folder = environment / "venv"
    venv.create(folder, symlinks=True)
    paths = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", paths))
    installed = Path(numpy.__file__).parent.parent
    for part in [installed / "numpy", *installed.glob("numpy.libs"), *installed.glob("numpy-*")]:
        shutil.copytree(part, packages / part.name)
    return str(folder / "bin" / "python")


def test_two_interpreters_time_the_code_of_this_folder_and_equal_versions_are_said(
    repository, gate, other_python
):
    words = ["--base-python", sys.executable, "--new-python", other_python]
    found = gate("--threshold", "200%", "--format", "json", base=words)
    assert 0 == found.exit_code, found.output
    told = json.loads(found.stdout)
    assert ["mine:Adapter:cpu/train/32"] == [case["case"] for case in told["cases"]]
    version = ".".join(map(str, sys.version_info[:3]))
    [note] = [note for note in told["notes"] if "the same versions" in note]
    assert note.startswith(f"both interpreters have the same versions: Python {version}, ")
    assert f"mine:Adapter {numpy.__version__}" in note


def test_a_backend_that_neither_interpreter_has_is_said_with_what_would_help(
    repository, gate, other_python
):
    words = ["--base-python", sys.executable, "--new-python", other_python]
    found = gate(base=words, backend="nobody:Adapter")
    assert 4 == found.exit_code, found.output
    assert "has nobody:Adapter; install it there, or call the gate in its folder" in found.stderr
    assert not os.listdir(repository.folder.parent / "temporary")
