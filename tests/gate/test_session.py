"""The gate as a user runs it, on a repository with a backend of its own."""

import json
import re
import resource
import signal
import sys
import sysconfig
import time
import venv
from pathlib import Path

import pytest
from click.testing import CliRunner

from dlbench.cli import main
from dlbench.gate import schema, session
from dlbench.gate.design import Design

SLOW = """
        step = session.train_step

        def slowed(batch):
            import time

            begin = time.perf_counter_ns()
            result = step(batch)
            until = 2 * time.perf_counter_ns() - begin
            while time.perf_counter_ns() < until:
                pass
            return result

        session.train_step = slowed
"""
WRONG = """
        step = session.train_step

        def wrong(batch):
            session.learning_rate *= 1.5
            return step(batch)

        session.train_step = wrong
"""
CRASHES = """
        import os
        os.abort()
"""
CRASHES_WHEN_TIMED = """
        step, upload, resident = session.train_step, session.upload, []

        def uploading(*batch):
            resident.append(batch)
            return upload(*batch)

        def crashes_when_timed(batch):
            import os

            # as many as for timing
            if len(resident) > 3:
                os.abort()
            resident.clear()
            return step(batch)

        session.train_step, session.upload = crashes_when_timed, uploading
"""


def cases(result):
    return {case["case"]: case for case in json.loads(result.stdout)["cases"]}


def test_a_step_that_takes_twice_as_long_is_found_and_told_again_and_can_be_waived(
    repository, gate, monkeypatch
):
    def outlook(design, pairs, budget_s, pair_s):
        return f"{pairs > 2} of {budget_s:.0f} s", False

    monkeypatch.setattr(Design, "outlook", outlook)
    repository.spoil(SLOW)
    found = gate("--format", "json", "--explain")
    assert "True of 60 s" in json.loads(found.stdout)["notes"]
    assert 1 == found.exit_code, found.output
    record = repository.folder.parent / "gate.jsonl"
    [verdict] = cases(found).values()
    assert "slower" == verdict["status"]
    # slower by more than the 3 % that are worth failing; by how much is the machine's affair
    assert 1.03 < verdict["ratio"]
    assert 1 < verdict["low"] < verdict["ratio"] < verdict["high"]
    # both versions were profiled; of a step of some 50 µs little can be told
    assert re.search("slower in |in which layers ", verdict["reason"])
    profiled = [line for line in schema.read(record).lines if isinstance(line, schema.Profiled)]
    assert {"base": "ok", "new": "ok"} == {each.arm: each.profile.status for each in profiled}
    assert 1 == len({each.profile.rounds for each in profiled})

    again = ["gate", "--report", str(record), "--format", "json"]
    assert json.loads(found.stdout) == json.loads(CliRunner().invoke(main.cli, again).stdout)
    reason = f"slower:{verdict['case']}=the check is worth it"
    waived = CliRunner().invoke(main.cli, [*again, "--waive", reason])
    assert 0 == waived.exit_code
    # as it was called before
    former = CliRunner().invoke(main.cli, [*again, "--accept", reason])
    assert waived.stdout == former.stdout
    assert "--accept" not in CliRunner().invoke(main.cli, ["gate", "--help"]).stdout
    assert "the check is worth it" == cases(waived)[verdict["case"]]["accepted"]
    assert "but for 1 waived" in json.loads(waived.stdout)["conclusion"]


@pytest.fixture
def two_pairs_a_budget(monkeypatch):
    """The budget of a gate ends with its second pair, however fast the machine is."""
    pair = session._Gate._pair

    def counted(self, case, number):
        found = pair(self, case, number)
        self._deadline_s = self._deadline_s if number == 0 else 0.0
        return found

    monkeypatch.setattr(session._Gate, "_pair", counted)


def test_the_end_of_the_budget_is_inconclusive_and_can_be_let_pass(
    repository, gate, two_pairs_a_budget
):
    repository.write("note.txt", "nothing that is loaded")
    found = gate("--budget", "600", "--threshold", "0.1%", "--format", "json")
    assert 3 == found.exit_code, found.output
    [verdict] = cases(found).values()
    assert "inconclusive" == verdict["status"]
    assert "a larger --budget would help" in verdict["reason"]
    notes = json.loads(found.stdout)["notes"]
    assert any("loaded the same code (1 file alike)" in note for note in notes)
    record = str(repository.folder.parent / "gate.jsonl")
    elsewhere = CliRunner().invoke(main.cli, ["report", record])
    assert (2, True) == (elsewhere.exit_code, f"dlbench gate --report {record}" in elsewhere.stderr)
    again = ["gate", "--report", record]
    passed = CliRunner().invoke(main.cli, [*again, "--inconclusive", "pass"])
    assert 0 == passed.exit_code
    assert "1 inconclusive" in passed.stdout
    refused = CliRunner().invoke(main.cli, [*again, "--threshold", "5%"])
    assert 2 == refused.exit_code
    assert "which --threshold cannot change any more" in refused.stderr


