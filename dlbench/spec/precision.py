"""Precisions: for every kind of operation the number format that it is done in.

A plan names a precision by a word, ``bf16``; the word stands for a `Policy`. What it means operation by operation, and
how each part is proved, is told in ``docs/precision.md``. Formats round to nearest, ties to even (IEEE 754).
"""

from __future__ import annotations

import dataclasses

from dlbench.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Format:
    """A binary floating-point format.

    Attributes
    ----------
    name : ``bf16``.
    significand_bits : bits of the significand, the leading one included.
    exponent_bits : bits of the exponent.
    """

    name: str
    significand_bits: int
    exponent_bits: int

    @property
    def unit_roundoff(self) -> float:
        """Largest relative error of one rounding to nearest: 2⁻⁸ for bf16."""
        return 2.0**-self.significand_bits

    @property
    def largest(self) -> float:
        """Largest finite number: 65,504 for fp16."""
        return float(2.0**2 ** (self.exponent_bits - 1) * (1 - self.unit_roundoff))

    @property
    def smallest_normal(self) -> float:
        """Smallest number with a full significand: 2⁻¹⁴ for fp16."""
        return float(2.0 ** (2 - 2 ** (self.exponent_bits - 1)))


FP32 = Format("fp32", 24, 8)
TF32 = Format("tf32", 11, 8)
BF16 = Format("bf16", 8, 8)
FP16 = Format("fp16", 11, 5)
FORMATS = {format_.name: format_ for format_ in (FP32, TF32, BF16, FP16)}


@dataclasses.dataclass(frozen=True)
class Policy:
    """Which format each kind of operation is done in.

    Attributes
    ----------
    name : the word of plans.
    factors : factors of products and convolutions, forward and backward.
    sums : their accumulation.
    stored : activations, activation gradients, and weight gradients as they leave their product.
    statistics : batch statistics, running statistics, softmax, losses, the sums inside pools.
    weights : master weights, the optimizer's state and its update.
    loss_scale : what the loss is multiplied with before it is differentiated, and its gradients are divided by before
        weight decay and update; a power of two.
    trains : whether it is for training too.
    """

    name: str
    factors: Format = FP32
    sums: Format = FP32
    stored: Format = FP32
    statistics: Format = FP32
    weights: Format = FP32
    loss_scale: float = 1.0
    trains: bool = True

    @property
    def is_mixed(self) -> bool:
        """Whether activations are kept in a short format."""
        return self.stored != FP32

    @property
    def unit_roundoff(self) -> float:
        """Largest relative error of the coarsest of its roundings."""
        return max(each.unit_roundoff for each in (self.factors, self.sums, self.stored))


POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy("fp32"),
        Policy("tf32", factors=TF32),
        Policy("bf16", factors=BF16, stored=BF16),
        Policy("fp16", factors=FP16, stored=FP16, loss_scale=2.0**10),
        # integers between quantisations, float32 elsewhere
        Policy("int8", trains=False),
    )
}
"""Every precision there is, by its word; the first is the default."""

DEFAULT = next(iter(POLICIES))


def policy_of(word: str) -> Policy:
    """The policy that a word stands for.

    Raises
    ------
    UsageError : no precision has this name.
    """
    if word not in POLICIES:
        raise UsageError(f"precision {word!r} is unknown: there are {', '.join(POLICIES)}")
    return POLICIES[word]


def trains_in(word: str) -> bool:
    """Whether a precision is for training too; one that has no policy is its backend's own affair."""
    return word not in POLICIES or POLICIES[word].trains
