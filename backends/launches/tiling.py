"""How a matrix product is carried out, which its device decides: nothing but speed depends on it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol


@dataclasses.dataclass(frozen=True)
class Product:
    """A matrix product of rows × columns whose sums have `depth` terms.

    Attributes
    ----------
    name : ``forward``, ``input_gradient`` or ``weight_gradient``, of a convolution.
    rows, columns, depth : its size.
    precision : the arithmetic, of `dlbench.spec.precision.POLICIES`.
    launches_to_share : how many more launches it takes when the sums are shared out, to add up the parts.
    """

    name: str
    rows: int
    columns: int
    depth: int
    precision: str
    launches_to_share: int


class Tile(Protocol):
    """What a block makes of a product."""

    @property
    def threads(self) -> int:
        """Threads of a block."""

    @property
    def defines(self) -> Mapping[str, int]:
        """The constants of the kernels that are the tile's."""


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How a product is carried out: `grid` blocks of a tile, of which `shares` make the same results together, each of
    `per_share` terms."""

    tile: Tile
    grid: tuple[int, int, int]
    shares: int
    per_share: int
