"""The gate of dlbench itself: what fails its continuous integration, and what must not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from record_makers import make_gate_header

from dlbench.gate.schema import Beside, End, Half, Verified
from dlbench.record import schema as r
from dlbench.record.file import Writer

TOOLS = Path(__file__).resolve().parents[2] / "tools"
CASE = r.Case("ci", "train", "numpy", "cpu", 32, 1, "fp32", "")
HEADER = make_gate_header([CASE], base="abc (abc)")


def verified(arm, status):
    return Verified(arm, r.Verification(CASE, status, "", (), None, 0, "", {}, {}))


def half(arm, status):
    return Half(arm, r.Process(CASE, 0, status, ""))


@pytest.fixture
def own_gate(tmp_path):
    """Runs the script in a repository of two commits, with a program in dlbench's place that records and ends
    as it is told; `base` and `new` are the ``pyproject.toml`` of either."""
    tree = tmp_path / "tree"
    (tree / "tools").mkdir(parents=True)
    for name in ("gate_dlbench", "gate_blame.py"):
        (tree / "tools" / name).write_bytes((TOOLS / name).read_bytes())
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@localhost"]
    programs = tmp_path / "bin"
    programs.mkdir()
    stand_in = programs / "dlbench"

    def own_gate(code, lines=(), base="", new=""):
        project = tree / "pyproject.toml"
        project.write_text(base)
        for words in (
            ["init", "-q", "-b", "main"],
            ["add", "-A"],
            ["commit", "-q", "-m", "one"],
            ["commit", "-q", "--allow-empty", "-m", "two"],
        ):
            subprocess.run([*git, *words], cwd=tree, check=True)
        project.write_text(new)
        recorded = tmp_path / "recorded.jsonl"
        recorded.unlink(missing_ok=True)
        if lines:
            writer = Writer(recorded)
            for line in (HEADER, *lines):
                writer.write(line)
            writer.close()
        stand_in.write_text(
            "#!/bin/sh\n"
            'while [ "$1" != --output ]; do shift; done\n'
            f'if [ -e {recorded} ]; then cp {recorded} "$2"; fi\n'
            f"exit {code}\n"
        )
        stand_in.chmod(0o755)
        places = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", str(tree / "tools" / "gate_dlbench")],
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | {"PATH": places},
        )
        return done.returncode

    return own_gate


@pytest.mark.parametrize("code", [0, 1, 2, 3, 130])
def test_what_the_gate_says_is_what_it_ends_with(own_gate, code):
    assert code == own_gate(code)


@pytest.mark.parametrize(
    ("base", "new", "code"),
    [("broken", "", 0), ("", "broken", 4), ("broken", "also broken", 4), ("", "", 4)],
)
def test_a_base_that_does_not_build_does_not_keep_its_repair_out(own_gate, base, new, code):
    assert code == own_gate(4, base=base, new=new)


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([verified("base", "failed"), verified("new", "ok")], 0),
        ([verified("base", "ok"), verified("new", "unverified")], 4),
        ([verified("base", "failed"), verified("new", "failed")], 4),
        ([verified("base", "ok"), verified("new", "ok"), half("base", "timeout")], 0),
        ([verified("base", "ok"), verified("new", "ok"), half("new", "failed")], 4),
        ([Beside(CASE.label, "inconclusive", "the suite changed"), End("decided", 1.0)], 0),
        ([verified("base", "ok"), verified("new", "ok"), End("budget", 55.0)], 0),
        ([Beside(CASE.label, "missing", "not in the suite"), End("decided", 1.0)], 4),
        ([verified("base", "ok"), verified("new", "ok")], 4),
    ],
)
def test_only_what_the_base_alone_got_wrong_or_nobody_is_excused(own_gate, lines, code):
    assert code == own_gate(4, lines=lines)
