"""What the tables of residual sums, concatenations and repeated layers say: the tables of the layers inside."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dlbench.errors import WorkloadError
from dlbench.spec import layers as spec
from dlbench.spec.decode import array, shown, table

Shape = tuple[int, ...]
Block = spec.Residual | spec.Concat | spec.Scale
"""Layers that hold layers, which are frozen with them."""
MOST_REPEATS = 1_000
_DEEPEST_GROUPS = 4


def only(rest: Mapping[str, Any], known: set[str], path: str) -> None:
    for key in rest:
        if key not in known:
            raise WorkloadError(
                f"{path}.{key}", f" is not a known key; known: {', '.join(sorted(known))}"
            )


def check_body(rest: Mapping[str, Any], path: str) -> None:
    if not rest.get("body"):
        raise WorkloadError(f"{path}.body", " is missing or empty; it holds the layers inside")


def read_bodies(rest: Mapping[str, Any], path: str) -> Sequence[Any]:
    """The bodies of a concat, each an array."""
    where = f"{path}.bodies"
    if "body" in rest:
        raise WorkloadError(
            where,
            " and body exclude each other: body is put behind the input, bodies stand side by side"
            " (an empty one, [], is the input)",
        )
    bodies = array(rest["bodies"], where)
    if len(bodies) < 2:
        raise WorkloadError(
            where, f" = {shown(bodies)} needs two bodies or more, each an array of layers"
        )
    for index, body in enumerate(bodies):
        if isinstance(body, Mapping):
            raise WorkloadError(
                f"{where}[{index}]",
                " is a table; each body is an array of layers: [[{…}, {…}], [{…}]]",
            )
    return bodies


def check_freeze(kind: type[spec.Layer], rest: Mapping[str, Any], path: str) -> None:
    """Refuses a `freeze` that is no truth value, or of a layer that has nothing to freeze."""
    if "freeze" not in rest:
        return
    if not issubclass(kind, spec.Freezable | Block):
        raise WorkloadError(
            f"{path}.freeze", f": {spec.WORDS[kind]} has no parameters to freeze; leave it out"
        )
    _truth(rest["freeze"], path)


def _truth(freeze: Any, path: str) -> bool:
    if not isinstance(freeze, bool):
        raise WorkloadError(f"{path}.freeze", f" = {shown(freeze)} must be true or false")
    return freeze


def _freezing(one: Mapping[str, Any]) -> Mapping[str, Any]:
    """A table inside something that is frozen: as it is, unless its layer has parameters and no word of its own."""
    word = one.get("type")
    kind = spec.KINDS.get(word) if isinstance(word, str) else None
    can = kind is not None and issubclass(kind, spec.Freezable | Block)
    return {"freeze": True, **one} if can else one


def repeated(
    given: Any, path: str, depth: int = 0, *, freeze: bool = False
) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The tables that an entry of an array of layers stands for, and where each is defined: a layer, or the `layers`
    of a table without a type, as often as `repeat` says; those with parameters frozen, if `freeze`."""
    one = table(given, path)
    count = one.get("repeat", 1)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_REPEATS:
        raise WorkloadError(f"{path}.repeat", f" = {shown(count)} must be 1 to {MOST_REPEATS}")
    if "layers" not in one or "type" in one:
        rest = {key: value for key, value in one.items() if key != "repeat"}
        yield from itertools.repeat((_freezing(rest) if freeze else rest, path), count)
        return
    where = f"{path}.layers"
    only(one, {"layers", "repeat", "freeze"}, path)
    freeze = _truth(one.get("freeze", freeze), path)
    if depth == _DEEPEST_GROUPS:
        raise WorkloadError(where, f" is nested deeper than {_DEEPEST_GROUPS} levels")
    group = array(one["layers"], where)
    if not group:
        raise WorkloadError(where, " is empty; it holds the layers that are repeated")
    for _ in range(count):
        for index, inner in enumerate(group):
            yield from repeated(inner, f"{where}[{index}]", depth + 1, freeze=freeze)


def shortcut_tables(word: str, shape: Shape, output: Shape, path: str) -> list[dict[str, Any]]:
    """The layers of a shortcut that is named by a word, with its stride taken from the two shapes."""
    if word == "identity":
        return []
    if word not in ("option_a", "projection"):
        raise WorkloadError(
            f"{path}.shortcut",
            f" = {shown(word)} is unknown; identity, option_a, projection, or an array of layers",
        )
    if len(shape) != 3 or len(output) != 3:
        raise WorkloadError(
            f"{path}.shortcut", f" = {word!r} needs channels × height × width on both sides"
        )
    stride = [_stride(a, b) for a, b in zip(shape[1:], output[1:], strict=True)]
    if word == "projection":
        return [
            {
                "type": "conv2d",
                "out_channels": output[0],
                "kernel": 1,
                "stride": stride,
                "bias": False,
            },
            {"type": "batch_norm"},
        ]
    if output[0] < shape[0]:
        raise WorkloadError(
            f"{path}.shortcut", f" = 'option_a' cannot drop channels ({shape[0]} to {output[0]})"
        )
    return [{"type": "option_a", "stride": stride, "extra_channels": output[0] - shape[0]}]


def _stride(size: int, target: int) -> int:
    """The smallest stride that leaves `target` of `size` positions; 1 where none does."""
    stride = -(-size // target)
    return stride if -(-size // stride) == target else 1
