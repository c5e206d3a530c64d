"""What the documents and the pins promise, held against the project itself."""

import itertools
import re
import subprocess
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# never part of the tested CPU set: they need an NVIDIA GPU
GPU_ONLY = {"tensorflow-cuda", "cupy", "cudnn"}


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(scope="module")
def pins(root):
    lines = (root / "constraints.txt").read_text("utf-8").splitlines()
    return {
        canonicalize_name(name): version for name, _, version in (p.partition("==") for p in lines)
    }


def fenced(path):
    """The lines of a document's code blocks."""
    inside = False
    for line in path.read_text("utf-8").splitlines():
        if line.lstrip().startswith("```"):
            inside = not inside
        elif inside:
            yield line.strip().removeprefix("$ ")


def test_the_readme_names_both_commands_on_its_first_screen(root):
    screen = (root / "README.md").read_text("utf-8").splitlines()[:40]
    assert {"make bench", "make test"} <= set(re.findall(r"make (?:bench|test)", "\n".join(screen)))


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_every_make_command_in_a_document_is_a_target(root, document):
    targets = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text("utf-8"), re.MULTILINE))
    text = (root / document).read_text("utf-8")
    named = set(re.findall(r"`make ([a-z-]+)", text))
    named |= {line.split()[1] for line in fenced(root / document) if line.startswith("make ")}
    assert named
    assert set() == named - targets


def test_no_file_knows_where_it_was_written_or_where_packages_came_from(root):
    # put together here, so that this file does not hold what it looks for
    forbidden = [
        "".join(parts)
        for parts in [
            ("..", "/shared"),
            ("index", "-url"),
            ("find", "-links"),
            ("/ho", "me/"),
            ("/ro", "ot/"),
            ("/Us", "ers/"),
        ]
    ]
    if len(root.parts) > 2:  # a checkout in /build would forbid too much
        forbidden.append(f"{root}/")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    paths = [root / name for name in listed if name and (root / name).is_file()]
    assert len(paths) > 20
    texts = {path: path.read_text("utf-8", errors="replace") for path in paths}
    wrong = {str(p.relative_to(root)): [w for w in forbidden if w in t] for p, t in texts.items()}
    assert {} == {path: words for path, words in wrong.items() if words}


def test_constraints_are_names_and_versions_only(root):
    lines = (root / "constraints.txt").read_text("utf-8").splitlines()
    name, version = (
        r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?",
        r"\d+(\.\d+)*(\.?(a|b|rc|post|dev)\d+)*",
    )
    assert [] == [line for line in lines if not re.fullmatch(f"{name}=={version}", line)]
    names = [canonicalize_name(line.partition("==")[0]) for line in lines]
    assert len(set(names)) == len(names)


def test_the_tested_frameworks_are_pinned_once_and_in_the_constraints_only(project, pins):
    assert {"torch", "tensorflow-cpu"} <= pins.keys()
    extras = project["optional-dependencies"].values()
    requirements = [*project["dependencies"], *itertools.chain.from_iterable(extras)]
    assert [] == [r for r in map(Requirement, requirements) if "==" in str(r.specifier)]


def test_every_requirement_is_bounded_pinned_and_agrees_with_its_pin(project, pins):
    extras = project["optional-dependencies"]
    tested = (listed for extra, listed in extras.items() if extra not in GPU_ONLY)
    requirements = itertools.chain(project["dependencies"], *tested)
    for requirement in map(Requirement, requirements):
        assert requirement.specifier, f"{requirement} has no bounds"
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), (
            requirement
        )


def test_frameworks_are_extras_and_not_dependencies(project):
    extras = project["optional-dependencies"]
    assert {"torch", "tensorflow", "cupy", "data", "dev"} <= extras.keys()
    base = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    assert set() == base & {"torch", "tensorflow", "tensorflow-cpu", "scikit-learn", "pytest"}
