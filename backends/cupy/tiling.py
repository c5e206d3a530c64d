"""Which tile of a matrix product a block makes, and among how many blocks its sum is shared out.

A choice is made once a product, from a model of the time it takes; the model decides nothing but
speed. It knows three things: elements of a tile outside the matrix cost as much as those inside, a
multiprocessor needs several warps to keep its units busy, and a step of a block takes some time however
little there is to do, which is why a long sum for a small result must be shared out.
"""

from __future__ import annotations

import dataclasses
import functools

from ..launches.tiling import Tiling

_FLOPS_PER_S = {"fp32": 500e9, "tf32": 2500e9}
"""Of one multiprocessor of an H100 or H200 in dense products; tf32 far below its peak, which needs
asynchronous copies."""
_STEP_S = 0.4e-6
"""From loads to the products that need them, where no other warp has anything to do."""
_HIDDEN_BADLY = 0.2
_BUSY_WARPS = 8
_RESIDENT_WARPS = 16
_LAUNCH_S = 2.5e-6
_BYTES_PER_S = 2e12
_PART_S = 0.06e-6
"""A thread adds up the parts of an element one after the other."""
_SHARES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128)


@dataclasses.dataclass(frozen=True)
class Tile:
    """Constants of gemm.cu, but for `threads`, which every launch gives.

    Attributes
    ----------
    rows, columns, depth : BM, BN, BK.
    unit_rows, unit_columns : what a thread makes (fp32: TM, TN) or a warp (tf32: WM, WN).
    groups : GROUPS, threads that share out each step's terms of one result.
    efficiency : share of the arithmetic that its loads from shared memory leave, roughly.
    """

    rows: int
    columns: int
    depth: int
    unit_rows: int
    unit_columns: int
    efficiency: float
    tensor_cores: bool = False
    groups: int = 1

    @property
    def threads(self) -> int:
        """Threads of a block."""
        units = self.rows // self.unit_rows * (self.columns // self.unit_columns)
        return units * (32 if self.tensor_cores else self.groups)

    @property
    def defines(self) -> dict[str, int]:
        """The constants."""
        unit = ("WM", "WN") if self.tensor_cores else ("TM", "TN")
        groups = {} if self.tensor_cores else {"GROUPS": self.groups}
        return groups | {
            "BM": self.rows,
            "BN": self.columns,
            "BK": self.depth,
            unit[0]: self.unit_rows,
            unit[1]: self.unit_columns,
            "TF32": int(self.tensor_cores),
        }


TILES = {
    "fp32": (
        # 8 x 8 a thread: 64 multiply-adds for 4 loads of float4, the most that registers allow.
        Tile(128, 128, 8, 8, 8, 0.8),
        # The same for 64 columns, the channels of most first layers.
        Tile(128, 64, 8, 8, 8, 0.8),
        # Half as many rows, for matrices that would not fill the multiprocessors otherwise.
        Tile(64, 64, 16, 8, 4, 0.7),
        # Few columns: 32 or 16 channels, or the classes.
        Tile(128, 32, 8, 8, 4, 0.7),
        Tile(128, 16, 16, 4, 4, 0.5),
        Tile(64, 32, 16, 4, 4, 0.5),
        # Few rows too: small batches, and the weights of first layers (9 rows for one channel and 3 x 3). Groups
        # make blocks of 256 threads of them.
        Tile(64, 16, 32, 4, 4, 0.35, groups=4),
        Tile(32, 32, 32, 4, 4, 0.35, groups=4),
        Tile(16, 32, 64, 4, 4, 0.3, groups=8),
    ),
    "tf32": (
        # 64 x 32 a warp: 16 products for 24 fragment loads.
        Tile(128, 128, 16, 64, 32, 0.8, True),
        Tile(128, 64, 16, 32, 32, 0.7, True),
        Tile(64, 64, 16, 32, 16, 0.6, True),
        Tile(128, 32, 16, 32, 16, 0.6, True),
        Tile(128, 16, 16, 32, 8, 0.4, True),
        Tile(64, 32, 16, 16, 16, 0.5, True),
        Tile(64, 16, 16, 16, 16, 0.4, True),
        Tile(32, 32, 16, 16, 16, 0.4, True),
    ),
}


@functools.cache
def choose(
    rows: int,
    columns: int,
    depth: int,
    precision: str,
    multiprocessors: int,
    launches_to_share: int,
) -> Tiling:
    """The tiling that the model finds fastest; the same for the same arguments.

    `launches_to_share` is how many more launches it takes when the sum is shared out, to add up the parts.
    """
    best: tuple[float, Tiling] | None = None
    for tile in TILES[precision]:
        for wanted in _SHARES:
            tiling = _tiling(tile, rows, columns, depth, wanted)
            time_s = _time_s(tile, tiling, rows, columns, precision, multiprocessors)
            if tiling.shares > 1:
                time_s += _PART_S * tiling.shares
                time_s += 8 * rows * columns * tiling.shares / _BYTES_PER_S
                time_s += _LAUNCH_S * launches_to_share
            if best is None or time_s < best[0]:
                best = time_s, tiling
    assert best is not None
    return best[1]


def _tiling(tile: Tile, rows: int, columns: int, depth: int, shares: int) -> Tiling:
    steps = -(-depth // tile.depth)
    per_share = -(-steps // shares) * tile.depth
    shares = -(-depth // per_share)
    grid = (-(-rows // tile.rows), -(-columns // tile.columns), shares)
    return Tiling(tile, grid, shares, per_share)


def _time_s(
    tile: Tile, tiling: Tiling, rows: int, columns: int, precision: str, multiprocessors: int
) -> float:
    blocks = tiling.grid[0] * tiling.grid[1] * tiling.grid[2]
    in_turn = -(-blocks // multiprocessors)
    warps = tile.threads // 32
    together = min(in_turn, max(1, _RESIDENT_WARPS // warps))
    busy = min(1.0, together * warps / _BUSY_WARPS)
    flops = 2 * tile.rows * tile.columns * tiling.per_share
    computing_s = in_turn * flops / (_FLOPS_PER_S[precision] * tile.efficiency * busy)
    steps = tiling.per_share // tile.depth + 2
    waiting_s = steps * _STEP_S * -(-in_turn // together)
    # Neither hides all of the other.
    return max(computing_s, waiting_s) + _HIDDEN_BADLY * min(computing_s, waiting_s)
