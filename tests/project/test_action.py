"""The action for GitHub: what can be tried of it without GitHub."""

import os
import re
import subprocess
import sys

import pytest
import yaml

TINY = """
[network]
input = [10]
layers = [{ type = "linear", out_features = 1 }]
[training]
loss = "mean_squared_error"
optimizer = { type = "sgd", learning_rate = 0.05 }
[data]
name = "linear"
[matrix]
backends = ["numpy"]
scenarios = ["train"]
batches = [16]
"""

MINE = """
import time

from dlbench.backends.numpy.adapter import Adapter as Numpy


class Adapter(Numpy):
    def open(self, plan, workload, weights):
        session = super().open(plan, workload, weights)
        step = session.train_step

        def slowed(batch):
            begin = time.perf_counter_ns()
            result = step(batch)
            until = time.perf_counter_ns()
            until += {} * (until - begin)
            while time.perf_counter_ns() < until:
                pass
            return result

        session.train_step = slowed
        return session
"""


@pytest.fixture(scope="module")
def action(root):
    return yaml.safe_load((root / "action.yml").read_text("utf-8"))


@pytest.fixture
def repository(tmp_path):
    """A repository with one commit and a change."""
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "tiny.toml").write_text(TINY)
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "one"]):
        git = ["git", "-c", "user.name=a", "-c", "user.email=a@localhost"]
        subprocess.run([*git, *words], cwd=folder, check=True)
    (folder / "note.txt").write_text("changed")
    return folder


