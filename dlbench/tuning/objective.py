"""What a search is after: the figure of a training that is to be large, or small."""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

from dlbench.errors import UsageError
from dlbench.record.schema import Training
from dlbench.spec.decode import nearest
from dlbench.text import digits, seconds

Word = Literal["accuracy", "time-to-accuracy", "rate-at-accuracy", "joules"]
WORDS: tuple[Word, ...] = get_args(Word)


@dataclasses.dataclass(frozen=True)
class Objective:
    """What is looked for.

    Attributes
    ----------
    word : the accuracy on the validation part; the time of training steps until that reaches `target` (s); samples
        trained a second where it does; or the energy of the device in training steps until then (J).
    target : the share of right answers that is wanted; None where any is welcome.
    """

    word: Word
    target: float | None = None

    @classmethod
    def read(cls, word: str, target: float | None) -> Objective:
        """What a word and a target mean.

        Raises
        ------
        UsageError : no such objective, or one without the target that it needs, or with one that it has no use for.
        """
        for known in WORDS:
            if word == known:
                if (target is None) != (known == "accuracy"):
                    need = "needs" if target is None else "has no use for"
                    raise UsageError(f"--objective {known} {need} --target, like 95%")
                return cls(known, target)
        raise UsageError(f"--objective {word!r} is unknown; {nearest(word, WORDS)}")

    @property
    def is_small(self) -> bool:
        """Whether less is better."""
        return self.word in ("time-to-accuracy", "joules")

    def value(self, training: Training) -> float | None:
        """The figure of a training that went well; None where it did not reach the target, or its energy is unknown."""
        reached = next(reversed(training.validation_accuracy), 0.0)
        if self.target is None:
            return reached
        spent_s = sum(training.epoch_s)
        if reached < self.target or not spent_s:
            return None
        if self.word == "joules":
            return sum(training.energy.joules) or None if training.energy else None
        samples = len(training.losses) * training.case.batch
        return spent_s if self.word == "time-to-accuracy" else samples / spent_s

    def told(self, value: float) -> str:
        """A figure, for people."""
        if self.word == "accuracy":
            return f"{100 * value:.2f} %"
        if self.word == "time-to-accuracy":
            return seconds(value)
        return f"{digits(value)} {'J' if self.word == 'joules' else 'samples/s'}"
