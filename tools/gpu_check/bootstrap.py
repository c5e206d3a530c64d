"""Runs the GPU check under a Python that has PyTorch or CuPy, but maybe not what dlbench needs, and no network.

`make gpu-check` calls this. It changes nothing about that Python: what is missing comes from wheels that were carried
along, into a folder of the checkout, and so does dlbench itself. It needs the standard library and pip only.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", "dlbench", "backends", "reports", "suites")
FOR_TESTS = ("pytest", "hypothesis")
NOT_NEEDED = ("pooch",)
"""Dependencies of dlbench that the check does without: it downloads nothing."""
USAGE = 2
# prints those of its arguments, and of what they require in turn, that are not met, and where dlbench is, if anywhere
LOOK = """\
import importlib.metadata, importlib.util, sys
from pip._vendor.packaging.requirements import Requirement
waiting, seen = sys.argv[1:], set()
while waiting:
    text = waiting.pop(0)
    wanted = Requirement(text)
    if text in seen or wanted.marker and not wanted.marker.evaluate({"extra": ""}):
        continue
    seen.add(text)
    try:
        found = importlib.metadata.distribution(wanted.name)
    except importlib.metadata.PackageNotFoundError:
        print(f"{wanted.name}{wanted.specifier}")
        continue
    if wanted.specifier.contains(found.version, prereleases=True):
        waiting += found.requires or []
    else:
        print(f"{wanted.name}{wanted.specifier}")
spec = importlib.util.find_spec("dlbench")
print("dlbench", spec.origin if spec and importlib.util.find_spec("dlbench.backends") else "")
"""


class LookFailed(Exception):
    """What is installed cannot be seen, and why."""


def main(arguments: list[str]) -> int:
    """Installs what is missing, then runs the check; its exit code, or 2 with an error message."""
    began_s = time.monotonic()
    reader = argparse.ArgumentParser(prog="make gpu-check", epilog="Other arguments are passed on.")
    reader.add_argument("--wheels", type=Path, help="folder with wheels of what is missing")
    reader.add_argument("--minutes", type=float, help="stop cleanly within this time")
    reader.add_argument(
        "--site", type=Path, default=ROOT / ".gpu-check", help="where they go [.gpu-check]"
    )
    given, rest = reader.parse_known_args(arguments)
    site = given.site.resolve() / f"python{sys.version_info.major}.{sys.version_info.minor}"
    paths = [str(site), str(ROOT / "tools"), os.environ.get("PYTHONPATH")]
    environment = os.environ | {
        # kernels that CuPy has compiled stay for the next slice
        "CUPY_CACHE_DIR": os.environ.get("CUPY_CACHE_DIR", str(given.site.resolve() / "cupy")),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        # else the checkout's folder dlbench would hide the installed package, which is more
        "PYTHONSAFEPATH": "1",
    }
    try:
        trouble = bring(given.wheels, site, environment)
    except LookFailed as failure:
        trouble = str(failure)
    if trouble:
        print(f"error: {trouble}", file=sys.stderr)
        return USAGE
    command = [sys.executable, "-m", "gpu_check.command", *rest]
    if given.minutes is not None:
        left = given.minutes - (time.monotonic() - began_s) / 60
        command += ["--minutes", f"{max(left, 0.01):.3f}"]
    os.execve(sys.executable, command, environment)


def bring(wheels: Path | None, site: Path, environment: dict[str, str]) -> str:
    """Installs the wheels and this checkout into `site`; what is in the way, or nothing.

    Raises
    ------
    LookFailed : as `look` does.
    """
    found = [] if wheels is None else sorted(wheels.glob("*.whl"))
    if wheels is not None and not found:
        return f"no wheels in {wheels}"
    mark, stamp = site / "installed-from", stamp_of(found)
    if mark.exists() and mark.read_text("utf-8") == stamp:
        return ""
    if importlib.util.find_spec("pip") is None:
        own = sys.executable
        return f"{own} has no pip: {own} -m ensurepip, or name another Python with PYTHON=…"
    if trouble := install_missing(found, site, environment):
        return f"the wheels in {wheels} cannot be installed: {trouble}"
    missing, origin = look(requirements(), environment)
    is_ours = bool(origin) and Path(origin).resolve().is_relative_to(ROOT)
    builds = not is_ours or site in Path(origin).parents
    if builds:
        missing += look(requirements(to_build=True), environment)[0]
    if missing:
        wanted = [*missing, *look(FOR_TESTS, environment)[0]]
        return (
            f"{sys.executable} lacks {', '.join(missing)}; where there is a network: "
            f"{sys.executable} -m pip download -d wheels {' '.join(map(shlex.quote, wanted))}"
            "; then here: make gpu-check WHEELS=wheels"
        )
    if not builds:
        return ""
    with tempfile.TemporaryDirectory(prefix="dlbench-") as folder:
        # a copy: building writes beside the sources and would pick up what an earlier build left there
        for name in BUILT_FROM:
            path = ROOT / name
            copy = shutil.copytree if path.is_dir() else shutil.copy2
            copy(path, Path(folder) / name)
        trouble = install(["--no-build-isolation", folder], site, environment)
    if trouble:
        return f"dlbench cannot be built: {trouble}"
    mark.write_text(stamp, "utf-8")
    return ""


def install_missing(wheels: list[Path], site: Path, environment: dict[str, str]) -> str:
    """Installs the wheels of packages that are not here, or not in a version that will do; what goes wrong, or nothing.

    Raises
    ------
    LookFailed : as `look` does.
    """
    left = {path: package(path.name.partition("-")[0]) for path in wheels}
    while left:
        # again after each round: what was installed may need a later version of something else
        missing = set(map(package, look([*requirements(), *left.values()], environment)[0]))
        chosen = [path for path, name in left.items() if name in missing]
        if not chosen:
            break
        if trouble := install([str(path) for path in chosen], site, environment):
            return trouble
        left = {path: name for path, name in left.items() if path not in chosen}
    return ""


def package(requirement: str) -> str:
    """The normalised name of the package that a requirement names."""
    name = re.match(r"[\w.-]+", requirement)
    return re.sub(r"[-_.]+", "-", name[0] if name else requirement).lower()


def stamp_of(wheels: list[Path]) -> str:
    """Changes with any wheel and any file that dlbench is built from, so that they are installed only then."""
    files = [path for name in BUILT_FROM for path in (ROOT / name, *(ROOT / name).rglob("*"))]
    kept = [path for path in files if path.is_file() and "__pycache__" not in path.parts]
    states = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in kept + wheels]
    return hashlib.sha256(repr(states).encode()).hexdigest()


def requirements(*, to_build: bool = False) -> list[str]:
    """What the check needs, or what building dlbench needs, with bounds."""
    file = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    if to_build:
        return list(file["build-system"]["requires"])
    return [each for each in file["project"]["dependencies"] if package(each) not in NOT_NEEDED]


def look(requirements: Iterable[str], environment: dict[str, str]) -> tuple[list[str], str]:
    """Which requirements are not met, and where dlbench is; empty without its backends.

    Raises
    ------
    LookFailed : this Python cannot look.
    """
    command = [sys.executable, "-c", LOOK, *requirements]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise LookFailed(f"{sys.executable} cannot tell what it has installed: {last}")
    *missing, last = done.stdout.splitlines()
    return missing, last.partition(" ")[2]


def install(what: list[str], site: Path, environment: dict[str, str]) -> str:
    """Installs with pip, without a network; its message where it fails."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-index", "--no-deps", "--upgrade", "--target", str(site), *what]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return (done.stderr.strip() or f"pip ended with {done.returncode}") if done.returncode else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
