"""Who may import what, and who may speak: read from the source, so unused branches count too."""

import ast
import collections
import sys
from collections.abc import Iterator

import pytest

# From low to high: a room imports those before it only, within functions too.
ROOMS = (
    *("text", "errors", "rng", "paths", "spec", "contract", "members", "helpers", "plugins"),
    *(
        "record",
        "host",
        "telemetry",
        "data",
        "weights",
        "oracle",
        "analyse",
        "verify",
        "measure",
        "profile",
        "worker",
        "environments",
    ),
    *(
        "plan",
        "execute",
        "portability",
        "compare",
        "gate",
        "history",
        "cluster",
        "api",
        "tuning",
        "pruning",
        "cli",
        "__main__",
        "pytest_plugin",
    ),
)
# What breaks the order and is being mended. An entry that no longer holds has to go.
UPWARD: dict[str, set[str]] = {}

MOST_MODULES = 15
FULLER: dict[str, str] = {}
# Why modules of these rooms have one name. In backends and reports every folder has the same parts:
# the oracle, the adapters and the specification each have the network's, a family of reports the formats.
PARTS = ("dlbench.backends", "dlbench.reports", "dlbench.oracle", "dlbench.spec")
NAMESAKES = {
    "cold_start": "what is analysed, and the section of the report that shows it",
    "conformance": "the command, and what it runs",
    "device": "where telemetry finds a device, and what the CuPy adapter knows of its own",
    "doctor": "the command, and what it tells of telemetry",
    "integers": "the oracle's, and the check that holds a backend against it",
    "merge": "the command, and what makes one record of several",
    "percentiles": "what is analysed, and the chart that shows it",
    "probe": "asking what a backend is, and the job that answers",
    "progress": "what a run tells, in words, and how the command line shows it",
    "processes": "those on a GPU, and those that the NumPy adapter computes in",
    "profile": "the command, and the job that times a ladder",
    "request": "what a run is asked for, and a gate",
    "results": "how a worker ended, as lines, and what a run came to, as an object",
    "schema": "the lines of a record, and those of a gate's record",
    "session": "a gate from begin to end, and the CuPy adapter's session",
    "training": "how a network is specified to be trained, and the job that trains it",
    "verdicts": "of a comparison, and of a gate",
    "windows": "of time that telemetry is cut into, and of an image that a convolution reads",
}

FRAMEWORKS = {
    "torch": ("torch", "torchvision"),
    "tensorflow": ("tensorflow",),
    "keras": ("keras",),
    "cupy": ("cupy", "cupyx"),
    "onnxruntime": ("onnxruntime",),
    "openvino": ("openvino",),
    "jax": ("jax", "jaxlib"),
    "opencl": ("pyopencl",),
    "mxnet": ("mxnet",),
}
# what a helper brings where it is called, and says to be missing where it is
ON_REQUEST = {
    "dlbench.helpers.onnx_graph": ("onnx",),
    "dlbench.data.formats.image_folder": ("PIL.Image", "PIL.ImageOps"),
}
# what makes suites of one framework's networks, or knows how it names weights, is named after it
NAMED_AFTER = ("dlbench.cli.frameworks.import_torch", "dlbench.weights.keras_names")
# what `dlbench new-backend` writes begins with a framework too
STARTS = "dlbench.backends.starts."
# what Keras computes with
ENGINES = "dlbench.backends.keras.engines"
MAPPED = ("dlbench.backends", "dlbench.reports", "dlbench.suites", "backends", "reports", "suites")
SPEAKS = {"print", "exit", "quit", "sys.exit", "click.echo", "click.secho", "SystemExit"}


def within(name, packages):
    """Whether a dotted name is one of the packages or lies in one."""
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def core(modules):
    return [module for module in modules.values() if not within(module.name, MAPPED)]


def room(name):
    """What a module of the core is or lies in: ``plan`` for ``dlbench.plan.cases``."""
    return name.split(".")[1]


def between_rooms(modules):
    """Each import of the core from one room in another: importer, imported."""
    for module in core(modules):
        if module.name == "dlbench":
            continue
        for name in sorted((module.imports & modules.keys()) - {"dlbench"}):
            if room(module.name) != room(name):
                yield module.name, name


