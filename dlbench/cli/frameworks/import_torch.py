"""`dlbench import-torch FILE.py:NAME`: a module of PyTorch as a suite file."""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import inspect
import shlex
import sys
import traceback
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import click

from dlbench import plugins
from dlbench.cli import options
from dlbench.cli.exit_codes import tell
from dlbench.cli.output import answer
from dlbench.errors import UsageError
from dlbench.paths import write_new
from dlbench.text import listed, plural

_IMPORTER = "dlbench.backends.torch.exported:import_module"
_LOADED = "dlbench_imported_network"


def _shape(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    sizes = value.replace("x", ",").split(",")
    if len(sizes) not in (1, 3) or not all(size.strip().isdecimal() for size in sizes):
        raise click.BadParameter(f"{value!r} is no shape; like 3,224,224 or 10")
    return tuple(map(int, sizes))


@click.command("import-torch")
@click.argument("source", metavar="FILE.py:NAME")
@click.option(
    "--input",
    "shape",
    required=True,
    callback=_shape,
    metavar="C,H,W",
    help="Shape of a sample: channels, height, width; or features.",
)
@click.option(
    "--output",
    type=options.Place(dir_okay=False),
    metavar="FILE.toml",
    help="File to write; a new one.  [default: stdout]",
)
def import_command(source: str, shape: tuple[int, ...], output: Path | None) -> None:
    """Turn a torch.nn.Module, or what makes one, into a suite file. NAME is called without arguments where it is no
    module yet; MODULE:NAME takes one that is installed."""
    from dlbench.api.importing import suite_from
    from dlbench.helpers.refusals import require

    if output is not None and output.exists():
        raise UsageError(f"{output} is there already; choose another, or move it away")
    require("torch", "PyTorch", "pip install 'dlbench[torch]'")
    name = source.rpartition(":")[2]
    suite, notes = suite_from(
        _IMPORTER,
        _module(source),
        shape,
        output.stem if output is not None and output.suffix.lower() == ".toml" else name,
        f"{name} of {Path(source.rpartition(':')[0]).name}, from PyTorch",
    )
    text = suite.to_toml()
    if output is None:
        answer(text.rstrip("\n"))
    else:
        write_new(output, text.encode())
        answer(str(output))
    workload = suite.workload
    batches = listed([str(batch) for batch in suite.matrix.batches])
    tell(
        f"{plural(workload.parameter_count, 'parameter')}, {workload.forward_flops / 1e6:,.4g} MFLOP a sample in"
        f" inference; training, data and a batch of {batches} are a guess: have a look at them, or change them with"
        " --batch, --data and others of dlbench run"
    )
    for note in notes:
        tell(note)
    if output is not None:
        command = f"dlbench run --suite {shlex.quote(str(output))}"
        tell(f"with random data: {command}")
        if len(shape) == 3 and shape[0] in (1, 3):
            tell(f"your images: {command} --data images --data-dir FOLDER")


def _module(source: str) -> Any:
    """What a word names, called where it has to be.

    Raises
    ------
    UsageError : nothing there, or it goes wrong.
    """
    place, colon, name = source.rpartition(":")
    if not colon or not place or not name.isidentifier():
        raise UsageError(f"{source!r} is not of the form FILE.py:NAME")
    try:
        if place.endswith(".py"):
            found = _named(_loaded(Path(place)), name, Path(place).name)
        else:
            found = plugins.load(source)
        if not isinstance(found, type) and hasattr(found, "state_dict"):
            return found
        _check_without_arguments(found, source)
        return found()
    except UsageError:
        raise
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise UsageError(
            f"{source}: {type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"
        ) from error


def _named(module: ModuleType, name: str, file: str) -> Any:
    """What a file has by that name."""
    if hasattr(module, name):
        return getattr(module, name)
    there = [
        own
        for own, value in vars(module).items()
        if not own.startswith("_")
        and (hasattr(value, "state_dict") or isinstance(value, FunctionType))
        and getattr(value, "__module__", "").startswith((_LOADED, "torch.nn.modules"))
    ]
    near = difflib.get_close_matches(name, there, n=1)
    raise UsageError(
        f"{file} has {', '.join(there) or 'no module'}, and no {name}{f'; did you mean {near[0]}?' if near else ''}"
    )


def _check_without_arguments(found: Any, source: str) -> None:
    """Refuses what cannot be called without arguments, with the function that would give them."""
    if not callable(found):
        kind = type(found).__name__
        raise UsageError(f"{source} is a {kind}: no torch.nn.Module, nor what makes one")
    # what is written in C may have no signature
    with contextlib.suppress(ValueError):
        needed = [
            parameter.name
            for parameter in inspect.signature(found).parameters.values()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
        if needed:
            name = source.rpartition(":")[2]
            given = ", ".join(f"{each}=…" for each in needed)
            raise UsageError(
                f"{source} takes arguments: {', '.join(needed)}; write a function that gives them, "
                f"`def make(): return {name}({given})`, and name that one"
            )


def _loaded(path: Path) -> Any:
    """A file's module. What lies beside it can be imported by it."""
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file")
    sys.path.insert(0, str(path.resolve().parent))
    made = importlib.util.spec_from_file_location(_LOADED, path)
    assert made is not None
    assert made.loader is not None
    module = importlib.util.module_from_spec(made)
    # dataclasses and pickles look for it there
    sys.modules[_LOADED] = module
    made.loader.exec_module(module)
    return module
