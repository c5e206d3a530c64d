"""How much of a workload is held against the oracle: all there is, or of one that is dear what can be afforded.

A network at 224 × 224 takes the oracle minutes where one at 32 × 32 takes it a second. For such a network a suite
names a smaller input (`dlbench.spec.verification`). The steps at a small batch, which compare most, then pass through
the same layers on that input, and there are fewer of them; one training step and one inference are still compared at
the very shape that is timed, of fewer samples that differ. What was compared is told with every result (`Extent.told`).
"""

from __future__ import annotations

import dataclasses

from dlbench.spec.network import Shape, format_shape
from dlbench.spec.verification import Verification
from dlbench.spec.workload import Workload


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extent:
    """What is compared before the timing and after it.

    Attributes
    ----------
    input : shape of a sample in the steps at a small batch; None for the one that is timed.
    batch : samples of these steps; None for as many as a sample's cost allows.
    steps : of the optimizer, one after the other.
    draws, timed_draws : how often a small batch, and one of the timed size, is drawn at the most until no branch lies
        within rounding.
    distinct : samples of a timed batch that differ; the others are copies of them.
    witnesses : batches of which a sample's output is compared after the timing; None for all.
    after_steps, after_samples : steps from the initial weights after the timing, and samples of each that differ.
    after_runs, gradient_runs : of the oracle with noise, for the tolerance of these steps and of the gradient at the
        weights where the timing ended.
    """

    input: Shape | None = None
    batch: int | None = None
    steps: int = 5
    draws: int = 8
    timed_draws: int = 2
    distinct: int = 16
    witnesses: int | None = None
    after_steps: int = 8
    after_samples: int = 4
    after_runs: int = 3
    gradient_runs: int = 2

    def small(self, workload: Workload) -> Workload:
        """The workload of the steps at a small batch."""
        return workload if self.input is None else workload.at(self.input)

    def told(self, workload: Workload, small: int, timed: int) -> str:
        """What was compared, where that is less than all: of batches of `small` and `timed` samples."""
        if self.input is None:
            return ""
        shapes = (format_shape((small, *self.input)), format_shape((timed, *workload.input_shape)))
        return f"{self.steps} steps of {shapes[0]}, 1 step and inference of {shapes[1]}"


FULL = Extent()
"""All there is."""


def extent_of(verification: Verification | None) -> Extent:
    """What a suite asks for."""
    if verification is None:
        return FULL
    return Extent(
        input=verification.input,
        batch=verification.batch,
        steps=3,
        draws=2,
        timed_draws=1,
        distinct=4,
        witnesses=2,
        after_steps=2,
        after_samples=2,
        after_runs=2,
        gradient_runs=1,
    )
