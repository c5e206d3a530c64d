"""What oneDNN says that it did in a step, and to which layers that belongs.

PyTorch and TensorFlow compute on x86 by oneDNN, which prints a line for each primitive that it carries out when the
environment variable ``ONEDNN_VERBOSE`` asks for it: which implementation it took, in which formats of memory, and how
long. https://uxlfoundation.github.io/oneDNN/dev_guide_verbose.html describes the lines; the names of their fields stand
in a line of their own, the template, and that is what is read by.
"""

from __future__ import annotations

import collections
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from dlbench.record.facts import Primitive
from dlbench.spec import layers as spec
from dlbench.spec.network import Node, walk
from dlbench.spec.workload import Workload

ENVIRONMENT = {"ONEDNN_VERBOSE": "1", "DNNL_VERBOSE": "1"}
"""What makes oneDNN print; the second is what versions before 2.3 ask for."""
REORDER = "reorder"
_MARKS = ("onednn_verbose", "dnnl_verbose")
_TEMPLATE = "template:"
_FIELDS = (
    *("operation", "engine", "primitive", "implementation", "prop_kind"),
    *("memory_descriptors", "attributes", "auxiliary", "problem_desc", "exec_time"),
)
"""Of a version that prints no template."""
_NUMBER = re.compile(r"([a-z]+)(\d+)")


def read(lines: Iterable[str]) -> tuple[Primitive, ...]:
    """The primitives that lines tell of, those that are alike as one, in the order in which they came first; other
    lines are left out."""
    fields: Sequence[str] = _FIELDS
    found: dict[tuple[str, ...], list[float]] = collections.defaultdict(list)
    for line in lines:
        mark, _, rest = line.strip().partition(",")
        if mark not in _MARKS:
            continue
        # a version of the format, and what kind of thing the line is about, may stand before the operation
        words = rest.split(",")
        while words and (re.fullmatch(r"v\d+", words[0]) or words[0] == "primitive"):
            words = words[1:]
        if len(words) > 1 and words[0] == "info" and words[1].startswith(_TEMPLATE):
            fields = [words[1].removeprefix(_TEMPLATE), *words[2:]]
        elif words and words[0] == "exec" and len(words) == len(fields):
            told = dict(zip(fields, words, strict=True))
            try:
                took_ms = float(told["exec_time"])
            except (KeyError, ValueError):
                continue
            found[tuple(told.get(name, "") for name in _FIELDS[1:-1])].append(took_ms)
    return tuple(_primitive(told, took) for told, took in found.items())


def _primitive(told: tuple[str, ...], took_ms: Sequence[float]) -> Primitive:
    _, kind, implementation, direction, memory, attributes, _, problem = told
    return Primitive(
        kind=kind,
        implementation=implementation or kind,
        direction="" if direction == "undef" else direction,
        formats=" ".join(_formats(memory)),
        fused=" ".join(_fused(attributes)),
        problem=problem,
        calls=len(took_ms),
        total_s=round(sum(took_ms) * 1e-3, 9),
    )


def _formats(memory: str) -> Iterator[str]:
    """``src:f32::blocked:acdb::f0 wei:…`` as ``src:acdb wei:…``: the tag of each tensor that there is."""
    for each in memory.split():
        name, *words = re.split(r"[:_]", each)
        tags = [tag for word, tag in itertools.pairwise(words) if word == "blocked"]
        if tags and tags[0]:
            yield f"{name}:{tags[0]}"


def _fused(attributes: str) -> Iterator[str]:
    for each in attributes.split():
        name, _, what = each.partition(":")
        if name == "attr-post-ops":
            yield from what.split("+")


def of_layers(
    primitives: Sequence[Primitive], workload: Workload, batch: int
) -> Mapping[str, tuple[Primitive, ...]]:
    """The primitives of convolutions and linear layers by the layer whose sizes they have, or where several layers have
    these, by all of their names (``conv2+conv3``). What oneDNN does in between, which has the shape of a tensor alone,
    stands under its kind."""
    names: dict[tuple[int, ...], list[str]] = collections.defaultdict(list)
    for node in walk(workload.nodes):
        if sizes := _sizes_of(node, batch):
            names[sizes].append(node.name)
    found: dict[str, list[Primitive]] = collections.defaultdict(list)
    for primitive in primitives:
        layers = names.get(_sizes(primitive))
        found["+".join(layers) if layers else primitive.kind].append(primitive)
    return {name: tuple(each) for name, each in found.items()}


def _sizes_of(node: Node, batch: int) -> tuple[int, ...]:
    if isinstance(node.layer, spec.Conv2d):
        (inputs, *image), (outputs, *result) = node.input_shape, node.output_shape
        return (batch, inputs, outputs, *image, *result, *node.parameters[0].shape[2:])
    if isinstance(node.layer, spec.Linear):
        return tuple(sorted((batch, *node.input_shape, *node.output_shape)))
    return ()


def _sizes(primitive: Primitive) -> tuple[int, ...]:
    """The sizes of a problem as `_sizes_of` has them; of a product of matrices, which may be transposed, in order."""
    told = {name: int(number) for name, number in _NUMBER.findall(primitive.problem)}
    if primitive.kind == "convolution":
        rows = [
            told.get(name, 0) for name in ("mb", "ic", "oc", "ih", "iw", "oh", "ow", "kh", "kw")
        ]
        return tuple(rows)
    if primitive.kind == "inner_product":
        inputs = told.get("ic", 0) * told.get("ih", 1) * told.get("iw", 1)
        return tuple(sorted((told.get("mb", 0), inputs, told.get("oc", 0))))
    sizes = re.fullmatch(r"(\d+)x(\d+):(\d+)x(\d+)", primitive.problem)
    if sizes is None:
        return ()
    rows_, inner, _, columns = map(int, sizes.groups())
    return tuple(sorted((rows_, inner, columns)))
