"""The oracle's results for a workload, computed once and kept on disk under the workload's hash.

The key also covers the oracle's own source, so no result outlives the code that it came from.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dlbench.oracle.cache import load_arrays, place, save_arrays, source_hash
from dlbench.spec.workload import Workload
from dlbench.verify.expected.evaluation_points import (
    UNIT_INPUTS,
    InputRange,
    Point,
    draw_point,
    drawn_parameter,
    is_as_drawn,
    small_batch,
)
from dlbench.verify.expected.tolerance import Expectation, expect
from dlbench.verify.extent import FULL, Extent

FACTORS = (1.0, 2.0**10, 2.0**8, 1.0, 2.0**10)
"""What multiplies the learning rate in the five steps. The large ones lift the update above the weights'
own rounding, so that a forgotten term of the optimizer cannot hide in it; that they differ tells v ← μ·v + g
from a v that contains the learning rate."""

Part = Literal["steps", "timed"]
"""What can be computed by itself: the five steps, or the step at the timed batch."""


@dataclasses.dataclass(frozen=True)
class Stop:
    """A point of comparison and what is to be expected there."""

    point: Point
    factor: float
    expected: Mapping[str, Expectation]


@dataclasses.dataclass(frozen=True)
class Reference:
    """All that a backend is held against: `small` in five steps of one optimizer, or as many as the extent has, `timed`
    in one step at the timed batch."""

    small: tuple[Stop, ...]
    timed: Stop

    @property
    def ambiguous_branches(self) -> int:
        """Branches within rounding of the other way, over all points."""
        return sum(stop.point.ambiguous for stop in (*self.small, self.timed))


def prepare_reference(
    workload: Workload,
    batch: int,
    cache_dir: Path,
    precision: str = "fp32",
    replicas: int = 1,
    extent: Extent = FULL,
    part: Part | None = None,
) -> None:
    """Makes sure that the oracle's results for `workload` at `batch`, or a part of them, are in the cache."""
    if part != "timed":
        _load_small(workload, None, cache_dir, precision, extent)
    if part != "steps":
        _load_timed(workload, batch, cache_dir, precision, replicas, extent)


def load_reference(
    workload: Workload,
    batch: int,
    cache_dir: Path,
    precision: str = "fp32",
    small: int | None = None,
    replicas: int = 1,
    extent: Extent = FULL,
) -> Reference:
    """The oracle's results (of the workload without dropout), from the cache or computed now; the five steps are of
    batches of `small` samples, by default of what the extent says, or `evaluation_points.small_batch`. Of several
    `replicas` each has the samples of the five steps, and its part of the timed batch.

    A cache file that cannot be read is computed again.
    """
    return Reference(
        small=_load_small(workload, small, cache_dir, precision, extent),
        timed=_load_timed(workload, batch, cache_dir, precision, replicas, extent),
    )


def _load_small(
    workload: Workload, small: int | None, cache_dir: Path, precision: str, extent: Extent
) -> tuple[Stop, ...]:
    stepped, factors = extent.small(workload.without_dropout()), FACTORS[: extent.steps]
    batch = small or extent.batch or small_batch(stepped)
    return _stops(stepped, batch, factors, cache_dir, precision, extent=extent)


def _load_timed(
    workload: Workload, batch: int, cache_dir: Path, precision: str, replicas: int, extent: Extent
) -> Stop:
    (stop,) = _stops(
        *(workload.without_dropout(), batch, (1.0,), cache_dir, precision),
        replicas=replicas,
        extent=extent,
    )
    return stop


def load_steps(
    workload: Workload, batch: int, inputs: InputRange, cache_dir: Path, precision: str = "fp32"
) -> tuple[Stop, ...]:
    """The five steps alone, on inputs of a given range (what a probe is held against)."""
    return _stops(workload, batch, FACTORS, cache_dir, precision, inputs)


def _stops(
    workload: Workload,
    batch: int,
    factors: tuple[float, ...],
    cache_dir: Path,
    precision: str,
    inputs: InputRange = UNIT_INPUTS,
    replicas: int = 1,
    extent: Extent = FULL,
) -> tuple[Stop, ...]:
    settings = (workload.digest, batch, factors, precision, inputs, replicas, extent)
    path = place(cache_dir, source_hash(), repr(settings).encode())
    kept = load_arrays(path)
    if kept is not None:
        with contextlib.suppress(KeyError):
            return _unpack(workload, replicas, factors, kept)
    stops = _compute(workload, batch, factors, precision, inputs, replicas, extent)
    save_arrays(path, _pack(workload, stops))
    return stops


def _compute(
    workload: Workload,
    batch: int,
    factors: tuple[float, ...],
    precision: str,
    inputs: InputRange,
    replicas: int,
    extent: Extent,
) -> tuple[Stop, ...]:
    points = [
        draw_point(workload, batch, _label(i), precision, inputs, replicas, extent)
        for i in range(len(factors))
    ]
    found = expect(workload, points, factors, precision)
    return tuple(
        Stop(point, factor, expected)
        for point, factor, expected in zip(points, factors, found, strict=True)
    )


def _label(number: int) -> str:
    return f"step {number}"


_FIELDS = ("value", "tolerance", "scale")


def _pack(workload: Workload, stops: tuple[Stop, ...]) -> dict[str, npt.NDArray[Any]]:
    """What has to be kept: weights that are as they were drawn are drawn again."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for i, stop in enumerate(stops):
        point = stop.point
        arrays |= {
            f"{i}|inputs": point.inputs,
            f"{i}|targets": point.targets,
            f"{i}|order": point.order,
        }
        arrays[f"{i}|ambiguous"] = np.asarray(point.ambiguous)
        moved = [p.name for p in workload.parameters if not is_as_drawn(p)]
        arrays |= {f"{i}|weights|{name}": point.weights[name] for name in moved}
        for name, expectation in stop.expected.items():
            for field in _FIELDS:
                arrays[f"{i}|expected|{name}|{field}"] = np.asarray(getattr(expectation, field))
    return arrays


def _unpack(
    workload: Workload,
    replicas: int,
    factors: tuple[float, ...],
    arrays: dict[str, npt.NDArray[Any]],
) -> tuple[Stop, ...]:
    stops = []
    for i, factor in enumerate(factors):
        start = f"{i}|expected|"
        names = {key.split("|")[2] for key in arrays if key.startswith(start)}
        expected = {
            name: Expectation(
                arrays[f"{start}{name}|value"],
                arrays[f"{start}{name}|tolerance"],
                float(arrays[f"{start}{name}|scale"]),
            )
            for name in sorted(names)
        }
        point = Point(
            weights={
                p.name: drawn_parameter(p, _label(i))
                if is_as_drawn(p)
                else arrays[f"{i}|weights|{p.name}"]
                for p in workload.parameters
            },
            inputs=arrays[f"{i}|inputs"],
            targets=arrays[f"{i}|targets"],
            order=arrays[f"{i}|order"],
            ambiguous=int(arrays[f"{i}|ambiguous"]),
            replicas=replicas,
        )
        stops.append(Stop(point, factor, expected))
    return tuple(stops)