@pytest.mark.parametrize(
    ("body", "told"),
    [(CRASHES, "SIGABRT"), (WRONG, "should be"), ("        raise OSError('no')\n", "OSError: no")],
    ids=["a crash", "another answer", "an exception"],
)
def test_a_version_that_goes_wrong_fails_the_gate_and_is_named(repository, gate, body, told):
    repository.spoil(body)
    found = gate("--format", "json")
    assert 4 == found.exit_code, found.output
    [verdict] = cases(found).values()
    assert "failed" == verdict["status"]
    assert verdict["reason"].startswith("working tree: ")
    assert told in verdict["reason"]
    assert verdict["reason"].endswith("is right")


def test_a_crash_while_a_version_is_timed_fails_the_gate_and_says_in_which_pair(repository, gate):
    repository.spoil(CRASHES_WHEN_TIMED)
    found = gate("--format", "json")
    assert 4 == found.exit_code, found.output
    [verdict] = cases(found).values()
    assert "failed" == verdict["status"]
    assert verdict["reason"].startswith("working tree, pair 1: failed: ")
    assert "SIGABRT" in verdict["reason"]


def test_a_backend_that_went_away_or_is_new_is_said(repository, gate):
    repository.write("yours.py", (repository.folder / "mine.py").read_text())
    (repository.folder / "mine.py").unlink()
    gone = gate("--format", "json")
    assert 4 == gone.exit_code
    assert ["missing"] == [case["status"] for case in cases(gone).values()]
    assert "working tree has no mine:Adapter" in gone.stdout
    record = repository.folder.parent / "gate.jsonl"
    record.unlink()
    new = gate("--format", "json", backend="yours:Adapter")
    assert 4 == new.exit_code
    assert ["new"] == [case["status"] for case in cases(new).values()]


def test_a_renamed_case_is_missing_and_new_and_never_passes_silently(repository, gate):
    text = (repository.folder / "tiny.toml").read_text()
    repository.write("tiny.toml", text.replace("batches = [32]", "batches = [16, 32]"))
    repository.commit()
    repository.write("tiny.toml", text.replace("batches = [32]", "batches = [8, 32]"))
    found = gate("--format", "json", "--threshold", "200%")
    told = {case["case"].rpartition("/")[2]: case["status"] for case in cases(found).values()}
    assert {"16": "missing", "8": "new"} == {batch: told[batch] for batch in ("16", "8")}
    assert told["32"] in ("same", "faster")
    assert 3 == found.exit_code


def test_a_changed_network_is_not_compared(repository, gate):
    text = (repository.folder / "tiny.toml").read_text()
    repository.write("tiny.toml", text.replace("out_features = 8", "out_features = 9"))
    found = gate()
    assert 4 == found.exit_code
    assert "network, loss or optimizer changed" in found.stdout


def test_versions_that_load_the_same_file_are_refused(repository, gate):
    found = gate(backend="numpy")
    assert 4 == found.exit_code
    assert "from the same file" in found.stderr
    assert "name a backend of the repository" in found.stderr


def test_a_version_built_from_the_others_files_is_refused(repository, gate):
    repository.spoil(SLOW)
    found = gate("--setup", f"cp {repository.folder}/mine.py $DLBENCH_TARGET")
    assert 4 == found.exit_code
    assert "mine.py was changed, but both versions load the same contents" in found.stderr


def test_a_base_that_does_not_build_says_what_the_tool_said(repository, gate):
    repository.write("setup.py", "raise RuntimeError('cannot be built')\n")
    repository.commit()
    (repository.folder / "setup.py").unlink()
    found = gate()
    assert 4 == found.exit_code
    assert "main (" in found.stderr
    assert "does not build" in found.stderr
    assert "cannot be built" in found.stderr
    assert "--setup" in found.stderr


