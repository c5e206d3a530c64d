"""Whether two versions are really two: what their processes loaded must be their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlbench.conversation import Ended
from dlbench.errors import DlbenchError
from dlbench.gate.pairs import Arm
from dlbench.gate.version import Version
from dlbench.process import hide_home
from dlbench.wording import plural


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a version showed when it was held against the oracle.

    Attributes
    ----------
    adapter : ``module:Class``.
    absent : it has no such module or class.
    loaded : see `dlbench.loaded.look`; empty when it did not come to an end.
    trouble, output : what went wrong, empty when nothing did.
    """

    adapter: str
    absent: bool = False
    loaded: Mapping[str, Any] = dataclasses.field(default_factory=dict)
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


def absent(ended: Ended, adapter: str) -> bool:
    """Whether a worker ended so because there is no such module, or no such class in it."""
    module, _, name = adapter.partition(":")
    parts = module.split(".")
    outer = {".".join(parts[: count + 1]) for count in range(len(parts))}
    missing = {f"ModuleNotFoundError: No module named '{each}' (in import)" for each in outer}
    first = name.partition(".")[0]
    missing.add(f"AttributeError: module '{module}' has no attribute '{first}' (in import)")
    return ended.status == "failed" and ended.reason in missing


def refuse_same(versions: Mapping[Arm, Version], seen: Mapping[Arm, Seen], backend: str) -> None:
    """Ends a gate that would compare a program with itself.

    Raises
    ------
    DlbenchError : both versions loaded the same file, or neither has the backend.
    """
    base, new = seen["base"], seen["new"]
    if base.absent and new.absent:
        raise DlbenchError(f"neither {versions['base'].label} nor the new version has {backend}")
    if not (base.loaded and new.loaded):
        return
    if versions["base"].folder is None:
        packages = base.loaded["packages"], new.loaded["packages"]
        shared = packages[0].keys() & packages[1].keys()
        if all(packages[0][name] == packages[1][name] for name in shared):
            raise DlbenchError(
                f"both interpreters load {backend} from the same files, so there is nothing to"
                " compare; give each an environment of its own"
            )
    elif not any(each.is_own(versions[arm]) for arm, each in seen.items()):
        raise DlbenchError(
            f"both versions load {backend} from the same file, {hide_home(new.loaded['adapter'])},"
            " which is none of this repository's, so there is nothing to compare; name a backend of"
            " the repository as --backend module:Class, or have --setup install it"
        )


def differing(
    versions: Mapping[Arm, Version], seen: Mapping[Arm, Seen], changed: Sequence[str] | None
) -> Iterator[str]:
    """What a reader should know about what the two loaded.

    Raises
    ------
    DlbenchError : a file that was changed is loaded as it was.
    """
    base, new = (seen[arm].loaded for arm in ("base", "new"))
    alike = [name for name, digest in new["files"].items() if base["files"].get(name) == digest]
    for name in alike:
        stale = [path for path in changed or () if _same_place(path, name)]
        if len(stale) == 1 and not _alike(versions, stale[0]):
            raise DlbenchError(
                f"{stale[0]} was changed, but both versions load the same contents ({name}): one of"
                " the two was built from the other's files; --setup can build them in another way"
            )
    if new["files"] and new["files"] == base["files"]:
        count = plural(len(new["files"]), "file")
        yield f"both versions loaded the same code ({count} alike)"
    if base["python"] != new["python"]:
        yield f"Python {base['python']} in the base, {new['python']} in the new one"


def _same_place(source: str, loaded: str) -> bool:
    """Whether a source file is what is loaded by that name, when packages may lie in other folders."""
    one, other = Path(source).parts[::-1], Path(loaded).parts[::-1]
    shared = min(len(one), len(other))
    return one[:shared] == other[:shared]


def _alike(versions: Mapping[Arm, Version], path: str) -> bool:
    """Whether a file is the same in both checkouts, or not in both."""
    files = [version.file(Path(path)) for version in versions.values()]
    contents = [file.read_bytes() for file in files if file is not None and file.is_file()]
    return len(contents) < 2 or contents[0] == contents[1]
