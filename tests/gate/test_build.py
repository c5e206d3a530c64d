"""Two checkouts of a repository: what is in them, and how building ends when it goes wrong."""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dlbench.errors import UsageError
from dlbench.gate.build import BuildError, built, root_of, sources


def contents(folder):
    """Files and links of a folder but for git's own."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        for path in folder.rglob("*")
        if ".git" not in path.parts and (path.is_symlink() or path.is_file())
    }


def to_file(folder):
    (folder / "d" / "x").unlink()
    (folder / "d").rmdir()
    (folder / "d").write_text("a file now")


def to_link(folder):
    (folder / "d" / "x").unlink()
    (folder / "d").rmdir()
    (folder / "d").symlink_to(folder.parent / "outside")


def to_folder(folder):
    (folder / "f").unlink()
    (folder / "f").mkdir()
    (folder / "f" / "x").write_text("in a folder now")


def link_to_folder(folder):
    (folder / "link").unlink()
    (folder / "link").mkdir()
    (folder / "link" / "x").write_text("no link any more")


def moved(folder):
    to_folder(folder)
    (folder / "d" / "x").rename(folder / "d" / "y")


@pytest.mark.parametrize("change", [to_file, to_link, to_folder, link_to_folder, moved])
@pytest.mark.parametrize("is_staged", [False, True])
def test_the_new_versions_checkout_is_the_working_tree_whatever_took_whose_place(
    repository, change, is_staged
):
    outside = repository.folder.parent / "outside"
    outside.mkdir()
    (outside / "x").write_text("nobody's business")
    (repository.folder / "d").mkdir()
    repository.write("d/x", "in a folder")
    repository.write("f", "a file")
    (repository.folder / "link").symlink_to(outside)
    repository.commit()
    change(repository.folder)
    if is_staged:
        repository.git("add", "-A")
    with built(repository.folder, "main") as (_, new):
        assert contents(repository.folder) == contents(new.checkout)
    assert "nobody's business" == (outside / "x").read_text()


def test_records_are_no_part_of_the_new_version(repository):
    (repository.folder / "results").mkdir()
    repository.write("results/gate.jsonl", "{}\n")
    records = repository.folder / "results"
    with built(repository.folder, "main", records=records) as (_, new):
        assert not (new.checkout / "results").exists()
    assert "results/gate.jsonl" not in sources(repository.folder, "main", records).files
    assert "results/gate.jsonl" in sources(repository.folder, "main").changed


def test_a_file_that_configures_tools_is_nothing_to_install(repository):
    repository.write("pyproject.toml", "[tool.ruff]\nline-length = 100\n")
    repository.commit()
    with built(repository.folder, "main") as versions:
        assert [each.checkout for each in versions] == [each.folder for each in versions]


@pytest.mark.parametrize("both", [False, True])
def test_each_version_that_does_not_build_is_named(repository, both):
    repository.write("fails", "1")
    repository.commit()
    repository.write("fails", "1" if both else "0")
    with pytest.raises(BuildError) as said, built(repository.folder, "main", 'exit "$(cat fails)"'):
        pass
    assert "main (" in str(said.value)
    assert both == ("working tree does not build" in str(said.value))
    assert ({"base", "new"} if both else {"base"}) == said.value.broken


def test_what_git_could_not_do_is_named(repository):
    repository.git("switch", "-q", "--orphan", "empty")
    with pytest.raises(BuildError, match=r"^git worktree add: "), built(repository.folder, "main"):
        pass


def test_what_a_killed_gate_left_is_forgotten_and_nobody_elses_checkout(repository, tmp_path):
    lost = tmp_path / "dlbench-gate-1234" / "base" / "source"
    own = tmp_path / "source"
    for place in (lost, own):
        repository.git("worktree", "add", "--quiet", "--detach", str(place))
        shutil.rmtree(place)
    with built(repository.folder, "main"):
        pass
    known = repository.git("worktree", "list")
    assert str(lost) not in known
    assert str(own) in known
    repository.git("worktree", "prune")


def test_the_folder_of_a_killed_gate_is_swept_and_forgotten(repository, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    script = (
        "from dlbench.gate.build import built; from pathlib import Path; import os, signal, sys\n"
    )
    script += "with built(Path(sys.argv[1]), 'main'):\n    os.kill(os.getpid(), signal.SIGKILL)"
    words = [sys.executable, "-c", script, str(repository.folder)]
    subprocess.run(words, env=os.environ | {"TMPDIR": str(tmp_path)}, check=False)
    (left,) = tmp_path.glob("dlbench-*")
    assert (left / "base" / "source" / ".git").exists()
    with built(repository.folder, "main"):
        assert not left.exists()
        assert str(left) not in repository.git("worktree", "list")
    assert not [*tmp_path.glob("dlbench-*")]


def running(pid):
    """Whether a process is there and no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def test_the_budget_ends_a_build_with_all_that_it_started(repository, gate):
    started = repository.folder.parent / "started"
    waited = repository.folder.parent / "waited"
    setup = f"sleep 60 & echo $! >> {started}; wait; touch {waited}"
    found = gate("--setup", setup, "--budget", "2")
    assert not waited.exists()
    assert 4 == found.exit_code, found.output
    assert "was not built when the budget ended; give a larger --budget" in found.stderr
    assert not any(running(pid) for pid in started.read_text().split())


