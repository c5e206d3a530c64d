"""Losses, optimizers and learning-rate schedules, with the one update rule each that backends
follow.

w is a weight, g its gradient (of the mean loss), lr the learning rate, t the step from 1.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar

from dlbench.spec.decode import at_least, fraction, later, positive

CLIP_EPS = 1e-6
"""Keeps the norm that gradients are clipped by from 0."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """−log softmax(logits)[label], natural logarithm, mean over the batch; labels are integers.

    With `label_smoothing` ε and K classes, (1 − ε) times that and ε / K times the sum of −log softmax over all of
    them (Szegedy et al. 2016, section 7). Source: `torch.nn.CrossEntropyLoss` with its default reduction.
    """

    label_smoothing: float = later(0.0, minimum=0, below=1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeanSquaredError:
    """(output − target)², mean over all elements of the batch. Source: `torch.nn.MSELoss`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class UpdateRule:
    """What all optimizers have: a learning rate, and a weight decay.

    Without `decay_biases_and_norms` the decay leaves biases and the scale and shift of batch normalisation alone, as
    is usual (Goyal et al. 2017, section 5.1, for norms; He et al. 2019, section 3.1, for both).

    With a `clip_norm` c all gradients are multiplied by min(1, c / (n + 1e-6)) before all else, where n is the norm of
    all of them together (Pascanu et al. 2013, algorithm 1; `torch.nn.utils.clip_grad_norm_`; Keras'
    ``global_clipnorm`` and optax have no 1e-6).
    """

    learning_rate: float = positive()
    weight_decay: float = at_least(0, 0.0)
    decay_biases_and_norms: bool = True
    clip_norm: float | None = later(None, above=0)

    hints: ClassVar[Mapping[str, str]] = {}
    """What to write in place of words that people know from elsewhere."""

    def clipping(self, norm: float) -> float:
        """What gradients whose norm is this are multiplied by."""
        return 1.0 if self.clip_norm is None else min(1.0, self.clip_norm / (norm + CLIP_EPS))

    def decay_of(self, parameter: str) -> float:
        """The weight decay of a parameter by its name, which ends in its role (``conv1.weight``, ``norm1.scale``)."""
        decays = self.decay_biases_and_norms or parameter.endswith(".weight")
        return self.weight_decay if decays else 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sgd(UpdateRule):
    """v ← momentum·v + g; w ← w − lr·v, no dampening (v starts at 0). Nesterov: w ← w − lr·(g + momentum·v).

    Weight decay is coupled: g ← g + weight_decay·w before all else. Source: `torch.optim.SGD`
    (Sutskever et al. 2013 put lr inside v, which differs as soon as lr changes).
    """

    momentum: float = fraction(0.0)
    nesterov: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adam(UpdateRule):
    """m ← β₁m + (1−β₁)g; s ← β₂s + (1−β₂)g²; w ← w − lr·(m/(1−β₁ᵗ)) / (√(s/(1−β₂ᵗ)) + eps).

    eps is added after the root of the bias-corrected moment (Kingma and Ba 2015, algorithm 1;
    `torch.optim.Adam`; Keras adds it before the correction). Weight decay is coupled.
    """

    beta1: float = fraction(0.9)
    beta2: float = fraction(0.999)
    eps: float = positive(1e-8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamW(UpdateRule):
    """Adam on the bare gradient, with w ← w − lr·weight_decay·w beside it, both from the weight
    before the step (Loshchilov and Hutter 2019, algorithm 2; `torch.optim.AdamW`)."""

    beta1: float = fraction(0.9)
    beta2: float = fraction(0.999)
    eps: float = positive(1e-8)
    weight_decay: float = at_least(0, 0.01)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adagrad(UpdateRule):
    """a ← a + g² (a starts at 0); w ← w − lr·g / (√a + eps). Weight decay is coupled.

    Source: Duchi et al. 2011; `torch.optim.Adagrad` with its default accumulator (Keras starts at 0.1).
    """

    eps: float = positive(1e-10)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RMSprop(UpdateRule):
    """s ← rho·s + (1−rho)g²; d = g / (√s + eps); w ← w − lr·d, with momentum v ← momentum·v + d; w ← w − lr·v.

    s and v start at 0, s is not corrected for that, and lr is not part of v. Weight decay is coupled. The centered
    rule is not offered. Source: `torch.optim.RMSprop`, whose alpha is this rho (Tieleman and Hinton 2012, lecture
    6e); Keras adds eps inside the root and has lr inside v.
    """

    rho: float = fraction(0.99)
    eps: float = positive(1e-8)
    momentum: float = fraction(0.0)

    hints: ClassVar[Mapping[str, str]] = {
        "alpha": "it is called rho here",
        "centered": "the centered rule is not offered",
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Adadelta(UpdateRule):
    """s ← rho·s + (1−rho)g²; d = √(u + eps) / √(s + eps) · g; u ← rho·u + (1−rho)d²; w ← w − lr·d.

    eps is inside both roots; s and u start at 0. Weight decay is coupled. Source: Zeiler 2012, algorithm 1, which
    has no lr (it is 1 there); `torch.optim.Adadelta` and Keras have the same rule.
    """

    rho: float = fraction(0.9)
    eps: float = positive(1e-6)

    hints: ClassVar[Mapping[str, str]] = {"momentum": "Adadelta has none"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Constant:
    """The learning rate stays as it is."""

    def factor(self, epoch: int) -> float:
        """What the learning rate is multiplied by in `epoch` (counted from 0)."""
        return 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepDecay:
    """The learning rate is multiplied by `gamma` every `every` epochs. `torch.optim.lr_scheduler.StepLR`."""

    every: int = at_least(1)
    gamma: float = positive(0.1)

    def factor(self, epoch: int) -> float:
        """What the learning rate is multiplied by in `epoch` (counted from 0)."""
        return self.gamma ** (epoch // self.every)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CosineDecay:
    """Half a cosine from 1 down to 0 over `epochs` epochs (Loshchilov and Hutter 2017, equation 5,
    without restarts); 0 from then on. `torch.optim.lr_scheduler.CosineAnnealingLR`."""

    epochs: int = at_least(1)

    def factor(self, epoch: int) -> float:
        """What the learning rate is multiplied by in `epoch` (counted from 0)."""
        return 0.5 * (1 + math.cos(math.pi * min(epoch, self.epochs) / self.epochs))


Loss = CrossEntropy | MeanSquaredError
Optimizer = Sgd | Adam | AdamW | Adagrad | RMSprop | Adadelta
Schedule = Constant | StepDecay | CosineDecay

LOSSES: dict[str, type[Loss]] = {
    "cross_entropy": CrossEntropy,
    "mean_squared_error": MeanSquaredError,
}
OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": Sgd,
    "adam": Adam,
    "adamw": AdamW,
    "adagrad": Adagrad,
    "rmsprop": RMSprop,
    "adadelta": Adadelta,
}
SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "step": StepDecay,
    "cosine": CosineDecay,
}
