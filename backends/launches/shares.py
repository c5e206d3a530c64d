"""Gradients of parameters that no matrix product makes: sums over rows, shared out among blocks."""

from __future__ import annotations

from dlbench.spec.network import Node

from .device import Device
from .layers import together
from .parameters import Block, Parameters, Parts
from .program import Program, Value

_LANES = 16
_THREADS = 64
_BLOCKS_PER_UNIT = 4
_MOST_ROWS = 64
_MOST_SHARES = 64
_MOST_PARTS = 2**22
"""Elements of all parts of a gradient, as far as more than one part is made."""


def threads_of(device: Device) -> int:
    """Of a block: one, where a thread takes as many channels as a processor's vectors have numbers."""
    return 1 if device.lanes == _LANES else _THREADS


def shares_of(rows: int, size: int, blocks: int, device: Device) -> tuple[int, int]:
    """Into how many parts rows are shared out, and how many rows a part has.

    There are enough parts for all of the device, and for what a part reads to stay in a cache.

    Parameters
    ----------
    size : elements of a part.
    blocks : how many blocks of threads make a part.
    """
    wanted = max(_BLOCKS_PER_UNIT * device.multiprocessors // blocks, rows // _MOST_ROWS, 1)
    each = -(-rows // min(wanted, _MOST_SHARES, max(_MOST_PARTS // size, 1)))
    return -(-rows // each), each


def bias_block(parameters: Parameters, node: Node, channels: int) -> Block:
    """A bias apart from its weight, since its gradient comes in another number of parts."""
    block, new = parameters.block(f"{node.name} bias")
    if new:
        block.add(f"{node.name}.bias", (channels,))
    return block


def emit_bias_gradient(program: Program, dy: Value, block: Block) -> None:
    """One launch: the parts of the gradient of a bias that is a block of its own."""
    vector, threads = together(program, dy), threads_of(program.device)
    blocks = -(-dy.channels // (vector * threads))
    block.shares, each = shares_of(dy.rows, block.padded, blocks, program.device)
    program.launch(
        ("bias",),
        {"VC": vector},
        "bias_gradient",
        (blocks, block.shares),
        threads,
        (*dy.at, dy.rows, dy.channels, each, Parts(block), block.padded),
    )
