"""The networks whose weights Keras publishes (https://keras.io/api/applications/): the names of their layers and
variables, matched with the canonical names of a network that computes the same, and how Keras lays their values out.

Keras' ResNet-50 and MobileNetV2 are no networks of torchvision's: they stride, pad and normalise otherwise, and where
their weights have the same shapes, the logits would still be wrong. So a network that is to have such weights is
compared layer by layer with the suite that is Keras' own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.spec.layers import WORDS, Conv2d, Dropout, Flatten
from dlbench.spec.network import Node, Role, Shape, format_shape, walk
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import Workload

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Stored:
    """Where a file has an array of the network's: under which name, in which shape, and what makes ours of it."""

    name: str
    shape: Shape
    arranged: Callable[[Array], Array] = lambda values: values


@dataclasses.dataclass(frozen=True)
class Published:
    """A network of ``keras.applications``.

    Attributes
    ----------
    name : Keras' own.
    suite : the suite that computes what it does in inference.
    layers : the names of those with weights, in the order of the suite's computation.
    multiple : height and width must be multiples of this one: an odd image would be padded otherwise.
    """

    name: str
    suite: str
    layers: Sequence[str]
    multiple: int = 1


def places_in(workload: Workload, names: Collection[str]) -> dict[str, Stored]:
    """Where a file with these names (``layer/variable``) has each array of a network, by the canonical names; none
    where the names are not Keras'.

    Raises
    ------
    ValueError : they are those of a network that computes something else.
    """
    keras = _published(names)
    if keras is None:
        return {}
    if wrong := mismatch(workload, keras):
        raise ValueError(
            f"has the names of Keras' {keras.name}, which computes something else: {wrong}; the suite {keras.suite} is"
            " that network"
        )
    return _stored(workload, keras, names)


def _published(names: Collection[str]) -> Published | None:
    """The network that has more than half of its layers among these, and the most."""
    there = {_renamed(name).rpartition("/")[0] for name in names}
    found = max(PUBLISHED, key=lambda each: len(there.intersection(each.layers)))
    return found if 2 * len(there.intersection(found.layers)) > len(found.layers) else None


def mismatch(workload: Workload, keras: Published) -> str:
    """The first layer that computes something else in inference than Keras' network does; empty where none does."""
    own, theirs = (list(_computing(each)) for each in (workload, load_suite(keras.suite).workload))
    for (node, mine), (_, other) in zip(own, theirs, strict=False):
        if mine != other:
            return f"{node.name} is {_told(mine, other)} here, {_told(other, mine)} there"
    if len(own) != len(theirs):
        return f"it has {len(own)} layers here, {len(theirs)} there"
    wrong = [size for size in workload.input_shape[1:] if size % keras.multiple]
    if wrong:
        return f"of images of {format_shape(workload.input_shape)}, {wrong[0]} is no multiple of {keras.multiple}"
    return ""


def _stored(workload: Workload, keras: Published, names: Collection[str]) -> dict[str, Stored]:
    """Where a file with these names has each array, of a network without `mismatch`."""
    classifier = next((n for n in names if _renamed(n) != n), f"{_CLASSIFIER}/").rpartition("/")[0]
    nodes = [node for node in walk(workload.nodes) if node.parameters or _flattens(node)]
    layers = iter(keras.layers)
    found: dict[str, Stored] = {}
    image: Shape | None = None
    for node in nodes:
        if _flattens(node):
            image = node.input_shape
            continue
        layer = next(layers)
        layer = classifier if layer == _CLASSIFIER else layer
        for parameter in node.parameters:
            name = f"{layer}/{_VARIABLES[parameter.role]}"
            if parameter.role == "weight":
                found[parameter.name] = _of_products(name, parameter.shape, node, image)
                image = None
            else:
                found[parameter.name] = Stored(name, parameter.shape)
    return found


