"""Tensors of the HDF5 files that Keras saves weights in, as ``layer/variable``.

Keras 3 writes ``….weights.h5``: a group ``vars`` for each layer, whose attribute is the layer's name, with its
variables numbered. What is published, and was saved before, has a group for each layer with its variables' names in
order, in a file of a whole model inside ``model_weights`` (``keras.src.saving.saving_lib`` and
``keras.src.legacy.saving``). The names of old variables vary, and their order does not: it says which is which in both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_VARIABLES = {
    1: ("kernel",),
    2: ("kernel", "bias"),
    4: ("gamma", "beta", "moving_mean", "moving_variance"),
}
"""A layer's variables by how many it has."""
_NOT_OF_LAYERS = ("optimizer", "optimizer_weights")


def datasets_of_layers(file: Any) -> dict[str, Any]:
    """The datasets of an open file (`h5py.File`) by names like ``conv1_conv/kernel``; none where Keras wrote none.

    Raises
    ------
    ValueError : a dataset whose values lie in other files, or a layer that is there twice.
    """
    found: dict[str, Any] = {}
    for layer, datasets in (*_numbered(file), *_named(file)):
        names = _VARIABLES.get(len(datasets), tuple(map(str, range(len(datasets)))))
        for name, dataset in zip(names, datasets, strict=True):
            if dataset.external or dataset.is_virtual:
                raise ValueError(f"the values of {layer}/{name} lie in another file")
            if f"{layer}/{name}" in found:
                raise ValueError(f"there are two layers {layer}")
            found[f"{layer}/{name}"] = dataset
    return found


def _numbered(file: Any) -> Iterator[tuple[str, list[Any]]]:
    """Layers as Keras 3 writes them."""
    for path, group in _groups(file):
        if path.rpartition("/")[2] == "vars" and len(group) and "name" in group.attrs:
            yield _text(group.attrs["name"]), [_dataset(group, str(i)) for i in range(len(group))]


def _named(file: Any) -> Iterator[tuple[str, list[Any]]]:
    """Layers as Keras wrote them before."""
    for path, group in _groups(file):
        if len(names := group.attrs.get("weight_names", ())):
            yield path.removeprefix("model_weights/"), [_dataset(group, _text(n)) for n in names]


def _groups(file: Any) -> Iterator[tuple[str, Any]]:
    """Each group with its path; links that lead elsewhere, into other files too, are not followed."""
    import h5py

    paths: list[str] = []
    file.visit(paths.append)
    for path in paths:
        if path.partition("/")[0] in _NOT_OF_LAYERS or path.endswith("/seed_generator/vars"):
            continue
        if isinstance(group := file[path], h5py.Group):
            yield path, group


def _dataset(group: Any, name: str) -> Any:
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"{group.name}/{name} is a link")
    if not isinstance(found := group[name], h5py.Dataset):
        raise ValueError(f"{group.name}/{name} is no array")
    return found


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