def test_a_project_is_installed_from_both_versions(repository, gate):
    repository.write(
        "setup.py",
        "from setuptools import setup\nsetup(name='mine', version='1', py_modules=['mine'],"
        " entry_points={'dlbench.backends': ['own = mine:Adapter']})\n",
    )
    repository.commit()
    repository.spoil(WRONG)
    found = gate("--format", "json", backend="own")
    assert 4 == found.exit_code, found.output
    assert ["failed"] == [case["status"] for case in cases(found).values()]
    lines = (repository.folder.parent / "gate.jsonl").read_text().splitlines()
    loaded = [line for line in map(json.loads, lines) if line["kind"] == "loaded"]
    assert ["base", "new"] == [line["arm"] for line in loaded]
    assert {"mine.py"} == loaded[0]["files"].keys() == loaded[1]["files"].keys()
    assert loaded[0]["files"] != loaded[1]["files"]
    assert not (repository.folder / "build").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--base", "nowhere"],
            "git fetch --depth=1 origin nowhere, and give --base FETCH_HEAD",
        ),
        (["--base", "HEAD~9"], "git fetch --deepen=10"),
        ([], "what is to be compared?"),
        (["--base-python", sys.executable], "--new-python"),
        (["--base-python", sys.executable, "--new-python", sys.executable], "same interpreter"),
        (["--base", "main", "--waive", "fine"], "slower:CASE=reason"),
        (["--base", "main", "--waive", "slower:x=y"], "no case is called 'x'"),
        (["--base", "main", "--backend", "nobody"], "nobody"),
        (["--base", "main", "--threshold", "a"], "percentage"),
        (["--base", "main", "--budget", "-1"], "greater than 0"),
        (["--base", "main", "--calibrate"], "compares nothing"),
        (["--base", "main", "--data", "stand-in"], "linear, has no stand-in"),
    ],
)
def test_what_cannot_be_carried_out_is_refused(repository, gate, words, told):
    found = gate(base=words, backend=None)
    assert 2 == found.exit_code, found.output
    assert told in found.stderr
    assert not (repository.folder.parent / "gate.jsonl").exists()


def test_an_empty_suite_is_refused(repository, gate):
    text = (repository.folder / "tiny.toml").read_text()
    repository.write("tiny.toml", text.replace("batches = [32]", "batches = []"))
    found = gate()
    assert 2 == found.exit_code
    assert "matrix.batches is empty" in found.stderr


def test_outside_a_repository_there_is_no_base(environment, gate, monkeypatch):
    (environment / "elsewhere").mkdir()
    monkeypatch.chdir(environment / "elsewhere")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(environment))
    found = gate()
    assert 2 == found.exit_code
    assert "no git repository" in found.stderr


def test_interpreters_that_load_the_same_files_are_refused(environment, gate):
    folder = environment / "venv"
    venv.create(folder, symlinks=True)
    paths = {"base": str(folder), "platbase": str(folder)}
    own = Path(sysconfig.get_path("purelib", "venv", paths))
    places = [place for place in sys.path if place.endswith("-packages")]
    (own / "same.pth").write_text("".join(f"{place}\n" for place in places))
    words = ["--base-python", sys.executable, "--new-python", str(folder / "bin" / "python")]
    found = gate(base=words, backend="numpy")
    assert 4 == found.exit_code, found.output
    assert "from the same files" in found.stderr


def test_a_full_disk_ends_the_gate_with_what_to_do(repository, program):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    words = ["gate", "--base", "main", "--suite", "tiny.toml", "--backend", "mine:Adapter"]
    process = program(*words, "--output", "../full.jsonl", "--quiet", preexec_fn=small_files)
    _, said = process.communicate(timeout=60)
    assert 4 == process.returncode
    assert "error: ../full.jsonl: cannot be written: File too large" in said
    assert "free space there, or name another place with --output" in said
    assert "Traceback" not in said


def test_ctrl_c_keeps_the_pairs_and_leaves_nothing_behind(repository, program):
    record = repository.folder.parent / "stopped.jsonl"
    words = ["gate", "--base", "main", "--suite", "tiny.toml", "--backend", "mine:Adapter"]
    process = program(*words, "--output", str(record), "--threshold", "0.1%")
    end_s = time.monotonic() + 60
    while not (record.exists() and record.read_text().count('"kind":"half"') > 2):
        assert process.poll() is None
        assert time.monotonic() < end_s
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert 130 == process.returncode
    assert f"dlbench gate --report {record}" in said
    assert '"status":"interrupted"' in record.read_text().splitlines()[-1]
