"""Who may import what, and who may speak: read from the source, so unused branches count too."""

import ast
import sys
from collections.abc import Iterator

import pytest

FRAMEWORKS = {
    "torch": ("torch", "torchvision"),
    "tensorflow": ("tensorflow", "keras"),
    "cupy": ("cupy", "cupyx"),
}
MAPPED = ("dlbench.backends", "dlbench.reports", "dlbench.suites", "backends", "reports", "suites")
SPEAKS = {"print", "exit", "quit", "sys.exit", "click.echo", "click.secho", "SystemExit"}


def within(name, packages):
    """Whether a dotted name is one of the packages or lies in one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def core(modules):
    return [module for module in modules.values() if not within(module.name, MAPPED)]


def test_the_core_never_imports_a_backend_a_suite_or_a_report(modules):
    wrong = {
        module.name: sorted(name for name in module.imports if within(name, MAPPED))
        for module in core(modules)
    }
    assert {} == {name: imports for name, imports in wrong.items() if imports}


def test_mapped_packages_are_never_imported_by_their_folders_names(modules):
    bare = ("backends", "reports", "suites")
    wrong = {
        module.name: sorted(name for name in module.imports if within(name, bare))
        for module in modules.values()
    }
    assert {} == {name: imports for name, imports in wrong.items() if imports}


@pytest.mark.parametrize("backend", FRAMEWORKS)
def test_a_framework_is_imported_in_its_own_adapter_only(modules, backend):
    importers = {
        module.name
        for module in modules.values()
        if any(within(name, FRAMEWORKS[backend]) for name in module.imports)
    }
    assert importers, f"no adapter imports {backend}"
    assert set() == {
        name for name in importers if not name.startswith(f"dlbench.backends.{backend}.")
    }


def test_what_a_worker_imports_of_the_core_needs_numpy_only(modules, worker_side):
    allowed = (*sys.stdlib_module_names, "numpy", *worker_side)
    wrong = {
        name: sorted(
            imported for imported in modules[name].runtime_imports if not within(imported, allowed)
        )
        for name in worker_side
    }
    assert {} == {name: imports for name, imports in wrong.items() if imports}


def test_what_a_worker_imports_stays_clear_of_the_parents_side(worker_side):
    assert "dlbench.worker.entry" in worker_side
    parents = {"record.schema", "execute.runner", "analyse.statistics", "analyse.table"}
    parents |= {"cli.main", "spec.suite", "worker.launch", "host.machine"}
    assert set() == worker_side & {f"dlbench.{name}" for name in parents}


def test_timing_sees_a_session_and_never_an_adapter(modules):
    timing = modules["dlbench.measure.timing"]
    assert not any(within(name, ("dlbench.plugins", *MAPPED)) for name in timing.imports)
    assert "dlbench.contract.Adapter" not in timing.imports


def test_nobody_imports_the_command_line(modules):
    importers = {
        m.name for m in modules.values() if any(within(n, ["dlbench.cli.main"]) for n in m.imports)
    }
    assert set() == importers - {"dlbench.__main__"}


def test_only_the_command_line_prints_and_exits(modules):
    wrong = {
        module.name: sorted(set(spoken(module.tree)))
        for module in modules.values()
        if module.name
        not in {
            "dlbench.cli.main",
            "dlbench.cli.exit_codes",
            "dlbench.cli.output",
        }
    }
    assert {} == {name: calls for name, calls in wrong.items() if calls}


def spoken(tree: ast.Module) -> Iterator[str]:
    """Every call that prints or ends the process, and every SystemExit raised."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in SPEAKS:
            yield ast.unparse(node.func)
        elif isinstance(node, ast.Raise) and node.exc and ast.unparse(node.exc) in SPEAKS:
            yield ast.unparse(node.exc)


def test_no_python_module_is_longer_than_400_lines(root, modules):
    paths = [module.path for module in modules.values()] + sorted((root / "tests").rglob("*.py"))
    lengths = {str(p.relative_to(root)): len(p.read_text("utf-8").splitlines()) for p in paths}
    assert {} == {path: length for path, length in lengths.items() if length > 400}