def run(step, folder, inputs, tmp_path):
    """A step's script with its environment, as a runner would: exit code, outputs, what it printed."""
    output = tmp_path / "output"
    output.touch()
    environment = {name: inputs[name.lower()] for name in step["env"]}
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]],
        cwd=folder,
        env=os.environ
        | environment
        | {
            "GITHUB_OUTPUT": str(output),
            "RUNNER_TEMP": str(tmp_path),
            "DLBENCH_CACHE_DIR": str(tmp_path / "cache"),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    outputs = dict(line.split("=", 1) for line in output.read_text().splitlines())
    return done, outputs


def event(**known):
    """What the step that finds the base gets of an event."""
    return {"base": "", "event": "", "pulled": ""} | known


def inputs_of(action, **given):
    defaults = {name: about["default"] for name, about in action["inputs"].items()}
    return defaults | {"python": sys.executable} | given


def test_every_input_is_used_and_none_reaches_a_script_other_than_by_its_environment(action):
    steps = action["runs"]["steps"]
    text = yaml.dump(steps)
    assert set(action["inputs"]) == set(re.findall(r"inputs\.([a-z]+)", text))
    assert not any("${{" in step["run"] for step in steps)
    assert all(step["shell"] == "bash" for step in steps)


def test_a_fork_that_may_only_read_is_judged_like_any_other(action, root):
    text = (root / "action.yml").read_text("utf-8")
    assert not re.search(r"token|secrets\.|gh api|actions/github-script|comment", text)
    recipe = re.search(
        r"```yaml\n(on: pull_request\n.*?)```", (root / "README.md").read_text("utf-8"), re.S
    )
    assert recipe
    assert yaml.safe_load(recipe[1])["permissions"] == {"contents": "read"}


def test_the_base_of_a_shallow_clone_is_fetched(action, repository, tmp_path):
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout.strip()
    clone = tmp_path / "clone"
    (repository / "more.txt").write_text("more")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@localhost"]
    subprocess.run([*git, "add", "-A"], cwd=repository, check=True)
    subprocess.run([*git, "commit", "-q", "-m", "two"], cwd=repository, check=True)
    subprocess.run(
        ["git", "clone", "-q", "--depth=1", f"file://{repository}", str(clone)], check=True
    )
    step = next(step for step in action["runs"]["steps"] if step.get("id") == "base")
    done, outputs = run(step, clone, event(base=commit), tmp_path)
    assert 0 == done.returncode, done.stderr
    assert {"commit": commit} == outputs


def git(folder, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
    done = subprocess.run(
        ["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("depth", [[], ["--depth=1"]], ids=["whole", "shallow"])
def test_a_pull_request_is_compared_with_what_it_was_merged_with(
    action, repository, tmp_path, depth
):
    old = git(repository, "rev-parse", "HEAD")
    git(repository, "switch", "-q", "-c", "pulled")
    git(repository, "commit", "-q", "--allow-empty", "-m", "mine")
    pulled = git(repository, "rev-parse", "HEAD")
    git(repository, "switch", "-q", "main")
    git(repository, "commit", "-q", "--allow-empty", "-m", "another's")
    latest = git(repository, "rev-parse", "HEAD")
    git(repository, "merge", "-q", "--no-ff", "-m", "merged", "pulled")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", *depth, f"file://{repository}", str(clone))
    step = next(step for step in action["runs"]["steps"] if step.get("id") == "base")
    for known, wanted in (
        (event(event=old, pulled=pulled), latest),
        # another merge than that of the event
        (event(event=old, pulled=old), old),
        (event(base=old, event=latest, pulled=pulled), old),
    ):
        (tmp_path / "output").unlink(missing_ok=True)
        done, outputs = run(step, clone, known, tmp_path)
        assert (0, {"commit": wanted}) == (done.returncode, outputs), done.stderr


@pytest.mark.parametrize(
    "base", ["", "0" * 40, "-x", "--upload-pack=touch started", "main\ncommit=forged"]
)
def test_an_event_without_a_commit_to_compare_with_is_an_error_and_nothing_else(
    action, repository, tmp_path, base
):
    git = ["git", "remote", "add", "origin", f"file://{repository}"]
    subprocess.run(git, cwd=repository, check=True)
    step = next(step for step in action["runs"]["steps"] if step.get("id") == "base")
    done, outputs = run(step, repository, event(base=base), tmp_path)
    assert (2, {}) == (done.returncode, outputs)
    assert "::error::dlbench gate: this event names no commit" in done.stdout
    assert "give the action's input 'base'" in done.stdout
    assert not (repository / "started").exists()


def test_a_base_that_nobody_has_is_an_error_that_names_it(action, repository, tmp_path):
    git = ["git", "remote", "add", "origin", f"file://{repository}"]
    subprocess.run(git, cwd=repository, check=True)
    step = next(step for step in action["runs"]["steps"] if step.get("id") == "base")
    done, outputs = run(step, repository, event(base="nowhere"), tmp_path)
    assert (2, {}) == (done.returncode, outputs)
    assert "::error::dlbench gate: origin has no commit or branch nowhere" in done.stdout


@pytest.mark.parametrize(
    # what a busy machine leaves open is no slowdown
    ("slowdown", "inconclusive", "code"),
    [(0, "pass", 0), (2, "fail", 1)],
)
def test_the_gate_passes_and_fails_by_the_users_own_backend(
    action, repository, tmp_path, slowdown, inconclusive, code
):
    # nothing in the user's folder stands in for what dlbench itself imports
    (repository / "click.py").write_text("raise RuntimeError('not the real one')\n")
    (repository / "mine.py").write_text(MINE.format(0))
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@localhost"]
    subprocess.run([*git, "add", "-A"], cwd=repository, check=True)
    subprocess.run([*git, "commit", "-q", "-m", "two"], cwd=repository, check=True)
    (repository / "mine.py").write_text(MINE.format(slowdown) + "# changed\n")
    steps = {step.get("id"): step for step in action["runs"]["steps"]}
    done, outputs = run(steps["base"], repository, event(base="HEAD"), tmp_path)
    assert 0 == done.returncode, done.stderr
    given = inputs_of(
        action,
        base=outputs["commit"],
        suite="tiny.toml",
        backend="mine:Adapter",
        threshold="50%",
        budget="100",
        inconclusive=inconclusive,
    )
    done, outputs = run(steps["gate"], repository, given, tmp_path)
    assert code == done.returncode, done.stdout + done.stderr
    assert str(code) == outputs["exit-code"]
    assert "mine:Adapter:cpu/train/16" in (tmp_path / "summary.md").read_text()


def test_the_gate_hands_on_its_exit_code_its_record_and_its_summary(action, repository, tmp_path):
    step = next(step for step in action["runs"]["steps"] if step.get("id") == "gate")
    given = inputs_of(
        action, base="main", suite="tiny.toml", budget="30", scenario="train", waive="a\n"
    )
    done, outputs = run(step, repository, given, tmp_path)
    assert 2 == done.returncode
    assert "slower:CASE=reason" in done.stderr
    assert "2" == outputs["exit-code"]
    # as it was called before
    done, _ = run(step, repository, given | {"waive": "", "accept": "b\n"}, tmp_path)
    assert "--waive 'b' is not" in done.stderr
    # the NumPy backend is not this repository's, so there is nothing to compare
    done, outputs = run(step, repository, given | {"waive": "", "backend": "numpy\n"}, tmp_path)
    assert 4 == done.returncode
    assert "4" == outputs["exit-code"]
    assert "from the same file" in done.stderr
    assert outputs["record"].startswith(str(tmp_path))


def test_a_gate_without_a_commit_before_says_so_and_passes(root, tmp_path):
    folder = tmp_path / "tree"
    (folder / "tools").mkdir(parents=True)
    script = folder / "tools" / "gate_dlbench"
    script.write_bytes((root / "tools" / "gate_dlbench").read_bytes())
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@localhost"]
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(tmp_path)}

    def gate():
        return subprocess.run(
            ["bash", str(script)], capture_output=True, text=True, timeout=60, env=environment
        )

    assert (0, "no gate: this is no git checkout") == (
        gate().returncode,
        gate().stderr.partition(",")[0],
    )
    for words in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *words], cwd=folder, check=True)
    assert 0 == gate().returncode
    assert "git fetch --deepen=1" in gate().stderr


def test_what_continuous_integration_runs_ends_with_the_tests(root):
    lines = (root / ".ci" / "run").read_text("utf-8").splitlines()
    assert ["make gate || gate=$?", "make test", 'exit "$gate"'] == lines[-3:]
