"""Terms too small for the sum that they are added to.

A term below half the spacing of floats at a partial sum leaves it as it is, and so do thousands of them: what is lost
has their sign and grows with their number. So it comes of samples of which a softmax is sure, since their gradients are
10⁴ times smaller than the others'. Noise that is drawn for each sum by itself misses this: all sums of a layer lose the
same samples.
"""

from __future__ import annotations

import numpy as np

from dlbench.oracle.rounding import Array, Exact, Rounding

_SPACING = 2.0
"""Unit roundoffs between neighbouring floats, relative to the smaller."""
_SMALL = 0.1
"""Share of the mean term above which none is lost, however long the sum: a right backend does not add up tens of
millions of terms in order."""


def absorbed(dy: Array, x: Array, counts: Array, rounding: Rounding) -> Array:
    """`dy` (N×O×…) for the sums over samples and positions of its products with `x` (N×G×C×…; each of G groups meets
    as many of the O), without what rounding may lose of it. `counts` is how often each sample stands in the batch."""
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
