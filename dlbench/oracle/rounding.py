"""How large a rounding error may be: the oracle run again with every result perturbed.

A float32 backend is right when it differs from the exact result by no more than float32 rounding
explains, and how much that is depends on the network: cancellation, division by small variances,
the optimizer's root. Instead of an analysis for each layer, the oracle is run a few more times with
random noise, as large as float32 could cause, added to the result of every operation (Monte Carlo
arithmetic: Parker 1997). The spread of the outcomes is the scale of every tolerance.

The noise of a sum of n terms t is u·√n·√(Σt² + (Σt)²), with u the unit roundoff: what recursive
summation gives for terms of random sign and an upper bound for terms of one sign (Higham 2002,
section 4.2); blocked and pairwise summation stay below it. Terms far smaller than the sum may be lost
as well (`absorbed`).

Which operations are noisier than float32 the policy of a precision says (`dlbench.spec.precision`). What is stored
in a short format gets the noise of one rounding: an error that is uniform over ±u·2ᵉ has a root mean square of at most
u·|value|/√3. Half of its mean square is the error of a rounding to a grid that is drawn for each array, so that equal
values err alike, as they do in a backend: a bias is rounded once for all positions, and so is what differs by less than
a step. The other half is drawn for each element, since values that cancel on one grid, nearly equal but for the sign,
may not do so on another. Factors that are known exactly, weights and what a network is given, are really rounded, as
every right backend rounds them.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dlbench.spec.precision import FP32, POLICIES, Format, Policy

Array = npt.NDArray[np.float64]

_STRICT = POLICIES["fp32"]

Length = int | Callable[[], int]
Size = Array | float | Callable[[], Array]
"""What only noise needs, or what finds it where there is noise, since that takes passes over all values."""


class Rounding(Protocol):
    """What happens to the result of every operation under a policy."""

    policy: Policy

    def __call__(self, value: Array, length: Length, size: Size) -> Array:
        """`value`, the outcome in float32 of summing `length` terms whose root sum of squares is `size`
        (an array that broadcasts against `value`, or a number)."""

    def of_squares(self, value: Array, length: int, squares: Array) -> Array:
        """As a call, of terms whose squares' sum is known (an array that broadcasts against `value`)."""

    def stored(self, value: Array, *on_the_way: Array) -> Array:
        """`value` as it is kept between layers; `on_the_way` are values that may have been rounded before it."""

    def handed_back(self, gradient: Array) -> Array:
        """A gradient as it is kept on its way back, multiplied by the loss scale."""

    def lost(self, value: Array, small: npt.NDArray[np.bool_]) -> Array:
        """`value` (N×C×P) without what sums may lose of those elements that are `small`."""

    def factor(self, value: Array) -> Array:
        """`value`, which may have been kept in a wider format, as a factor of products."""

    def known(self, value: Array) -> Array:
        """Factors that a backend is given: weights, or what a network reads."""


class Exact:
    """The oracle proper under a policy: none of its roundings but those of known factors is worth speaking of."""

    def __init__(self, policy: Policy = _STRICT) -> None:
        self.policy = policy

    def __call__(self, value: Array, length: Length, size: Size) -> Array:
        """`value`."""
        return value

    def of_squares(self, value: Array, length: int, squares: Array) -> Array:
        """`value`."""
        return value

    def stored(self, value: Array, *on_the_way: Array) -> Array:
        """`value`."""
        return value

    def handed_back(self, gradient: Array) -> Array:
        """`gradient`."""
        return gradient

    def lost(self, value: Array, small: npt.NDArray[np.bool_]) -> Array:
        """`value`."""
        return value

    def factor(self, value: Array) -> Array:
        """`value`."""
        return value

    def known(self, value: Array) -> Array:
        """`value`, rounded where that is how it is stored."""
        return rounded(value, self.policy.stored)


exact = Exact()
"""The oracle proper in float32: no rounding at all."""


