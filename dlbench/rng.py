"""One source of randomness that gives the same bits on every machine and NumPy version.

Distribution samplers change between library versions and lean on the platform's `log` and `cos`;
a counter-based integer generator does neither. Every draw is named by a seed and a stream, for
example ``(7, "order", 3)``, so a draw never depends on which other draws came before it.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator

import numpy as np
from numpy.typing import NDArray

_WORD = 2**64
_MAX_BELOW = 2**32
_PIECE = 2**16
"""Words that are drawn at a time: an array is not to need several times its own size on its way, and what it needs is
to stay in a core's own cache."""


def raw_bits(count: int, seed: int, *stream: str | int, start: int = 0) -> NDArray[np.uint64]:
    """Draw uniform 64-bit words (Philox 4x64, keyed by the seed and the stream's name).

    Parameters
    ----------
    count : how many words, 0 or more. The first n words do not depend on `count`.
    seed : any integer.
    stream : what the words are for; ``("a", 1)`` and ``("a1",)`` are unrelated streams.
    start : how many words of the stream to pass over, without drawing them.

    Returns
    -------
    uint64 array of shape (count,).
    """
    generator = np.random.Philox(key=_key(seed, stream))
    # it counts in steps of four words
    generator.advance(start // 4)
    skipped = start % 4
    # random_raw(1) gives an array but mypy sees "int or array": the size decides.
    return np.asarray(generator.random_raw(skipped + count), dtype=np.uint64)[skipped:]


def bits_at(positions: NDArray[np.integer], seed: int, *stream: str | int) -> NDArray[np.uint64]:
    """Draw the 64-bit word at each position of a stream, without drawing those between.

    Position p always gives the same word, whatever else is asked for in the same call: decisions
    about sample p stay the same in whichever batch it comes.

    Parameters
    ----------
    positions : non-negative integers, at least one-dimensional.
    seed, stream : as for `raw_bits`; the words are unrelated to those of `raw_bits`.

    Returns
    -------
    uint64 array of the shape of `positions`.
    """
    start = np.uint64(_key(seed, (*stream, "at")) % _WORD)
    # SplitMix64: a Weyl sequence through a 64-bit finaliser, wrapping modulo 2**64 by intent.
    word: NDArray[np.uint64] = positions.astype(np.uint64) + np.uint64(1)
    word = word * np.uint64(0x9E3779B97F4A7C15) + start
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


def uniform(
    shape: tuple[int, ...], bound: float, seed: int, *stream: str | int, start: int = 0
) -> NDArray[np.float32]:
    """Draw float32 values from [-bound, bound).

    Each is a signed 24-bit integer times 2**-23 (exact) times `bound` in float64, rounded to
    float32 at the end; no step depends on the machine. Rounding may give `bound` itself.

    Parameters
    ----------
    shape : shape of the result.
    bound : half the width of the range, finite, 0 or more.
    seed, stream, start : as for `raw_bits`.

    Returns
    -------
    float32 array of `shape`, filled in row-major order.

    Raises
    ------
    ValueError : `bound` is negative or not finite.
    """
    if not (math.isfinite(bound) and bound >= 0.0):
        raise ValueError(f"bound is {bound}, expected a finite number of 0 or more")
    result = np.empty(math.prod(shape), np.float32)
    for first in range(0, len(result), _PIECE):
        piece = result[first : first + _PIECE]
        words = raw_bits(len(piece), seed, *stream, start=start + first)
        words >>= np.uint64(40)
        signed = words.view(np.int64)
        signed -= 2**23
        # a power of two times the bound is exact
        np.multiply(signed, 2.0**-23 * bound, out=piece, casting="same_kind")
    return result.reshape(shape)


def integers(
    count: int, below: int, seed: int, *stream: str | int, start: int = 0
) -> NDArray[np.int64]:
    """Draw integers from 0 to ``below - 1``.

    The upper 32 bits of a word are scaled by multiply and shift, so that probabilities differ
    from 1 / below by less than 2**-32: nothing a data set or a shuffle of this size can show.

    Parameters
    ----------
    count : how many.
    below : exclusive upper end, 1 to 2**32.
    seed, stream, start : as for `raw_bits`.

    Returns
    -------
    int64 array of shape (count,).

    Raises
    ------
    ValueError : `below` is outside 1 to 2**32.
    """
    if not 1 <= below <= _MAX_BELOW:
        raise ValueError(f"below is {below}, expected 1 to {_MAX_BELOW}")
    result = np.empty(count, np.int64)
    for first in range(0, count, _PIECE):
        piece = result[first : first + _PIECE]
        upper = raw_bits(len(piece), seed, *stream, start=start + first) >> np.uint64(32)
        piece[:] = (upper * np.uint64(below)) >> np.uint64(32)
    return result


def permutation(n: int, seed: int, *stream: str | int) -> NDArray[np.int64]:
    """Draw an order of 0 to n - 1: the stable argsort of n random 64-bit keys.

    Returns
    -------
    int64 array of shape (n,) that holds every number below n once.
    """
    keys = raw_bits(n, seed, *stream)
    # Stable, so that even equal keys are ordered the same by every NumPy version.
    return np.argsort(keys, kind="stable").astype(np.int64)


def _key(seed: int, stream: tuple[str | int, ...]) -> int:
    """Hash the seed and the stream to the 128 bits that key a generator."""
    # JSON keeps 1 and "1", and ("a", "b") and ("ab",), apart.
    parts = [operator.index(seed)]
    names = [part if isinstance(part, str) else operator.index(part) for part in stream]
    text = json.dumps([*parts, *names], ensure_ascii=True, separators=(",", ":"))
    digest = hashlib.blake2b(text.encode("ascii"), digest_size=16).digest()
    return int.from_bytes(digest, "little")
