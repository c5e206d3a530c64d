"""Builds the two versions of a repository, each into a folder of its own, and clears both away again.

The folders have paths of equal length, and both versions are checked out and installed in the same way, since
either can shift timings. Nothing is written into the user's working tree.
"""

from __future__ import annotations

import configparser
import contextlib
import errno
import importlib.metadata
import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from dlbench.errors import DlbenchError, UsageError
from dlbench.gate.pairs import Arm
from dlbench.gate.versions import TARGET_VARIABLE, Sources, Version
from dlbench.host.scratch import scratch
from dlbench.worker.launch import hide_home

_FOLDERS: Mapping[Arm, str] = {"base": "base", "new": "head"}
_FULL = tuple(os.strerror(code) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_TOLD = 1500
_GIT = {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
"""Git must not refresh the user's index in passing, and says in English what is wrong."""
_OF_A_HOOK = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR"),
    *("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH"),
    *("GIT_IMPLICIT_WORK_TREE", "GIT_SHALLOW_FILE", "GIT_NAMESPACE", "GIT_GRAFT_FILE"),
)
"""Where git says which repository and which index a hook is about (``git rev-parse --local-env-vars``)."""


class BuildError(DlbenchError):
    """A version that cannot be built, with the end of what the tool printed.

    Attributes
    ----------
    broken : the versions whose own installation failed; empty when something else went wrong.
    """

    def __init__(self, message: str, broken: Iterable[Arm] = ()) -> None:
        super().__init__(message)
        self.broken = frozenset(broken)


def leave_hook() -> None:
    """Forgets what git tells its hooks of the repository and the index at work, so that no child writes there."""
    for name in _OF_A_HOOK:
        os.environ.pop(name, None)


def root_of(folder: Path) -> Path:
    """The root of the repository that a folder lies in.

    Raises
    ------
    UsageError : it lies in none.
    """
    try:
        return Path(_git(folder, "rev-parse", "--show-toplevel").strip())
    except BuildError as error:
        reason = str(error)
        if "not a git repository" in reason:
            reason = "this folder is in no git repository"
        raise UsageError(
            f"--base compares with a commit, and {reason}; compare two interpreters with"
            " --base-python and --new-python"
        ) from None


def commit_of(repository: Path, ref: str) -> str:
    """The commit that a name stands for, as its full hash.

    Raises
    ------
    UsageError : there is none.
    """
    try:
        return _git(
            repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}"
        ).strip()
    except BuildError:
        # a fetch knows names and hashes, and no way from one commit to another
        get = f"git fetch --depth=1 origin {shlex.quote(ref)}, and give --base FETCH_HEAD"
        if any(mark in ref for mark in ("~", "^", "@{")):
            get = "git fetch --deepen=10"
        raise UsageError(
            f"--base {ref}: this repository has no such commit; a clone that lacks it gets it with: {get}"
        ) from None


@contextlib.contextmanager
def built(
    repository: Path,
    ref: str,
    setup: str | None = None,
    *,
    records: Path | None = None,
    until_s: float | None = None,
) -> Iterator[tuple[Version, Version]]:
    """The version at `ref` and the working tree, as long as the context lasts.

    Parameters
    ----------
    repository : its root.
    ref : names a commit.
    setup : a shell command that installs a checkout, its working folder, into the folder that
        ``$DLBENCH_TARGET`` names; None for pip, without dependencies and without a network. Where nothing is
        installed there, and where there is nothing to install, the checkout itself is what is loaded.
    records : dlbench's own folder in the working tree; what git does not know in it is not copied.
    until_s : the monotonic clock at which building is given up.

    Raises
    ------
    UsageError : no such commit.
    BuildError : a version does not build, or not in time, or there is no room for the two.
    """
    commit = commit_of(repository, ref)
    labels: dict[Arm, str] = {"base": f"{ref} ({commit[:9]})", "new": "working tree"}
    with scratch() as folder:
        checkouts = {arm: folder / name / "source" for arm, name in _FOLDERS.items()}
        _forget_lost(repository)
        try:
            _check_out(repository, commit, checkouts, records)
            installed = _install(checkouts, labels, setup, until_s)
            versions: dict[Arm, Version] = {
                arm: Version(
                    arm,
                    labels[arm],
                    folder=installed[arm],
                    checkout=place,
                    working_tree=repository,
                )
                for arm, place in checkouts.items()
            }
            yield versions["base"], versions["new"]
        finally:
            for place in checkouts.values():
                _remove(repository, place)