class Largest(Exact):
    """The oracle proper, which remembers the `largest` magnitude that a backend has to store."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self.largest = 0.0

    def stored(self, value: Array, *on_the_way: Array) -> Array:
        """`value`."""
        self.largest = max(self.largest, float(np.abs(value).max(initial=0.0)))
        return value

    def handed_back(self, gradient: Array) -> Array:
        """`gradient`."""
        self.stored(gradient * self.policy.loss_scale)
        return gradient


class Emulated(Exact):
    """Rounds for real as a backend does that is right: what is stored to nearest, ties to even, sums not at all.

    Where all sums are exact in float32, whatever their order, every right backend has the same bits.

    Parameters
    ----------
    policy : of its formats, those of `factors` and of what is `stored`, and the loss scale.
    nearest, each : what rounds values to a format, and whether it rounds values on the way too.
    """

    def __init__(
        self,
        policy: Policy,
        nearest: Callable[[Array, Format], Array] | None = None,
        each: bool = False,
    ) -> None:
        super().__init__(policy)
        self._nearest, self._each = nearest or rounded, each

    def stored(self, value: Array, *on_the_way: Array) -> Array:
        """`value`, rounded."""
        for part in on_the_way if self._each else ():
            value = value + (self._nearest(part, self.policy.stored) - part)
        return self._nearest(value, self.policy.stored)

    def handed_back(self, gradient: Array) -> Array:
        """`gradient`, rounded while it is multiplied by the loss scale."""
        scale = self.policy.loss_scale
        return self._nearest(gradient * scale, self.policy.stored) / scale

    def factor(self, value: Array) -> Array:
        """`value`, rounded as a factor where it is not stored so."""
        same = self.policy.factors == self.policy.stored
        return value if same else self._nearest(value, self.policy.factors)

    def known(self, value: Array) -> Array:
        """`value`, rounded as a factor."""
        return self._nearest(value, self.policy.factors)


_POOL = 262_139
"""Normal numbers drawn once a run and reused from a random place on; a prime, so that no row of an array
meets the same ones as its neighbour. Drawing afresh took most of the oracle's time."""
_LOST = 0.25
"""Share by which terms that may be lost come and go. What is lost is at most all of them, unlike Gaussian noise: eight
times this allows twice as much."""
_OTHERWISE = 0.15
"""Share of channels that lose terms where the others do not. So the effect of all channels' losses, of one sign, and
that of some channels' alone weigh the same."""
_SPACING = 2.0
"""Unit roundoffs between neighbouring floats, relative to the smaller."""
_SMALL = 0.1
"""Share of the mean term above which none is lost, however long the sum: a right backend does not add up tens of
millions of terms in order."""
_SPREAD = math.sqrt(8 * math.log(2) / 3)
"""By how much less than u·|value|/√3 the root mean square error is of a rounding to a grid whose scale is 2 to the
power of a number between 0 and 1: the mean of squared steps is 3 / (8 ln 2) of the largest's."""
_PIECE = 2**14
"""Values that get their noise at a time: what that needs on the way stays in a core's own cache."""


@functools.lru_cache(maxsize=32)
def _drawn(seed: int) -> tuple[npt.NDArray[np.float32], np.random.Generator]:
    """The pool of a seed, its beginning once more behind its end, and what drew it: the same few seeds come again and
    again."""
    random = np.random.Generator(np.random.SFC64(seed))
    drawn = random.standard_normal(_POOL, dtype=np.float32)
    pool = np.concatenate([drawn, drawn[:_PIECE]])
    pool.setflags(write=False)
    return pool, random


