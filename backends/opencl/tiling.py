"""Which tile of a matrix product a block makes, and among how many blocks its sums are shared out: for the two kinds of
device that the kernels are written for. Nothing but speed depends on it."""

from __future__ import annotations

import dataclasses
import functools

from ..launches.tiling import Product, Tiling

_LANES = 16
_ROWS = 8
"""Rows of a tile of registers on a processor: with two vectors, 16 sums and room for their factors."""
_CACHE_FLOATS = 2**16
"""Of the weight: what stays in the second cache of a processor while rows pass by."""
_PIECE = 512
"""Pixels of a share of a weight's gradient, at the least."""
_BLOCKS_PER_UNIT = 4
"""So that none waits long for the last one."""

_STEP_FLOPS = 2**17
"""What a step of a GPU's block costs besides its products."""
_RESIDENT = 2
"""Blocks that a GPU's unit has under way."""
_SHARES = (1, 2, 4, 8, 16, 32, 64)


@dataclasses.dataclass(frozen=True)
class Tile:
    """Constants of gemm.cl, but for `threads`, which every launch gives.

    Attributes
    ----------
    rows, columns, depth : BM, BN, BK; a processor's tiles have no depth.
    unit_rows, unit_columns : TM, TN: what a thread makes, in columns (GPU) or in vectors of columns (processor).
    efficiency : of a GPU, the share of the arithmetic that its loads from local memory leave, roughly.
    """

    rows: int
    columns: int
    depth: int
    unit_rows: int
    unit_columns: int
    efficiency: float = 1.0

    @property
    def threads(self) -> int:
        """Threads of a block."""
        if not self.depth:
            return 1
        return self.rows // self.unit_rows * (self.columns // self.unit_columns)

    @property
    def defines(self) -> dict[str, int]:
        """The constants."""
        return {
            "BM": self.rows,
            "BN": self.columns,
            "BK": self.depth,
            "TM": self.unit_rows,
            "TN": self.unit_columns,
        }


TILES = (
    # 8 × 8 a thread: 64 multiply-adds for 4 loads of float4, the most that registers allow
    Tile(128, 128, 8, 8, 8, 0.8),
    Tile(128, 64, 8, 8, 8, 0.8),
    Tile(64, 64, 16, 8, 4, 0.7),
    # few columns: 32 or 16 channels, or the classes
    Tile(128, 32, 8, 8, 4, 0.7),
    Tile(128, 16, 16, 4, 4, 0.5),
    Tile(64, 32, 16, 4, 4, 0.5),
    # few rows too: small batches, and the weights of first layers
    Tile(32, 32, 32, 4, 4, 0.35),
)
"""Of GPUs."""


@functools.cache
def on_processor(product: Product, units: int) -> Tiling:
    """The tiling for so many cores."""
    if product.name == "weight_gradient":
        return _weight_gradient(product, units)
    # four channels of an input at a time, or two vectors of an output's
    is_forward = product.name == "forward"
    vectors = 2 if product.columns > _LANES else 1
    unit_rows, unit_columns = (_ROWS, _LANES * vectors) if is_forward else (4, 4)
    # a part of the weight that stays in the cache, and all rows past it
    shares = -(-product.depth // max(_CACHE_FLOATS // 32, 1)) if is_forward else 1
    per_share = -(-product.depth // shares)
    columns = _multiple(min(product.columns, max(_CACHE_FLOATS // per_share, 1)), unit_columns)
    column_blocks = -(-product.columns // columns)
    wanted = -(-_BLOCKS_PER_UNIT * units // (column_blocks * shares))
    rows = _multiple(min(-(-product.rows // wanted), 64), unit_rows)
    tile = Tile(rows, columns, 0, unit_rows, vectors if is_forward else 4)
    return _tiling(tile, product, per_share)


def _weight_gradient(product: Product, units: int) -> Tiling:
    """Pixels are shared out where there are many and the weight is small, else the rows of the weight."""
    wanted = _BLOCKS_PER_UNIT * units
    shares = max(1, min(product.depth // _PIECE, wanted))
    if product.rows * product.columns > 4 * _CACHE_FLOATS:
        shares = 1
    rows = _multiple(-(-product.rows // max(1, wanted // shares)), _ROWS)
    vectors = 2 if product.columns > _LANES else 1
    columns = _multiple(product.columns, _LANES * vectors)
    return _tiling(Tile(rows, columns, 0, _ROWS, vectors), product, -(-product.depth // shares))


@functools.cache
def on_gpu(product: Product, units: int) -> Tiling:
    """The tiling that a model of the time finds fastest: what lies outside the matrix costs as much as what lies
    inside, every unit needs blocks, and a step of a block takes some time however little there is to do."""
    best: tuple[float, Tiling] | None = None
    for tile in TILES:
        for wanted in _SHARES:
            steps = -(-product.depth // tile.depth)
            tiling = _tiling(tile, product, -(-steps // wanted) * tile.depth)
            blocks = tiling.grid[0] * tiling.grid[1] * tiling.shares
            in_turn = -(-blocks // (units * _RESIDENT))
            flops = 2 * tile.rows * tile.columns * tiling.per_share / tile.efficiency
            cost = in_turn * (flops + tiling.per_share // tile.depth * _STEP_FLOPS)
            if tiling.shares > 1:
                cost += 8 * product.rows * product.columns * tiling.shares / units
                cost += product.launches_to_share * 16 * _STEP_FLOPS
            if best is None or cost < best[0]:
                best = cost, tiling
    assert best is not None
    return best[1]


def _tiling(tile: Tile, product: Product, per_share: int) -> Tiling:
    shares = -(-product.depth // per_share)
    grid = (-(-product.rows // tile.rows), -(-product.columns // tile.columns), shares)
    return Tiling(tile, grid, shares, per_share)


def _multiple(count: int, of: int) -> int:
    return -(-count // of) * of
