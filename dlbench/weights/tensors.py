"""Weights in files of safetensors, by the canonical names: ``conv1.weight``, ``norm1.running_mean``.

The format is a JSON header and the bare values (https://huggingface.co/docs/safetensors), so that reading a file runs
none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dlbench.errors import UsageError
from dlbench.helpers.refusals import require
from dlbench.paths import write_new
from dlbench.spec.network import Parameter, format_shape
from dlbench.spec.workload import Weights, Workload
from dlbench.text import one_line, plural, shortened
from dlbench.weights.published_names import canonical_names

SUFFIX = ".safetensors"
_KIND = "F32"
_NAMED = 3
"""Of several tensors, how many are told by name."""
REMEDY = "pip install 'dlbench[weights]'"


def read_weights(path: Path, workload: Workload) -> Weights:
    """The weights of a network from a file, which has exactly its tensors in float32, by the canonical names or by
    those of `published_names`.

    Raises
    ------
    UsageError : no such file, or one that does not fit: what is there, and what is needed.
    BackendUnavailable : the package safetensors is not there.
    """
    require("safetensors", "safetensors", REMEDY)
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UsageError(f"{path}: there is no such file")
    try:
        with safe_open(path, "np") as file:
            there = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            shapes = {name: tuple(each.get_shape()) for name, each in there.items()}
            names = canonical_names(workload, shapes)
            _refuse_unlike(path, workload, shapes, names, _saved_of(file.metadata() or {}))
            weights = {}
            for parameter in workload.parameters:
                name = names.get(parameter.name, parameter.name)
                kind = there[name].get_dtype()
                if kind != _KIND:
                    raise UsageError(f"{path}: {shown(name)} is {kind} there, {_KIND} is needed")
                weights[parameter.name] = _finite(path, name, file.get_tensor(name))
    except SafetensorError as error:
        wrong = shortened(one_line(str(error)), 200)
        raise UsageError(f"{path}: damaged, or no file of safetensors ({wrong})") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    return weights


def write_weights(path: Path, weights: Weights, facts: Mapping[str, str]) -> None:
    """Writes weights into a new file, the whole of it or nothing, with `facts` as its metadata.

    Raises
    ------
    UsageError : it is there already, or cannot be written.
    BackendUnavailable : the package safetensors is not there.
    """
    require("safetensors", "safetensors", REMEDY)
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(each, np.float32) for name, each in weights.items()}
    write_new(path, save(arrays, dict(facts)))


def shown(name: str) -> str:
    """A name of a file, which may be anything, as messages have it."""
    return shortened(one_line(name), 100)


def _refuse_unlike(
    path: Path,
    workload: Workload,
    shapes: Mapping[str, tuple[int, ...]],
    names: Mapping[str, str],
    saved_of: str,
) -> None:
    """Refuses a file with other tensors than the network has; `names` are the file's own by canonical ones."""
    wanted = {names.get(each.name, each.name): each for each in workload.parameters}
    found = [
        _other_shape(name, each, shapes[name])
        for name, each in wanted.items()
        if name in shapes and shapes[name] != each.shape
    ][:1]
    if missing := [name for name in wanted if name not in shapes]:
        found.append(f"{_counted(missing, len(wanted))} missing")
    if surplus := [name for name in shapes if name not in wanted and not _is_count(name)]:
        found.append(f"{_counted(surplus, len(shapes))} in it without a place in the network")
    if found:
        raise UsageError(f"{path}{saved_of} does not fit: {'; '.join(found)}")


def _other_shape(name: str, parameter: Parameter, shape: tuple[int, ...]) -> str:
    alias = "" if name == parameter.name else f" ({parameter.name})"
    has = format_shape(shape) or "a single number"
    return f"{shown(name)}{alias} is {has} there, {format_shape(parameter.shape)} is needed"


def _counted(names: list[str], whole: int) -> str:
    """``2 of 8 tensors (a, b)``, with ``is`` or ``are`` behind it."""
    some = ", ".join(map(shown, names[:_NAMED])) + (", …" if len(names) > _NAMED else "")
    verb = "is" if len(names) == 1 else "are"
    return f"{len(names)} of {plural(whole, 'tensor')} ({some}) {verb}"


def _is_count(name: str) -> bool:
    """Whether it is how many batches a normalisation has seen, which nothing here needs."""
    return name.endswith(".num_batches_tracked")


def _saved_of(metadata: Mapping[str, str]) -> str:
    suite = metadata.get("suite")
    return f" (saved of the suite {shown(suite)})" if suite else ""


def _finite(path: Path, name: str, values: Any) -> Any:
    wrong = np.flatnonzero(~np.isfinite(values))
    if wrong.size:
        place = ", ".join(map(str, np.unravel_index(int(wrong[0]), values.shape)))
        raise UsageError(
            f"{path}: {shown(name)}[{place}] is {values.flat[wrong[0]]}; {wrong.size:,} of {values.size:,} values are"
            " no finite numbers"
        )
    return values