def sources(repository: Path, ref: str, records: Path | None = None) -> Sources:
    """The files of a commit and of the working tree, and those in which they differ."""
    listed = _names(_git(repository, "ls-tree", "-r", "-z", "--name-only", "--full-tree", ref))
    changed = {*_differing(repository, ref), *_untracked(repository, records)}
    return Sources(files=frozenset(changed.union(listed)), changed=frozenset(changed))


def _check_out(
    repository: Path, commit: str, checkouts: Mapping[Arm, Path], records: Path | None
) -> None:
    try:
        for arm, place in checkouts.items():
            place.parent.mkdir()
            at = commit if arm == "base" else "HEAD"
            _git(repository, "worktree", "add", "--quiet", "--force", "--detach", str(place), at)
        _overlay(repository, checkouts["new"], records)
    except OSError as error:
        told = f"the two versions cannot be checked out: {error.strerror or error}"
        raise BuildError(f"{told}{_room(told)}") from None


def _overlay(repository: Path, checkout: Path, records: Path | None) -> None:
    """Makes a checkout of HEAD what the working tree is, but for what git ignores."""
    # first all that HEAD has otherwise, since a folder may be where a file was and the other way round
    for name in _differing(repository, "HEAD", "--diff-filter=a"):
        target = checkout / name
        if target.is_symlink() or not target.is_dir():
            target.unlink(missing_ok=True)
        else:
            _remove_empty(target, checkout)
        _remove_empty(target.parent, checkout)
    there = _differing(repository, "HEAD", "--diff-filter=d")
    for name in [*there, *_untracked(repository, records)]:
        source, target = repository / name, checkout / name
        if not source.is_symlink() and not source.is_file():
            # a submodule, a repository in the repository, or what an unfinished merge has taken away
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)


def _remove_empty(folder: Path, checkout: Path) -> None:
    """Removes a folder that has become empty, and those above it that have, as git does."""
    with contextlib.suppress(OSError):
        while folder != checkout:
            folder.rmdir()
            folder = folder.parent


def _install(
    checkouts: Mapping[Arm, Path],
    labels: Mapping[Arm, str],
    setup: str | None,
    until_s: float | None,
) -> dict[Arm, Path]:
    """Installs both at once; the folder of each that is to be loaded from."""
    running: dict[Arm, subprocess.Popen[str]] = {}
    targets = {arm: place.parent / "target" for arm, place in checkouts.items()}
    wrong: dict[Arm, str] = {}
    try:
        for arm, place in checkouts.items():
            targets[arm].mkdir()
            command = _command(place, targets[arm], setup)
            if command is not None:
                running[arm] = subprocess.Popen(
                    command,
                    cwd=place,
                    env=os.environ | {TARGET_VARIABLE: str(targets[arm])},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    start_new_session=True,
                )
        for arm in list(running):
            left_s = None if until_s is None else max(until_s - time.monotonic(), 0.0)
            try:
                printed, _ = running[arm].communicate(timeout=left_s)
            except subprocess.TimeoutExpired:
                raise BuildError(
                    f"{labels[arm]} was not built when the budget ended; give a larger --budget"
                ) from None
            if code := running.pop(arm).returncode:
                wrong[arm] = (
                    f"{labels[arm]} does not build (exit code {code}): {_end(printed)}{_room(printed)}"
                    + (_lacking(checkouts[arm]) if setup is None else "")
                )
    finally:
        for process in running.values():
            # with what the command has started, which may outlive it
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
    if wrong:
        remedy = (
            "to build it in another way: --setup 'COMMAND', which is run in the checkout and installs into"
            f" ${TARGET_VARIABLE}"
        )
        raise BuildError("\n".join([*wrong.values(), remedy]), wrong)
    return {arm: targets[arm] if any(targets[arm].iterdir()) else checkouts[arm] for arm in targets}


