"""The names under which weights of well-known networks are published, as `torchvision.models` gives its state
dictionaries (https://docs.pytorch.org/vision/stable/models.html), matched with the canonical names of a network.

Both are brought into the order of computation; a file itself has none, since safetensors sorts what it writes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from dlbench.spec.network import Role, walk
from dlbench.spec.workload import Workload

_LEAVES: Mapping[Role, str] = {
    "weight": "weight",
    "bias": "bias",
    "scale": "weight",
    "shift": "bias",
    "running_mean": "running_mean",
    "running_variance": "running_var",
}


def canonical_names(workload: Workload, names: Collection[str]) -> dict[str, str]:
    """What a file with these names calls the arrays of a network, by the canonical names; none where the names are no
    published ones, or those of a network with another number of layers.
    """
    there = {name.rpartition(".")[0] for name in names}
    nodes = [node for node in walk(workload.nodes) if node.parameters]
    for modules in _MODULES:
        if set(modules) == there and len(modules) == len(nodes):
            return {
                parameter.name: f"{module}.{_LEAVES[parameter.role]}"
                for module, node in zip(modules, nodes, strict=True)
                for parameter in node.parameters
            }
    return {}


def _resnet(blocks: Sequence[int], convolutions: int) -> Iterator[str]:
    """A ResNet whose stages have so many blocks, of so many convolutions each. The first block of a stage has a
    projection beside them, of the first stage only where its blocks widen what they read."""
    yield from ("conv1", "bn1")
    for stage, count in enumerate(blocks, 1):
        for block in range(count):
            place = f"layer{stage}.{block}"
            for number in range(1, convolutions + 1):
                yield from (f"{place}.conv{number}", f"{place}.bn{number}")
            if block == 0 and (stage > 1 or convolutions == 3):
                yield from (f"{place}.downsample.0", f"{place}.downsample.1")
    yield "fc"


def _sequential(features: Sequence[int], classifier: Sequence[int]) -> Iterator[str]:
    """Two lists of layers, of which these have weights."""
    yield from (f"features.{number}" for number in features)
    yield from (f"classifier.{number}" for number in classifier)


def _mobilenet_v2() -> Iterator[str]:
    """Seventeen blocks, of which the first does not widen what it reads."""
    yield from ("features.0.0", "features.0.1")
    for block in range(1, 18):
        inner = ("0.0", "0.1", "1", "2") if block == 1 else ("0.0", "0.1", "1.0", "1.1", "2", "3")
        yield from (f"features.{block}.conv.{each}" for each in inner)
    yield from ("features.18.0", "features.18.1", "classifier.1")


def _efficientnet_b0() -> Iterator[str]:
    """Seven stages of so many blocks, of which the first stage's does not widen what it reads."""
    yield from ("features.0.0", "features.0.1")
    for stage, count in enumerate((1, 2, 2, 3, 3, 4, 1), 1):
        parts = (
            ("1.fc1", "1.fc2", "2.0", "2.1")
            if stage == 1
            else ("1.0", "1.1", "2.fc1", "2.fc2", "3.0", "3.1")
        )
        for block in range(count):
            yield from (f"features.{stage}.{block}.block.{each}" for each in ("0.0", "0.1", *parts))
    yield from ("features.8.0", "features.8.1", "classifier.1")


def _densenet(blocks: Sequence[int]) -> Iterator[str]:
    """Blocks of so many layers, with a transition behind each but the last."""
    yield from ("features.conv0", "features.norm0")
    for number, count in enumerate(blocks, 1):
        for layer in range(1, count + 1):
            place = f"features.denseblock{number}.denselayer{layer}"
            yield from (f"{place}.{each}" for each in ("norm1", "conv1", "norm2", "conv2"))
        if number < len(blocks):
            yield from (f"features.transition{number}.{each}" for each in ("norm", "conv"))
    yield from (f"features.norm{len(blocks) + 1}", "classifier")


_VGG16 = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_MODULES: Sequence[tuple[str, ...]] = tuple(
    map(
        tuple,
        (
            _resnet((2, 2, 2, 2), 2),
            _resnet((3, 4, 6, 3), 2),
            _resnet((3, 4, 6, 3), 3),
            _resnet((3, 4, 23, 3), 3),
            _sequential(_VGG16, (0, 3, 6)),
            _sequential((0, 3, 6, 8, 10), (1, 4, 6)),
            _mobilenet_v2(),
            _efficientnet_b0(),
            _densenet((6, 12, 24, 16)),
        ),
    )
)
"""The layers that have weights of ResNet-18, 34, 50 and 101, VGG-16, AlexNet, MobileNetV2, EfficientNet-B0 and
DenseNet-121."""
