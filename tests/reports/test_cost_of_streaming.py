"""What a table says about streamed rows: what streaming costs, and of what, where the figures allow it."""

from typing import Any

import pytest
from dlbench.reports.run.conclusions import conclusions
from windows import BURNING

from dlbench.analyse.table import build


def told(make: Any, *rows: tuple[str, list[float], float], **process: Any) -> list[str]:
    """Of backends whose streamed steps take so many times the resident ones, by rounds, with this share of waiting."""
    cases, lines = [], []
    for backend, factors, waits in rows:
        for kind in ("resident", "streamed"):
            case = make.case(backend, input=kind)
            cases.append(case)
            lines.append(make.verification(case))
            for number, factor in enumerate(factors):
                step_s = 0.02 * (factor if kind == "streamed" else 1)
                waited = (round(waits * step_s * 1e9),) * 21 if kind == "streamed" else ()
                lines.append(make.process(case, number, step_s, waited_ns=waited, **process))
    found = conclusions(build([("a.jsonl", make.measured(cases, lines))]))
    return [text for text in found if "streaming" in text]


@pytest.mark.parametrize(
    ("factors", "waits", "wanted"),
    [
        (
            [1.9, 1.91, 1.89],
            0.4,
            "1.90× [1.88, 1.92] of a resident step, most of it since it waits for batches (40 % of a step).",
        ),
        (
            [1.9, 1.91, 1.89],
            0.02,
            "→ streaming costs TensorFlow on this CPU 1.90× [1.88, 1.92] of a resident step: it waits for batches",
        ),
        (
            [0.9, 1.0, 1.1],
            0.0,
            "→ no significant cost of streaming for TensorFlow on this CPU: 1.00× [0.78, 1.28].",
        ),
        ([1.9], 0.4, "there is a single process of TensorFlow"),
        ([0.01, 1, 100], 0.4, "→ what streaming costs TensorFlow on this CPU cannot be told: "),
    ],
)
def test_the_cost_is_told_with_its_interval_and_its_cause(
    make: Any, factors: list[float], waits: float, wanted: str
) -> None:
    [said] = told(make, ("tensorflow", factors, waits))
    assert wanted in said


def test_several_costs_are_told_with_intervals_that_hold_together(make: Any) -> None:
    factors = [1.9, 1.91, 1.89]
    said = told(make, ("numpy", factors, 0.0), ("torch", factors, 0.0))
    assert ["NumPy", "PyTorch"] == [text.split()[3] for text in said]
    # wider than the one of a single row
    assert all("1.90× [1.8" in text and "[1.88, 1.92]" not in text for text in said)


def test_nothing_is_said_of_what_streaming_costs_a_disturbed_row(make: Any) -> None:
    said = told(make, ("numpy", [1.9] * 3, 0.0), ("torch", [1.9] * 3, 0.0), during=BURNING)
    assert 1 == len(said)
    assert (
        "nothing is concluded about what streaming costs NumPy and PyTorch: others were" in said[0]
    )