def _of_products(name: str, shape: Shape, node: Node, image: Shape | None) -> Stored:
    """The weights of a convolution or a linear layer, which reads a flattened `image` where there is one: Keras has
    the channels last, and what comes out behind what goes in."""
    if isinstance(node.layer, Conv2d):
        out, depth, height, width = shape
        if node.layer.groups == 1:
            return Stored(name, (height, width, depth, out), lambda v: v.transpose(3, 2, 0, 1))
        groups = node.layer.groups
        return Stored(
            name,
            (height, width, groups, out // groups),
            lambda v: v.transpose(2, 3, 0, 1).reshape(shape),
        )
    if image is None or len(image) == 1:
        return Stored(name, shape[::-1], np.transpose)
    channels, rows, columns = image
    return Stored(
        name,
        shape[::-1],
        lambda v: v.reshape(rows, columns, channels, -1).transpose(3, 2, 0, 1).reshape(shape),
    )


def _flattens(node: Node) -> bool:
    return isinstance(node.layer, Flatten)


def _renamed(name: str) -> str:
    """Keras' present name, where older files have another one."""
    layer, _, variable = name.rpartition("/")
    return f"{_CLASSIFIER}/{variable}" if layer in _FORMER_CLASSIFIERS else name


def _computing(workload: Workload) -> Iterator[tuple[Node, dict[str, Any]]]:
    """Each node that does something in inference, and what decides about that."""
    for node in walk(workload.nodes):
        if not isinstance(node.layer, Dropout):
            does = {"layer": WORDS[type(node.layer)], **dataclasses.asdict(node.layer)}
            does["layers inside"] = [len(list(walk(body))) for body in node.bodies]
            yield node, {key: value for key, value in does.items() if key not in _OF_NO_MATTER}


def _told(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """What is unlike: the kinds of two layers, else what one of a kind says."""
    if one["layer"] != other["layer"]:
        return str(one["layer"])
    key = next(key for key, value in one.items() if value != other[key])
    return f"{one['layer']} with {key} {one[key]}"


def _resnet(blocks: Sequence[int]) -> Iterator[str]:
    """A ResNet whose stages have so many blocks; the first of each has a projection beside it."""
    yield from ("conv1_conv", "conv1_bn")
    for stage, count in enumerate(blocks, 2):
        for block in range(1, count + 1):
            # the projection comes behind the body
            for number in (1, 2, 3, 0) if block == 1 else (1, 2, 3):
                place = f"conv{stage}_block{block}_{number}"
                yield from (f"{place}_conv", f"{place}_bn")
    yield _CLASSIFIER


def _mobilenet_v2() -> Iterator[str]:
    """Seventeen blocks, of which the first does not widen what it reads."""
    yield from ("Conv1", "bn_Conv1")
    for block in range(17):
        place = f"block_{block}" if block else "expanded_conv"
        for part in ("expand", "depthwise", "project") if block else ("depthwise", "project"):
            yield from (f"{place}_{part}", f"{place}_{part}_BN")
    yield from ("Conv_1", "Conv_1_bn", _CLASSIFIER)


_CLASSIFIER = "predictions"
_FORMER_CLASSIFIERS = ("probs", "Logits", "fc1000")
_VARIABLES: Mapping[Role, str] = {
    "weight": "kernel",
    "bias": "bias",
    "scale": "gamma",
    "shift": "beta",
    "running_mean": "moving_mean",
    "running_variance": "moving_variance",
}
_OF_NO_MATTER = frozenset({"freeze", "momentum", "in_features"})
"""What decides nothing in inference, or is told by the shape of the weight."""
_VGG16 = tuple(
    f"block{block}_conv{number}"
    for block, count in enumerate((2, 2, 3, 3, 3), 1)
    for number in range(1, count + 1)
)
PUBLISHED = (
    Published("VGG16", "vgg16", (*_VGG16, "fc1", "fc2", _CLASSIFIER)),
    Published("ResNet50", "resnet50-keras", tuple(_resnet((3, 4, 6, 3)))),
    Published("MobileNetV2", "mobilenet-v2-keras", tuple(_mobilenet_v2()), multiple=32),
)
