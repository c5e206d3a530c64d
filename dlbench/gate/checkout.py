"""Builds the two versions of a repository, each into a folder of its own, and clears both away again.

The folders have paths of equal length, and both versions are checked out and installed in the same way, since
either can shift timings. Nothing is written into the user's working tree.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from dlbench.errors import DlbenchError, UsageError
from dlbench.gate.pairs import Arm
from dlbench.gate.version import Version
from dlbench.process import hide_home

TARGET_VARIABLE = "DLBENCH_TARGET"
"""Tells a command of ``--setup`` the folder to install into."""
_FOLDERS: Mapping[Arm, str] = {"base": "base", "new": "head"}
_PROJECT_FILES = ("pyproject.toml", "setup.py")
_TOLD = 1500


class BuildError(DlbenchError):
    """A version that cannot be built, with the end of what the tool printed."""


def root_of(folder: Path) -> Path:
    """The root of the repository that a folder lies in.

    Raises
    ------
    UsageError : it lies in none.
    """
    try:
        return Path(_git(folder, "rev-parse", "--show-toplevel").strip())
    except BuildError:
        raise UsageError(
            "--base compares with a commit, and this folder is in no git repository; compare two"
            " interpreters with --base-python and --new-python"
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
        raise UsageError(
            f"--base {ref}: this repository has no such commit; a shallow clone gets it with:"
            f" git fetch --depth=1 origin {ref}"
        ) from None


@contextlib.contextmanager
def built(
    repository: Path, ref: str, setup: str | None = None
) -> Iterator[tuple[Version, Version]]:
    """The version at `ref` and the working tree, as long as the context lasts.

    Parameters
    ----------
    repository : its root.
    ref : names a commit.
    setup : a shell command that installs a checkout, its working folder, into the folder that
        ``$DLBENCH_TARGET`` names; None for pip, without dependencies and without a network. Where nothing is
        installed there, and where there is nothing to install, the checkout itself is what is loaded.

    Raises
    ------
    UsageError : no such commit.
    BuildError : one of the versions does not build.
    """
    commit = commit_of(repository, ref)
    labels: dict[Arm, str] = {"base": f"{ref} ({commit[:9]})", "new": "working tree"}
    with tempfile.TemporaryDirectory(prefix="dlbench-gate-", ignore_cleanup_errors=True) as folder:
        checkouts = {arm: Path(folder) / name / "source" for arm, name in _FOLDERS.items()}
        try:
            for arm, place in checkouts.items():
                place.parent.mkdir()
                at = commit if arm == "base" else "HEAD"
                # a hook of the user's is for the user's own checkouts
                _git(
                    repository,
                    *("-c", "core.hooksPath=/dev/null"),
                    *("worktree", "add", "--quiet", "--force", "--detach", str(place), at),
                )
            _overlay(repository, checkouts["new"])
            installed = _install(checkouts, labels, setup)
            versions: dict[Arm, Version] = {
                arm: Version(arm, labels[arm], folder=installed[arm], checkout=place)
                for arm, place in checkouts.items()
            }
            yield versions["base"], versions["new"]
        finally:
            for place in checkouts.values():
                _remove(repository, place)


def changed_files(repository: Path, ref: str) -> list[str]:
    """The files in which the working tree differs from a commit, relative to the root."""
    differing = _git(repository, "diff", "--name-only", "--no-renames", "-z", ref, "--")
    return [*_names(differing), *_untracked(repository)]


def _overlay(repository: Path, checkout: Path) -> None:
    """Makes a checkout of HEAD what the working tree is, but for what git ignores."""
    differing = _names(_git(repository, "diff", "--name-only", "--no-renames", "-z", "HEAD", "--"))
    for name in [*differing, *_untracked(repository)]:
        source, target = repository / name, checkout / name
        if source.is_dir() and not source.is_symlink():
            # a submodule or a repository in the repository
            continue
        if target.is_symlink() or target.is_file():
            target.unlink()
        if source.is_symlink() or source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)


def _install(
    checkouts: Mapping[Arm, Path], labels: Mapping[Arm, str], setup: str | None
) -> dict[Arm, Path]:
    """Installs both at once; the folder of each that is to be loaded from."""
    running: dict[Arm, subprocess.Popen[str]] = {}
    targets = {arm: place.parent / "target" for arm, place in checkouts.items()}
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
                )
        for arm, process in running.items():
            printed, _ = process.communicate()
            if process.returncode:
                raise BuildError(
                    f"{labels[arm]} does not build (exit code {process.returncode}):"
                    f" {_end(printed)}\nto build it in another way: --setup 'COMMAND', which is run in the"
                    f" checkout and installs into ${TARGET_VARIABLE}"
                )
    finally:
        for process in running.values():
            if process.poll() is None:
                process.kill()
                process.wait()
    return {arm: targets[arm] if any(targets[arm].iterdir()) else checkouts[arm] for arm in targets}


def _command(checkout: Path, target: Path, setup: str | None) -> list[str] | None:
    if setup is not None:
        return ["/bin/sh", "-c", setup]
    if not any((checkout / name).is_file() for name in _PROJECT_FILES):
        return None
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
    return [*pip, "--no-deps", "--no-build-isolation", "--target", str(target), str(checkout)]


def _remove(repository: Path, checkout: Path) -> None:
    """Takes a checkout away, and what git knows of it."""
    if checkout.exists():
        with contextlib.suppress(BuildError):
            _git(repository, "worktree", "remove", "--force", "--force", str(checkout))


def _untracked(repository: Path) -> list[str]:
    listed = _git(repository, "ls-files", "-z", "--others", "--exclude-standard", "--full-name")
    return _names(listed)


def _names(listed: str) -> list[str]:
    return [name for name in listed.split("\0") if name]


def _git(folder: Path, *words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            check=False,
        )
    except OSError as error:
        raise BuildError(f"git cannot be run: {error.strerror}") from None
    if done.returncode:
        raise BuildError(f"git {words[0]}: {_end(done.stderr)}")
    return done.stdout


def _end(printed: str) -> str:
    """The end of what a tool printed."""
    return hide_home(printed.strip()[-_TOLD:]) or "it printed nothing"
