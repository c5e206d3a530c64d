"""Whether two versions are really two: what their processes loaded must be their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dlbench.errors import DlbenchError
from dlbench.gate.pairs import Arm
from dlbench.gate.schema import Loaded
from dlbench.gate.versions import TARGET_VARIABLE, Sources, Version
from dlbench.record.facts import VerifyResult
from dlbench.spec.suite import Suite
from dlbench.text import plural
from dlbench.worker.launch import hide_home
from dlbench.worker.supervisor import Ended

_NAMED = "name a backend of the repository as --backend module:Class, or have --setup install it"


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a version showed when it was held against the oracle.

    Attributes
    ----------
    adapter : ``module:Class``.
    absent : it has no such module or class.
    loaded : see `dlbench.worker.import_provenance.look`; empty when it did not come to an end.
    libraries : versions of what computes, by name, the backend's own among them.
    trouble, output : what went wrong, empty when nothing did.
    """

    adapter: str
    absent: bool = False
    loaded: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    libraries: Mapping[str, str] = dataclasses.field(default_factory=dict)
    trouble: str = ""
    output: str = ""

    def is_own(self, version: Version) -> bool:
        """Whether the backend came from the version itself, as far as that is known. A version that is an
        interpreter only has no code of its own."""
        if self.absent:
            return False
        if version.folder is None or not self.loaded:
            return True
        return Path(self.loaded["adapter"]).is_relative_to(version.folder.resolve())


def absent(ended: Ended[Any], adapter: str) -> bool:
    """Whether a worker ended so because there is no such module, or no such class in it."""
    module, _, name = adapter.partition(":")
    parts = module.split(".")
    outer = {".".join(parts[: count + 1]) for count in range(len(parts))}
    first = name.partition(".")[0]
    return ended.status == "failed" and ended.missing in {*outer, f"{module}:{first}"}


def remedy(ended: Ended[Any], version: Version) -> str:
    """What would help a version that went wrong; a module that it lacks may lie in the user's working tree."""
    lacks_module = ended.missing and ":" not in ended.missing
    if ended.remedy or not lacks_module or version.folder is None:
        return ended.remedy
    return f"have --setup install it into ${TARGET_VARIABLE}; a version sees nothing of the working tree"


def refuse_same(versions: Mapping[Arm, Version], seen: Mapping[Arm, Seen], backend: str) -> None:
    """Ends a gate that would compare a program with itself.

    Raises
    ------
    DlbenchError : both versions loaded the same file, or neither has the backend.
    """
    base, new = seen["base"], seen["new"]
    of_repository = versions["base"].folder is not None
    if base.absent and new.absent:
        where = _NAMED if of_repository else "install it there, or call the gate in its folder"
        raise DlbenchError(
            f"neither {versions['base'].label} nor the new version has {backend}; {where}"
        )
    if not (base.loaded and new.loaded):
        return
    if not of_repository:
        packages = base.loaded["packages"], new.loaded["packages"]
        shared = packages[0].keys() & packages[1].keys()
        if all(packages[0][name] == packages[1][name] for name in shared):
            raise DlbenchError(
                f"both interpreters load {backend} from the same files, so there is nothing to"
                " compare; give each an environment of its own"
            )
    elif not any(each.is_own(versions[arm]) for arm, each in seen.items()):
        _refuse_working_tree(versions, seen)
        raise DlbenchError(
            f"both versions load {backend} from the same file, {hide_home(new.loaded['adapter'])},"
            f" which is none of this repository's, so there is nothing to compare; {_NAMED}"
        )