def test_every_module_of_the_core_lies_in_a_room_whose_place_is_known(modules):
    found = {m.name for m in core(modules)} - {"dlbench"}
    assert set() == {name for name in found if room(name) not in ROOMS}


def test_a_room_imports_only_the_rooms_below_it(modules):
    upward = collections.defaultdict(set)
    for importer, imported in between_rooms(modules):
        below = ROOMS[: ROOMS.index(room(importer))]
        if room(imported) not in below and not within(imported, MAPPED):
            upward[importer].add(imported)
    assert dict(upward) == UPWARD


def test_what_adapters_and_reports_import_of_the_core_is_known(modules):
    """An adapter sees the contract and the specification, a report what was analysed."""
    allowed = {
        "dlbench.backends": {"text", "errors", "rng", "contract", "spec", "helpers"},
        "dlbench.reports": {"text", "errors", "record", "telemetry", "analyse", "plan", "compare"}
        | {"gate", "history", "contract", "spec", "profile", "tuning"},
    }
    for package, rooms in allowed.items():
        found = {
            room(name)
            for module in modules.values()
            if within(module.name, [package])
            for name in module.imports & modules.keys() - {"dlbench"}
            if not within(name, MAPPED)
        }
        assert set() == found - rooms, package


def test_no_folder_holds_more_modules_than_can_be_looked_over(modules):
    sizes = collections.Counter(
        name.rpartition(".")[0]
        for name, module in modules.items()
        if module.path.name != "__init__.py"
    )
    large = {folder for folder, size in sizes.items() if size > MOST_MODULES}
    assert large == FULLER.keys()


def test_modules_share_a_name_for_a_reason_only(modules):
    named = collections.defaultdict(list)
    for name, module in modules.items():
        if module.path.name != "__init__.py":
            named[name.rpartition(".")[2]].append(name)
    shared = {
        short
        for short, names in named.items()
        if len(names) > 1 and not all(within(name, PARTS) for name in names)
    }
    assert shared == NAMESAKES.keys()


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
    own = (f"dlbench.backends.{backend}.", STARTS, ENGINES, *NAMED_AFTER)
    assert set() == {name for name in importers if not name.startswith(own)}


def test_what_a_worker_imports_of_the_core_needs_numpy_only(modules, worker_side):
    allowed = (*sys.stdlib_module_names, "numpy", *worker_side)
    wrong = {
        name: sorted(
            imported
            for imported in modules[name].runtime_imports
            if not within(imported, (*allowed, *ON_REQUEST.get(name, ())))
        )
        for name in worker_side
    }
    assert {} == {name: imports for name, imports in wrong.items() if imports}


def test_what_a_worker_imports_stays_clear_of_the_parents_side(worker_side):
    # the jobs are imported by name, what they time with by them
    reached = {"worker.entry", "worker.jobs.measure", "measure.timed_steps", "measure.settling"}
    assert {f"dlbench.{name}" for name in reached} <= worker_side
    parents = {"record.schema", "execute.runner", "analyse.statistics", "analyse.table"}
    parents |= {"cli.main", "spec.suite", "worker.launch", "host.machine"}
    assert set() == worker_side & {f"dlbench.{name}" for name in parents}


def test_timing_sees_a_session_and_never_an_adapter(modules):
    timing = modules["dlbench.measure.timed_steps"]
    assert not any(within(name, ("dlbench.plugins", *MAPPED)) for name in timing.imports)
    assert "dlbench.contract.Adapter" not in timing.imports


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


def test_no_framework_is_named_in_the_code_of_the_core(modules):
    """Neither in names nor in texts; docstrings may give one as an example."""
    words = {word for words in FRAMEWORKS.values() for word in words}
    named = [
        f"{module.name}:{node.lineno}: {text}"
        for module in core(modules)
        if module.name not in NAMED_AFTER
        for node, text in _written(module.tree)
        if any(word in text.lower() for word in words)
    ]
    assert [] == named


def _written(tree):
    """Every name, attribute and text of a module, but for docstrings."""
    prose = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=text) | ast.Attribute(attr=text) | ast.arg(arg=text):
                yield node, text
            case ast.Constant(value=str(text)) if id(node) not in prose:
                yield node, text
