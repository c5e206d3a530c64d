"""How many windows of a convolution or pool an image has, and where they reach; sizes are (height, width)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dlbench.errors import WorkloadError
from dlbench.spec.decode import Padding, Pair, decode
from dlbench.spec.layers import AvgPool, Conv2d, Edges, MaxPool

Windowed = Conv2d | MaxPool | AvgPool


def count(layer: Windowed, shape: tuple[int, ...], path: str) -> Pair:
    """The windows along height and width of an image C×H×W.

    Raises
    ------
    WorkloadError : there is none, or the padding of a pool is so large that one could miss the image.
    """
    if not isinstance(layer, Conv2d):
        _check_pool(layer, path)
    size, counts = shape[1:], []
    for axis in range(2):
        step, span, (before, after) = layer.step[axis], layer.span[axis], layer.edges[axis]
        ceils = not isinstance(layer, Conv2d) and layer.ceil_mode
        room = size[axis] + before + after - span + (step - 1 if ceils else 0)
        if room < 0:
            raise WorkloadError(f"{path}.kernel", _too_large(layer, shape, axis, room))
        windows = room // step + 1
        if ceils and (windows - 1) * step >= size[axis] + before:
            windows -= 1
        counts.append(windows)
    return counts[0], counts[1]


def reach(layer: Windowed, size: Pair, windows: Pair) -> Edges:
    """What has to lie around an image for `windows` of the layer, without any padding or ceil mode of their own, to be
    those that it has.

    It is the layer's padding, less what no window reaches behind the image, and more where ceil mode reaches beyond.
    """
    rows, columns = (
        (before, max((count - 1) * step + span - before - length, 0))
        for (before, _), count, step, span, length in zip(
            layer.edges, windows, layer.step, layer.span, size, strict=True
        )
    )
    return rows, columns


def divisors(layer: AvgPool, size: Pair, windows: Pair) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """How many places count in a mean, for each row of windows and each column: a window's divisor is the product."""
    rows, columns = (
        tuple(
            min(start + kernel, length + after) - max(start, -before)
            for start in range(-first, count * step - first, step)
        )
        for (before, after), first, count, step, kernel, length in zip(
            layer.edges if layer.count_include_pad else ((0, 0), (0, 0)),
            layer.before,
            windows,
            layer.step,
            layer.kernel,
            size,
            strict=True,
        )
    )
    return rows, columns


def bins(size: int, count: int) -> tuple[tuple[int, int], ...]:
    """The first of `size` rows that each of `count` adaptive windows has, and the one behind its last."""
    return tuple((i * size // count, -(-(i + 1) * size // count)) for i in range(count))


def refuse_word(kind: type[Windowed], given: Mapping[str, Any], size: Pair, path: str) -> None:
    """Refuses a padding that is a word of the frameworks.

    Raises
    ------
    WorkloadError : with the numbers that the word stands for, or what else is wrong with the layer.
    """
    word = given.get("padding")
    if not isinstance(word, str) or word.lower() not in ("same", "valid"):
        return
    where, said = f"{path}.padding", f" = {word!r} has to be numbers: "
    if word.lower() == "valid":
        raise WorkloadError(where, f"{said}it is 0, which is the default")
    layer = decode(kind, {k: v for k, v in given.items() if k != "padding"}, path)
    sides = tuple(
        (total // 2, total - total // 2)
        for length, step, span in zip(size, layer.step, layer.span, strict=True)
        for total in (max((-(-length // step) - 1) * step + span - length, 0),)
    )
    numbers = f"padding = {written((sides[0], sides[1]))}"
    windows = f"kernel {written(layer.kernel)}"
    if layer.span != layer.kernel and isinstance(layer, Conv2d):
        windows += f", dilation {written(layer.dilation)}"
    image = f"{size[0]} × {size[1]}"
    if layer.step == (1, 1):
        raise WorkloadError(
            where, f"{said}for {windows} and stride 1, {numbers} keeps its input's {image}"
        )
    half = layer.span[0] // 2, layer.span[1] // 2
    raise WorkloadError(
        where,
        f"{said}for {windows} and stride {written(layer.step)} on {image}, frameworks that have it with a stride"
        f" mean {numbers}; networks for those that have not have padding = {written(half)}",
    )


def written(sizes: Padding) -> str:
    """A pair or a padding as people write it: one number where all are alike, both where two sides are."""
    rows, columns = ((each, each) if isinstance(each, int) else each for each in sizes)
    if rows[0] == rows[1] and columns[0] == columns[1]:
        return str(rows[0] if rows == columns else [rows[0], columns[0]])
    return str([list(rows), list(columns)])


def _check_pool(layer: MaxPool | AvgPool, path: str) -> None:
    for kernel, (before, after) in zip(layer.kernel, layer.edges, strict=True):
        if before + after <= kernel and max(before, after) < kernel:
            continue
        kernels = list(layer.kernel)
        if layer.even_padding:
            message = f" = {list(layer.even_padding)} must be at most half of the kernel {kernels}"
        else:
            message = (
                f" = {written(layer.padding)}: the two sides of an axis must be at most the kernel {kernels} together,"
                " and each less than it"
            )
        raise WorkloadError(f"{path}.padding", message)


def _too_large(layer: Windowed, shape: tuple[int, ...], axis: int, room: int) -> str:
    """What to say of a kernel that is `-room` too large for its input."""
    before, after = layer.edges[axis]
    dilation = layer.dilation[axis] if isinstance(layer, Conv2d) else 1
    dilated = f", dilation {dilation}" if dilation > 1 else ""
    most = (layer.span[axis] + room - 1) // dilation + 1
    padding, least = f"padding {before}", f", or padding ≥ {before + -(room // 2)}"
    if before != after:
        padding, least = f"padding {[before, after]}", f", or {-room} more padding"
    return (
        f" = {written(layer.kernel)} does not fit its input ({' × '.join(map(str, shape))}, {padding}{dilated});"
        f" at most {most}{least}"
    )