def test_a_budget_that_is_over_before_the_versions_are_verified_is_said(repository, gate):
    found = gate("--budget", "0.01", "--format", "json")
    assert 4 == found.exit_code, found.output
    [case] = json.loads(found.stdout)["cases"]
    assert "inconclusive" == case["status"]
    told = "not verified yet when the budget ended: a larger --budget would help"
    assert told == case["reason"]


def test_a_full_disk_while_building_says_where_room_is_needed(repository, program):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    (repository.folder / "large").write_bytes(bytes(100_000))
    words = ["gate", "--base", "main", "--suite", "tiny.toml", "--backend", "mine:Adapter"]
    process = program(*words, "--output", "../full.jsonl", "--quiet", preexec_fn=small_files)
    _, said = process.communicate(timeout=60)
    assert 4 == process.returncode
    assert "error: the two versions cannot be checked out: File too large; free space in " in said
    assert "or name another folder as TMPDIR" in said


HOOK = """\
#!/bin/sh
{python} -c 'from dlbench.cli.main import main; main()' gate --base HEAD --suite tiny.toml \\
    --backend mine:Adapter --budget 5 --quiet --output ../hook.jsonl >../hook.txt 2>&1
true
"""


@pytest.mark.parametrize("words", [["-a"], ["only.txt"]], ids=["all", "a path"])
def test_a_gate_in_a_hook_leaves_what_is_committed_alone(repository, words):
    for name in ("only.txt", "other.txt"):
        repository.write(name, "before")
    repository.commit()
    hook = repository.folder / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(HOOK.format(python=sys.executable))
    hook.chmod(0o755)
    repository.write("only.txt", "after")
    before = repository.git("for-each-ref"), repository.git("stash", "list")
    repository.git("commit", "-q", "-m", "changed", *words)
    assert "only.txt\n" == repository.git("show", "--format=", "--name-only", "HEAD")
    assert "" == repository.git("status", "--porcelain")
    assert before[1] == repository.git("stash", "list")
    assert len(before[0].splitlines()) == len(repository.git("for-each-ref").splitlines())
    told = (repository.folder.parent / "hook.txt").read_text()
    assert "mine:Adapter" in told


def test_the_index_of_the_user_is_not_even_refreshed(repository):
    path = repository.folder / "mine.py"
    path.write_bytes(path.read_bytes())
    os.utime(path, (1, 1))
    index = repository.folder / ".git" / "index"
    before = index.read_bytes()
    with built(repository.folder, "main"):
        pass
    assert before == index.read_bytes()


def test_what_git_says_of_a_repository_of_somebody_elses_reaches_the_user(repository, monkeypatch):
    with monkeypatch.context() as changed:
        changed.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
        with pytest.raises(UsageError) as raised:
            root_of(repository.folder)
    assert "dubious ownership" in str(raised.value)
    assert "safe.directory" in str(raised.value)


def test_a_git_that_is_missing_is_called_that(repository, monkeypatch):
    told = "git cannot be run: No such file"
    with monkeypatch.context() as changed:
        changed.setenv("PATH", str(repository.folder))
        with pytest.raises(UsageError, match=told):
            root_of(repository.folder)


def test_a_folder_outside_of_any_repository_is_called_that(tmp_path):
    with pytest.raises(UsageError, match="this folder is in no git repository"):
        root_of(tmp_path)


PROJECT = """
[build-system]
requires = ["{tool} >= 1"]
build-backend = "{tool}.build"
[project]
name = "mine"
version = "1"
"""


def test_a_tool_for_building_that_is_not_there_is_named_with_what_installs_it(repository):
    repository.write("pyproject.toml", PROJECT.format(tool="nowhere-tool"))
    repository.commit()
    told = "this environment lacks nowhere-tool: pip install nowhere-tool"
    with pytest.raises(BuildError, match=told), built(repository.folder, "main"):
        pass


def test_an_environment_without_pip_and_uv_says_so(repository, monkeypatch):
    repository.write("pyproject.toml", PROJECT.format(tool="pytest"))
    repository.commit()
    monkeypatch.setattr("dlbench.gate.build.find_spec", lambda name: None)
    monkeypatch.setattr("dlbench.gate.build.shutil.which", lambda name: None)
    told = "this environment has neither"
    with pytest.raises(BuildError, match=told), built(repository.folder, "main"):
        pass
