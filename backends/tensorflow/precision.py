"""Short precisions in TensorFlow: every cast is written out, and nothing is left to rewriters of graphs.

Variables are float32 (the masters). Convolutions and products read factors that were rounded and leave short values.
What TensorFlow's kernels would compute in the short format itself (means and their gradients, the sums that are
gradients of a bias or a gate, sigmoids, random numbers, under XLA the variance about a rounded mean) is computed in
float32 instead. Where products of short factors are not summed in float32, which is seen when a session is opened, they
are computed so from rounded factors.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from dlbench.spec.precision import Policy

from ..shared.framework import TERMS
from ..shared.framework import factors_seen as seen

_TYPES = {"bf16": tf.bfloat16, "fp16": tf.float16}


@dataclasses.dataclass(frozen=True)
class Short:
    """How a short format is computed in.

    Attributes
    ----------
    dtype : of activations, and of factors.
    wide_products : whether products are computed in float32 from rounded factors.
    wide_norms : whether batch norm is computed in float32 throughout.
    """

    dtype: Any
    wide_products: bool
    wide_norms: bool

    def product(self, apply: Callable[..., Any], *factors: Any) -> Any:
        """`apply` of rounded factors; short."""
        if self.wide_products:
            return self.wide_product(apply, *factors)
        # a cast that changes nothing takes time of an eager step all the same
        return apply(
            *(each if each.dtype == self.dtype else tf.cast(each, self.dtype) for each in factors)
        )

    def wide_product(self, apply: Callable[..., Any], *factors: Any) -> Any:
        """`apply` of rounded factors, computed in float32; short."""
        rounded = (tf.cast(factor, self.dtype) for factor in factors)
        return tf.cast(apply(*(tf.cast(factor, tf.float32) for factor in rounded)), self.dtype)


def short_of(policy: Policy, compiled: bool) -> Short | None:
    """How this process computes by `policy`, under XLA where `compiled`; None for a policy that stores float32."""
    if not policy.is_mixed:
        return None
    dtype = _TYPES[policy.stored.name]
    # XLA leaves out the rounding of a gradient that short kernels are to give
    return Short(dtype, compiled or not sums_are_float32(dtype), compiled)


def widened(x: Any, apply: Callable[[Any], Any]) -> Any:
    """`apply`, computed in float32, of a value that may be short; as short as it was."""
    return tf.cast(apply(tf.cast(x, tf.float32)), x.dtype)


def alike(values: Sequence[Any]) -> list[Any]:
    """Values of one type: all float32 where some are, since what a network is given is not rounded."""
    if len({value.dtype for value in values}) == 1:
        return list(values)
    return [tf.cast(value, tf.float32) for value in values]


@tf.custom_gradient  # type: ignore[untyped-decorator]
def biased(y: Any, bias: Any) -> Any:
    """y + bias for y with channels last, whose gradient with respect to the bias is summed in float32."""

    def gradient(dy: Any) -> tuple[Any, Any]:
        return dy, tf.reduce_sum(tf.cast(dy, tf.float32), list(range(len(dy.shape) - 1)))

    return tf.nn.bias_add(y, tf.cast(bias, y.dtype)), gradient


@functools.cache
def sums_are_float32(dtype: Any) -> bool:
    """Whether products and convolutions of short factors, and their gradients, are one rounding away from exact in a
    graph. Of positive terms, so that every further rounding of a sum shows."""
    roundoff = 2.0**-8 if dtype == tf.bfloat16 else 2.0**-11
    return all(error <= 1.1 * roundoff for error in _errors(dtype))


def _errors(dtype: Any) -> Iterator[float]:
    """The largest relative errors of results and gradients, of a convolution and of a product."""

    def convolution(x: Any, weight: Any) -> Any:
        return tf.nn.conv2d(x, weight, 1, "VALID")

    def product(x: Any, weight: Any) -> Any:
        return tf.linalg.matmul(x, weight)

    for apply, shapes in (
        (convolution, ((8, 9, 9, 5), (3, 3, 5, 8))),
        (product, ((96, 160), (160, 32))),
    ):
        factors = [
            tf.cast(tf.random.stateless_uniform(shape, (1, index)), dtype)
            for index, shape in enumerate(shapes)
        ]
        found = tf.function(_with_gradients(apply), autograph=False)(*factors)
        exact = _with_gradients(apply)(*(tf.cast(factor, tf.float32) for factor in factors))
        for one, other in zip(found, exact, strict=True):
            yield float(tf.reduce_max(tf.abs((tf.cast(one, tf.float32) - other) / other)))


def _with_gradients(apply: Callable[..., Any]) -> Callable[..., Any]:
    def call(*factors: Any) -> list[Any]:
        with tf.GradientTape() as tape:
            tape.watch(factors)
            result = apply(*factors)
        return [result, *tape.gradient(result, factors)]

    return call


@functools.cache
def factors_seen(policy: Policy, compiled: bool) -> str:
    """The format of the factors in this process' convolutions and products by `policy`, as seen; both where they
    differ."""
    short = short_of(policy, compiled)
    found = []
    for apply, shape, weight in (
        (lambda x, w: tf.nn.conv2d(x, w, 1, "VALID"), (8, 8, 8, TERMS), (1, 1, TERMS, 64)),
        (tf.linalg.matmul, (64, TERMS), (TERMS, 64)),
    ):

        def largest(x: Any, ones: Any, apply: Callable[..., Any] = apply) -> Any:
            product = apply(x, ones) if short is None else short.product(apply, x, ones)
            return tf.reduce_max(tf.abs(product))

        graph = tf.function(largest, autograph=False, jit_compile=compiled)
        ones = tf.ones(weight)

        def difference(
            value: float, graph: Any = graph, shape: Any = shape, ones: Any = ones
        ) -> float:
            pattern = tf.tile(tf.constant([value, -1.0]), [TERMS // 2])
            return float(graph(tf.broadcast_to(pattern, shape), ones))

        found.append(seen(difference))
    return " and ".join(sorted(set(found)))