class Perturbed:
    """Adds Gaussian noise as large as the policy's roundings to every result."""

    def __init__(self, seed: int, policy: Policy = _STRICT) -> None:
        self.policy = policy
        self._pool, random = _drawn(seed)
        self._random = copy.deepcopy(random)
        self._unit = policy.sums.unit_roundoff

    def __call__(self, value: Array, length: Length, size: Size) -> Array:
        """`value` with the roundings of a sum."""
        length = length() if callable(length) else length
        size = size() if callable(size) else size
        if size is value:
            return self._summed(value, 2 * length, None)
        return self._summed(value, length, np.square(size))

    def of_squares(self, value: Array, length: int, squares: Array) -> Array:
        """`value` with the roundings of a sum."""
        return self._summed(value, length, squares)

    def _summed(self, value: Array, length: int, squares: Array | None) -> Array:
        """`value` with the roundings of a sum of `length` terms; of half as many, where all that is known is it."""
        value = np.asarray(value)
        factor = self._unit * math.sqrt(length)
        spread = squares
        if spread is not None and value.size > _PIECE:
            spread = np.broadcast_to(spread, value.shape)
        result = np.empty(value.shape)
        at = self._start()
        for piece in _pieces(value.shape):
            part, scale = value[piece], result[piece]
            if spread is None:
                np.abs(part, out=scale)
            else:
                np.square(part, out=scale)
                scale += spread[piece]
                np.sqrt(scale, out=scale)
            scale *= factor
            scale *= self._noise(at, scale.shape)
            scale += part
            at += scale.size
        return result

    def stored(self, value: Array, *on_the_way: Array) -> Array:
        """`value` with one short rounding, and one for each value on the way."""
        return self._rounded_once(value, on_the_way, 1.0) if self.policy.is_mixed else value

    def handed_back(self, gradient: Array) -> Array:
        """`gradient` with one short rounding."""
        if not self.policy.is_mixed:
            return gradient
        return self._rounded_once(gradient, (), self.policy.loss_scale)

    def lost(self, value: Array, small: npt.NDArray[np.bool_]) -> Array:
        """`value` with a share of its small elements more or less, the same in a channel, and in most channels."""
        signs = np.where(self._random.random(value.shape[1]) < _OTHERWISE, -_LOST, _LOST)
        signs *= 1 if self._random.random() < 0.5 else -1
        return np.asarray(value * (1 + signs[:, None] * small))

    def factor(self, value: Array) -> Array:
        """`value` with the rounding of a factor; one that is stored short has had it already."""
        factors = self.policy.factors
        if factors in (FP32, self.policy.stored):
            return value
        # hardware that rounds factors itself need not break ties to even, nor be as good as a rounding to nearest
        return self._noisy(value, factors.unit_roundoff * np.abs(value))

    def known(self, value: Array) -> Array:
        """`value`, rounded where it is stored so, else with the rounding of a factor."""
        return rounded(value, self.policy.stored) if self.policy.is_mixed else self.factor(value)

    def _rounded_once(
        self, value: Array, on_the_way: tuple[Array, ...], multiplied: float
    ) -> Array:
        found = value
        for each in (value, *on_the_way):
            found = found + self._error(each, multiplied)
        return found

    def _error(self, value: Array, multiplied: float) -> Array:
        """Of storing `value` once: half of its mean square is that of a grid of which no more is known than how fine it
        is, half each element's own; zeros stay zeros."""
        format_ = self.policy.stored
        scale = multiplied * 2.0 ** self._random.random()
        least, unit = format_.smallest_normal / multiplied, format_.unit_roundoff / np.sqrt(3)
        errors, at = np.empty(value.shape), self._start()
        for piece in _pieces(value.shape):
            part, error = value[piece], errors[piece]
            np.multiply(part, scale, out=error)
            np.divide(_in_steps(error, format_, np.rint), scale, out=error)
            error -= part
            error *= _SPREAD
            own = np.maximum(np.abs(part), least) * (part != 0)
            own *= unit
            own *= self._noise(at, own.shape)
            error += own
            error *= np.sqrt(0.5)
            at += own.size
        return errors

    def _noisy(self, value: Array, scale: Array) -> Array:
        scale *= self._noise(self._start(), np.shape(value))
        scale += value
        return np.asarray(scale)

    def _start(self) -> int:
        return int(self._random.integers(_POOL))

    def _noise(self, start: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        """Numbers of the pool from a place on, which is taken for a ring."""
        count, start = math.prod(shape), start % _POOL
        noise = self._pool[start : start + count]
        if noise.size < count:
            noise = np.resize(np.roll(self._pool[:_POOL], -start), count)
        return noise.reshape(shape)


def absorbed(dy: Array, x: Array, counts: Array, rounding: Rounding) -> Array:
    """`dy` (N×O×…) for the sums over samples and positions of its products with `x` (N×G×C×…; each of G groups meets
    as many of the O), without what rounding may lose of it. `counts` is how often each sample stands in the batch.

    A term below half the spacing of floats at a partial sum leaves it as it is, and so do thousands of them: what is
    lost has their sign and grows with their number. So it comes of samples of which a softmax is sure, since their
    gradients are 10⁴ times smaller than the others'. All sums of a layer lose the same samples, so that noise drawn for
    each sum by itself misses this.
    """
    if isinstance(rounding, Exact):
        return dy
    flat, images = dy.reshape(*dy.shape[:2], -1), x.reshape(*x.shape[:3], -1)
    each = dy.shape[1] // x.shape[1]
    sizes, means = (
        np.repeat(np.sqrt(squares), each, axis=1)
        for squares in (
            np.einsum("ngcp,ngcp->ng", images, images) / (images.shape[2] * images.shape[3]),
            np.square(images.mean(3)).mean(2),
        )
    )
    terms = np.abs(flat)
    terms *= sizes[:, :, None]
    squares = np.einsum("nop,nop->no", terms, terms)
    # what partial sums grow to: each sample's sum adds to those before it, or at random within it
    sums = counts @ (np.abs(flat.sum(2)) * means) + np.sqrt(counts @ squares)
    mean = counts @ terms.mean(2) / counts.sum()
    most = np.minimum(_SPACING * rounding.policy.sums.unit_roundoff * sums, _SMALL * mean)
    small = terms < most[:, None]
    small &= flat != 0
    return rounding.lost(flat, small).reshape(dy.shape) if small.any() else dy


def _pieces(shape: tuple[int, ...]) -> Iterator[tuple[Any, ...]]:
    """Where the pieces of an array lie that follow one another in memory and are small, or single rows."""
    if math.prod(shape) <= _PIECE or not shape:
        yield (...,)
        return
    row = math.prod(shape[1:])
    if row > _PIECE:
        inner = list(_pieces(shape[1:]))
        yield from ((first, *piece) for first in range(shape[0]) for piece in inner)
        return
    step = _PIECE // row
    yield from ((slice(first, first + step),) for first in range(0, shape[0], step))


def rounded(values: Array, format_: Format) -> Array:
    """`values` to the nearest of a format, ties to even; float32 is left alone, since all that is handed to a backend
    is float32 already."""
    return _to(values, format_, np.rint)


def rounded_without_end(values: Array, format_: Format) -> Array:
    """The same of a format that has no end: what would overflow stays finite."""
    return values if format_ == FP32 else _in_steps(values, format_, np.rint)


def truncated(values: Array, format_: Format) -> Array:
    """`values` to a format by leaving bits out, as a copy of the upper half of a float32 does."""
    return _to(values, format_, np.trunc)


def rounded_half_away(values: Array, format_: Format) -> Array:
    """`values` to the nearest of a format, ties away from zero."""
    return _to(values, format_, lambda v: np.copysign(np.floor(np.abs(v) + 0.5), v))


def _to(values: Array, format_: Format, whole: Callable[[Array], Array]) -> Array:
    if format_ == FP32:
        return values
    nearest = _in_steps(values, format_, whole)
    return np.where(np.abs(nearest) > format_.largest, np.copysign(np.inf, values), nearest)


def _in_steps(values: Array, format_: Format, whole: Callable[[Array], Array]) -> Array:
    """`values` in whole steps of a format that has no end."""
    _, exponents = np.frexp(values)
    least = np.frexp(format_.smallest_normal)[1]
    steps = np.ldexp(1.0, np.maximum(exponents, least) - format_.significand_bits)
    return np.asarray(whole(values / steps) * steps)