def _command(checkout: Path, target: Path, setup: str | None) -> list[str] | None:
    if setup is not None:
        return ["/bin/sh", "-c", setup]
    if not _is_project(checkout):
        return None
    where = ["--no-deps", "--no-build-isolation", "--target", str(target), str(checkout)]
    if find_spec("pip") is not None:
        # without -P a file of the checkout could stand in for a module of pip's
        python = [sys.executable, "-P", "-m"]
        return [*python, "pip", "--disable-pip-version-check", "--quiet", "install", *where]
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--quiet", "--offline", "--python", sys.executable, *where]
    raise BuildError(
        "a checkout is built with pip or uv, and this environment has neither: python -m ensurepip, or build in"
        f" another way: --setup 'COMMAND', which installs into ${TARGET_VARIABLE}"
    )


def _lacking(checkout: Path) -> str:
    """What would help where something that a checkout is built with is not installed."""
    names = " ".join(name for name in _tools(checkout) if not _is_installed(name))
    told = "it is built without a network, and this environment lacks"
    return f"; {told} {names}: pip install {names}" if names else ""


def _tools(checkout: Path) -> list[str]:
    """What a checkout is built with, by the names of packages: what it says itself, else setuptools."""
    try:
        table = tomllib.loads((checkout / "pyproject.toml").read_text("utf-8"))
        wanted = table["build-system"]["requires"]
    except (OSError, ValueError, KeyError, TypeError):
        return ["setuptools"]
    found = [re.match(r"[\w.-]+", each) for each in wanted if isinstance(each, str)]
    return [match[0] for match in found if match]


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _is_project(checkout: Path) -> bool:
    """Whether there is something for pip to install: a ``pyproject.toml`` may configure tools only."""
    if (checkout / "setup.py").is_file():
        return True
    try:
        table = tomllib.loads((checkout / "pyproject.toml").read_text("utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        return False
    except ValueError:
        # pip says what is wrong with it
        return True
    if "project" in table or "build-system" in table:
        return True
    old = configparser.ConfigParser(interpolation=None, strict=False)
    with contextlib.suppress(configparser.Error, UnicodeDecodeError):
        old.read(checkout / "setup.cfg", "utf-8")
    return old.has_section("metadata")


def _remove(repository: Path, checkout: Path) -> None:
    """Takes a checkout away, and what git knows of it."""
    if checkout.exists():
        _forget(repository, checkout)


def _forget_lost(repository: Path) -> None:
    """Has git forget checkouts of gates that were killed and whose folders are gone since."""
    for line in _git(repository, "worktree", "list", "--porcelain").splitlines():
        place = Path(line.removeprefix("worktree "))
        ours = place.name == "source" and place.parent.parent.name.startswith("dlbench-")
        if ours and not place.exists():
            _forget(repository, place)


def _forget(repository: Path, checkout: Path) -> None:
    with contextlib.suppress(BuildError):
        _git(repository, "worktree", "remove", "--force", "--force", str(checkout))


def _differing(repository: Path, ref: str, *options: str) -> list[str]:
    """The files that git knows and that are not as in a commit."""
    words = ("diff", "--name-only", "--no-renames", "-z", *options, ref, "--")
    return _names(_git(repository, *words))


def _untracked(repository: Path, records: Path | None) -> list[str]:
    words = ("ls-files", "-z", "--others", "--exclude-standard", "--full-name")
    listed = _names(_git(repository, *words))
    return [
        name
        for name in listed
        if records is None or not (repository / name).is_relative_to(records)
    ]


def _names(listed: str) -> list[str]:
    return [name for name in listed.split("\0") if name]


def _git(folder: Path, *words: str) -> str:
    # a hook of the user's is for the user's own checkouts
    settings = ["-c", "core.hooksPath=/dev/null", "-c", "diff.autoRefreshIndex=false"]
    command = ["git", "-C", str(folder), *settings, *words]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            env={**os.environ, **_GIT},
            check=False,
        )
    except OSError as error:
        raise BuildError(f"git cannot be run: {error.strerror}") from None
    if done.returncode:
        name = " ".join(itertools.takewhile(lambda word: not word.startswith("-"), words))
        raise BuildError(f"git {name}: {_end(done.stderr)}{_room(done.stderr)}")
    return done.stdout


def _end(printed: str) -> str:
    """The end of what a tool printed."""
    return hide_home(printed.strip()[-_TOLD:]) or "it printed nothing"


def _room(printed: str) -> str:
    """What would help where a disk is full."""
    if not any(reason in printed for reason in _FULL):
        return ""
    return f"; free space in {hide_home(tempfile.gettempdir())}, or name another folder as TMPDIR"