def differing(
    versions: Mapping[Arm, Version], seen: Mapping[Arm, Seen], sources: Sources | None
) -> Iterator[str]:
    """What a reader should know about what the two loaded.

    Parameters
    ----------
    sources : the repository's files; None where none is compared.

    Raises
    ------
    DlbenchError : a file comes from the user's working tree, or one that was changed is loaded as it was.
    """
    _refuse_working_tree(versions, seen)
    base, new = (seen[arm].loaded for arm in ("base", "new"))
    alike = [name for name, digest in new["files"].items() if base["files"].get(name) == digest]
    if sources is not None:
        _refuse_stale(versions, alike, sources)
    if new["files"] and new["files"] == base["files"]:
        count = plural(len(new["files"]), "file")
        yield f"both versions loaded the same code ({count} alike)"
    if base["python"] != new["python"]:
        yield f"Python {base['python']} in the base, {new['python']} in the new one"
    elif sources is None and seen["base"].libraries == seen["new"].libraries:
        named = ", ".join(f"{name} {version}" for name, version in seen["new"].libraries.items())
        yield f"both interpreters have the same versions: Python {new['python']}, {named}"


def _refuse_working_tree(versions: Mapping[Arm, Version], seen: Mapping[Arm, Seen]) -> None:
    """What both versions find in the user's folder only is one file for the two of them."""
    for arm, each in seen.items():
        if strays := each.loaded["working_tree"]:
            raise DlbenchError(
                f"{versions[arm].label} loads {strays[0]} from {hide_home(str(versions[arm].working_tree))}"
                " and not from a folder of its own, so a change there would not be seen; have --setup"
                f" install it into ${TARGET_VARIABLE}"
            )


def _refuse_stale(versions: Mapping[Arm, Version], alike: Iterable[str], sources: Sources) -> None:
    by_name: dict[str, list[str]] = {}
    for path in sources.files:
        by_name.setdefault(path.rpartition("/")[2], []).append(path)
    for name in alike:
        source = _source(versions, name, by_name.get(name.rpartition("/")[2], ()))
        if source in sources.changed and not _alike(versions, source):
            raise DlbenchError(
                f"{source} was changed, but both versions load the same contents ({name}): one of"
                " the two was built from the other's files; --setup can build them in another way"
            )


def _source(versions: Mapping[Arm, Version], loaded: str, paths: Iterable[str]) -> str | None:
    """Which of a repository's files is loaded by that name, when packages may lie in other folders; None where
    several can be."""
    own = [version.file(Path(loaded)) for version in versions.values()]
    if all(file is not None and file.is_file() for file in own):
        return loaded
    shared = {path: found for path in paths if (found := _shared_end(path, loaded))}
    longest = [path for path, parts in shared.items() if parts == max(shared.values())]
    return longest[0] if len(longest) == 1 else None


def _shared_end(source: str, loaded: str) -> int:
    """How many parts two paths have in common if one is the other's end, else 0."""
    one, other = Path(source).parts[::-1], Path(loaded).parts[::-1]
    shared = min(len(one), len(other))
    return shared if one[:shared] == other[:shared] else 0


def _alike(versions: Mapping[Arm, Version], path: str) -> bool:
    """Whether a file is the same in both checkouts, or not in both."""
    files = [version.file(Path(path)) for version in versions.values()]
    contents = [file.read_bytes() for file in files if file is not None and file.is_file()]
    return len(contents) < 2 or contents[0] == contents[1]


def unlike_suites(suites: Mapping[Arm, Suite]) -> str:
    """Why two versions' suites say nothing about the code, empty where they do."""
    base, new = suites["base"], suites["new"]
    for what, unlike in (
        ("network, loss or optimizer", base.workload.digest != new.workload.digest),
        ("data", base.data != new.data),
    ):
        if unlike:
            return f"the suite's {what} changed, so its times say nothing about the code"
    return ""


def loaded_by(arm: Arm, backend: str, result: VerifyResult) -> Loaded:
    """What a version's process has loaded, as a line of the record."""
    return Loaded(
        arm=arm,
        backend=backend,
        files=result.loaded["files"],
        python=result.loaded["python"],
        version=result.version,
        libraries=result.libraries,
    )
