"""What a person who waits for a gate is shown."""

import io
import re

from rich.console import Console

from dlbench.cli.gate_progress import LiveProgress, PlainProgress, standing
from dlbench.gate.decision import judge
from dlbench.gate.design import Design

DIFFERENCES = {"numpy:cpu/train/32": [0.05, 0.06] * 20, "numpy:cpu/infer/32": [0.001, -0.002] * 20}


def after(pairs):
    found = {case: values[:pairs] for case, values in DIFFERENCES.items()}
    return judge(found, Design())


def test_a_standing_has_estimate_interval_pairs_and_verdict():
    told = standing("a", after(16)["numpy:cpu/train/32"])
    assert re.fullmatch(r"a  \+5\.7 % \[\+5\.\d, \+6\.\d\]  16 pairs  slower", told), told
    assert "a  +5.4 %  3 pairs" == standing("a", after(3)["numpy:cpu/train/32"])
    assert "a  0 pairs" == standing("a", after(0)["numpy:cpu/train/32"]).replace(
        "  no pair was measured", ""
    )


def test_a_log_has_a_line_for_each_look_at_each_case():
    stream = io.StringIO()
    plain = PlainProgress(stream, Design())
    plain.doing("verifying")
    for pairs in range(1, 17):
        plain.pair(pairs - 1, after(pairs))
    lines = stream.getvalue().splitlines()
    assert "verifying" == lines[0]
    assert ["8 pairs", "12 pairs  to be confirmed", "16 pairs  slower"] == [
        line.rpartition("]  ")[2] for line in lines if "train" in line
    ]
    assert ["8 pairs  passed"] == [line.rpartition("]  ")[2] for line in lines if "infer" in line]


def test_a_terminal_shows_where_all_cases_stand_after_each_pair():
    stream = io.StringIO()
    live = LiveProgress(Console(file=stream, force_terminal=True, width=100))
    with live.display:
        live.doing("verifying")
        live.pair(0, after(1))
        live.pair(1, after(2))
    text = stream.getvalue()
    for part in ("verifying", "1 pair", "2 pairs", "numpy:cpu/train/32", "numpy:cpu/infer/32"):
        assert part in text
