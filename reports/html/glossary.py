"""What the words of a page mean that a reader of it may not know."""

from __future__ import annotations

from ..tables.model import Line, Section, table

_WORDS = (
    (
        "% of SGEMM peak",
        (
            "floating-point operations that a step would take by the textbook, a second, as a share of what the same "
            "threads reach in a multiplication of large fp32 matrices. A backend whose library is faster than "
            "the one that multiplied these, or that needs fewer operations (Winograd "
            "convolutions) may have more than 100 %."
        ),
    ),
    (
        "ambiguous branches",
        (
            "places where rounding may decide otherwise, such as a ReLU whose input is almost 0, or a maximum of two "
            "almost equal values. A backend may take either branch there, and is verified along the one that it took."
        ),
    ),
    (
        "oracle",
        (
            "dlbench's own slow reference in float64, for every backend's loss, gradients and weights."
        ),
    ),
    (
        "tolerance",
        (
            "the most by which rounding can change one number, computed for that number. An error within it is right, "
            "however near it comes; an error beyond it makes a row 'not verified'."
        ),
    ),
    (
        "largest error",
        (
            "the largest error of a row's numbers, each relative to the sizes of the terms that were added up "
            "for it, so without a unit. One rounding in fp32 is 6.0e-08."
        ),
    ),
    ("budget", "how long each row may be timed, in seconds (--budget)."),
    (
        "stand-in",
        (
            "made-up samples with the shapes of a data set that was not there. Accuracies on them say nothing."
        ),
    ),
    ("first step", "the first step of a process, with all that is compiled or tuned in it."),
)


def section() -> Section:
    """The words, each with what it means."""
    return Section(
        "What the words mean",
        columns=(*table(_WORDS, "word")[:1],),
        lines=tuple(Line(text=meaning) for _, meaning in _WORDS),
        texts_title="meaning",
    )
