"""Weights in files of safetensors, by the canonical names: ``conv1.weight``, ``norm1.running_mean``; and read from
those that torchvision and Keras publish.

The format is a JSON header and the bare values (https://huggingface.co/docs/safetensors), so that reading a file runs
none of it. Of HDF5, in which Keras writes, the same holds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dlbench.errors import UsageError
from dlbench.helpers.refusals import require
from dlbench.paths import write_new
from dlbench.spec.network import Shape, format_shape
from dlbench.spec.workload import Weights, Workload
from dlbench.text import one_line, plural, shortened
from dlbench.weights.hdf5 import SIGNATURE, datasets_of_layers
from dlbench.weights.keras_names import Stored, places_in
from dlbench.weights.published_names import canonical_names

SUFFIX = ".safetensors"
_KIND = "F32"
_NAMED = 3
"""Of several tensors, how many are told by name."""
REMEDY = "pip install 'dlbench[weights]'"


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """What an open file has under a name: its shape, type (``F32``) and, when asked for, values."""

    shape: Shape
    kind: str
    values: Callable[[], Any]


def read_weights(path: Path, workload: Workload) -> Weights:
    """The weights of a network from a file of safetensors, or of HDF5 as Keras writes it, which has exactly its tensors
    in float32, by the canonical names or by those of `published_names` or `keras_names`.

    Raises
    ------
    UsageError : no such file, or one that does not fit: what is there, and what is needed.
    BackendUnavailable : the package that reads the file is not there.
    """
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file")
    with _open(path) as (there, saved_of):
        places = _places(path, workload, there)
        _refuse_unlike(path, places, there, saved_of)
        weights = {}
        for own, place in places.items():
            tensor = there[place.name]
            if tensor.kind != _KIND:
                raise UsageError(
                    f"{path}: {shown(place.name)} is {tensor.kind} there, {_KIND} is needed"
                )
            values = _finite(path, place.name, tensor.values())
            weights[own] = np.ascontiguousarray(place.arranged(values))
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


def _open(path: Path) -> contextlib.AbstractContextManager[tuple[dict[str, _Tensor], str]]:
    """The tensors of a file, which is open inside the ``with`` block, and of which suite it says that it is."""
    try:
        with path.open("rb") as file:
            is_hdf5 = file.read(len(SIGNATURE)) == SIGNATURE
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None
    return _open_hdf5(path) if is_hdf5 else _open_safetensors(path)


@contextlib.contextmanager
def _open_safetensors(path: Path) -> Iterator[tuple[dict[str, _Tensor], str]]:
    require("safetensors", "safetensors", REMEDY)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            there = {}
            for name in file.keys():  # noqa: SIM118
                part = file.get_slice(name)
                values = functools.partial(file.get_tensor, name)
                there[name] = _Tensor(tuple(part.get_shape()), part.get_dtype(), values)
            yield there, _saved_of(file.metadata() or {})
    except SafetensorError as error:
        wrong = shortened(one_line(str(error)), 200)
        raise UsageError(f"{path}: damaged, or no file of safetensors or HDF5 ({wrong})") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from None


@contextlib.contextmanager
def _open_hdf5(path: Path) -> Iterator[tuple[dict[str, _Tensor], str]]:
    h5py = require("h5py", "h5py", REMEDY)
    try:
        with h5py.File(path, "r") as file:
            there = {}
            for name, dataset in datasets_of_layers(file).items():
                kind = _KIND if dataset.dtype == np.float32 else str(dataset.dtype)
                values = functools.partial(dataset.__getitem__, ())
                there[name] = _Tensor(dataset.shape, kind, values)
            if not there:
                raise ValueError("no layer in it has a name and variables")
            yield there, ""
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        wrong = shortened(one_line(str(error)), 200)
        raise UsageError(
            f"{path}: damaged, or HDF5 without the weights of layers ({wrong})"
        ) from None


def _places(path: Path, workload: Workload, there: Mapping[str, _Tensor]) -> dict[str, Stored]:
    """Where a file has each array of a network, by the canonical names."""
    try:
        if found := places_in(workload, there):
            return found
    except ValueError as error:
        raise UsageError(f"{path} {error}") from None
    names = canonical_names(workload, there)
    return {
        each.name: Stored(names.get(each.name, each.name), each.shape)
        for each in workload.parameters
    }


def _refuse_unlike(
    path: Path, places: Mapping[str, Stored], there: Mapping[str, _Tensor], saved_of: str
) -> None:
    """Refuses a file with other tensors than the network has, whose `places` are by the canonical names."""
    found = [
        _other_shape(own, place, there[place.name].shape)
        for own, place in places.items()
        if place.name in there and there[place.name].shape != place.shape
    ][:1]
    wanted = [place.name for place in places.values()]
    if missing := [name for name in wanted if name not in there]:
        found.append(f"{_counted(missing, len(wanted))} missing")
    if surplus := [name for name in there if name not in {*wanted} and not _is_count(name)]:
        found.append(f"{_counted(surplus, len(there))} in it without a place in the network")
    if found:
        raise UsageError(f"{path}{saved_of} does not fit: {'; '.join(found)}")


def _other_shape(own: str, place: Stored, shape: Shape) -> str:
    alias = "" if place.name == own else f" ({own})"
    has = format_shape(shape) or "a single number"
    return f"{shown(place.name)}{alias} is {has} there, {format_shape(place.shape)} is needed"


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
