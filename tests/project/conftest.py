"""The project's own files, as its tests look at them."""

import ast
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# where a folder of the checkout is installed
INSTALLED_AS = {
    "dlbench": "dlbench",
    "backends": "dlbench.backends",
    "reports": "dlbench.reports",
    "suites": "dlbench.suites",
}


@dataclasses.dataclass(frozen=True)
class Module:
    """One Python file of the distribution.

    Attributes
    ----------
    name : as installed, ``dlbench.spec.layers``.
    path : the file in the checkout.
    imports : absolute names of everything it imports anywhere in the file; ``from a import b``
        gives both ``a`` and ``a.b``, ``import_module("a")`` gives ``a``.
    runtime_imports : the same without what stands under ``if TYPE_CHECKING``.
    """

    name: str
    path: Path
    tree: ast.Module
    imports: frozenset[str]
    runtime_imports: frozenset[str]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def modules() -> Mapping[str, Module]:
    """Every module of the distribution by its installed name."""
    found = {}
    for folder, package in INSTALLED_AS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join([package, *(parts[:-1] if is_package else parts)])
            tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
            here = name if is_package else name.rpartition(".")[0]
            found[name] = Module(
                name,
                path,
                tree,
                frozenset(_imported(tree, here, typing_too=True)),
                frozenset(_imported(tree, here, typing_too=False)),
            )
    return found


@pytest.fixture(scope="session")
def worker_side(modules: Mapping[str, Module]) -> frozenset[str]:
    """What a worker may import of the core: stated modules, what adapters use, their imports."""
    stated = {
        name
        for name in modules
        if name
        in {
            "dlbench.contract",
            "dlbench.errors",
            "dlbench.worker.protocol",
        }
        or name in {"dlbench.worker.entry", "dlbench.data.order", "dlbench.rng"}
        or name.startswith(("dlbench.oracle", "dlbench.verify", "dlbench.worker.jobs"))
        or (name.startswith("dlbench.spec") and name != "dlbench.spec.suite")
    }
    for module in modules.values():
        if module.name.startswith("dlbench.backends"):
            stated |= {name for name in module.runtime_imports if name in modules}
    reached: set[str] = set()
    waiting = {name for name in stated if not name.startswith("dlbench.backends")}
    while waiting:
        name = waiting.pop()
        reached.add(name)
        parents = {name.rsplit(".", depth)[0] for depth in range(1, name.count(".") + 1)}
        waiting |= (set(modules[name].runtime_imports) | parents) & modules.keys() - reached
    return frozenset(reached)


def _imported(tree: ast.Module, package: str, *, typing_too: bool) -> Iterator[str]:
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
                base = f"{above}.{base}" if base else above
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif (literal := _imported_by_call(node)) is not None:
            yield literal
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.body if typing_too else [])
            waiting.extend(node.orelse)
        else:
            waiting.extend(ast.iter_child_nodes(node))


def _imported_by_call(node: ast.AST) -> str | None:
    """The name that `importlib.import_module` or the adapters' `require` is called with, if it is written out."""
    match node:
        case ast.Call(
            func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(name))]
        ):
            return name
        case ast.Call(func=ast.Name(id="require"), args=[ast.Constant(value=str(name)), *_]):
            return name
    return None
