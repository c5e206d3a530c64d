"""From which batch size on a row is faster: only what the intervals say, and never a point between two of them."""

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlbench.analyse.crossover import Crossover, Point, crossovers
from dlbench.analyse.table import build
from dlbench.plugins import load_reporter
from dlbench.record.case import Case
from dlbench.record.schema import Line, Record, Skip

WOBBLE = (0.99, 1.0, 1.01)
INTERVALS = {
    "faster": (1.5, 1.4, 1.6),
    "slower": (0.5, 0.4, 0.6),
    "open": (1.1, 0.9, 1.3),
    "none": (None, None, None),
}


def sweep(
    make: Any,
    gpu_s: dict[int, float],
    cpu_s: dict[int, float],
    copies_ns: int = 0,
    device: str = "cuda",
    wobble: Sequence[float] = WOBBLE,
) -> Record:
    """NumPy on the CPU and PyTorch on another device, with these times a step by batch size."""
    cases, lines = [], list[Line]()
    for batch in cpu_s:
        for backend, place, times in (("numpy", "cpu", cpu_s), ("torch", device, gpu_s)):
            case = make.case(backend, place, batch=batch)
            cases.append(case)
            if batch not in times:
                lines.append(Skip(case, "out of luck", ""))
                continue
            lines.append(make.verification(case))
            changes = {"upload_ns": (copies_ns,) * 3, "download_ns": (copies_ns,) * 3}
            # the two sides wobble in opposite ways, or rounds would cancel it
            factors = wobble if backend == "numpy" else wobble[::-1]
            lines += [
                make.process(case, number, times[batch] * factor, **changes)
                for number, factor in enumerate(factors, 1)
            ]
    return make.measured(cases, lines)


CASE = Case("s", "train", "b", "cuda", 1, 1)
CPU_S = {1: 0.001, 8: 0.008, 64: 0.064, 512: 0.512}


def of(record: Record, baseline: str = "numpy:cpu") -> dict[bool, Crossover]:
    """The only row's crossovers, by whether copies are in them."""
    return {each.with_copies: each for each in crossovers(build([("a", record)], baseline).rows)}


def test_a_gpu_wins_from_a_batch_size_on_and_the_crossover_lies_between_two(make: Any) -> None:
    found = of(sweep(make, dict.fromkeys(CPU_S, 0.004), CPU_S))[False]
    assert [point.verdict for point in found.points] == ["slower", "faster", "faster", "faster"]
    assert (found.after, found.faster_from) == (1, 8)


def test_copies_move_the_crossover(make: Any) -> None:
    found = of(sweep(make, dict.fromkeys(CPU_S, 0.004), CPU_S, copies_ns=10_000_000))
    assert (found[False].after, found[False].faster_from) == (1, 8)
    assert (found[True].after, found[True].faster_from) == (8, 64)


def test_an_interval_that_holds_one_is_neither_won_nor_lost(make: Any) -> None:
    gpu_s = {1: 0.004, 8: 0.0079, 64: 0.004, 512: 0.004}
    found = of(sweep(make, gpu_s, CPU_S, wobble=(0.9, 1.0, 1.1)))[False]
    assert [point.verdict for point in found.points] == ["slower", "open", "faster", "faster"]
    assert (found.after, found.faster_from) == (1, 64)


def test_one_process_each_wins_nothing(make: Any) -> None:
    found = of(sweep(make, dict.fromkeys(CPU_S, 0.0001), CPU_S, wobble=(1.0,)))[False]
    assert {point.verdict for point in found.points} == {"open"}
    assert found.faster_from is None


def test_a_batch_size_without_a_figure_is_never_won(make: Any) -> None:
    found = of(sweep(make, {1: 0.0001, 64: 0.0001}, CPU_S))[False]
    assert [point.verdict for point in found.points] == ["faster", "none", "faster", "none"]
    assert found.faster_from == 64


def test_two_rows_on_the_cpu_have_one_crossover_and_the_baseline_none(make: Any) -> None:
    record = sweep(make, dict.fromkeys(CPU_S, 0.004), CPU_S, device="cpu")
    assert set(of(record)) == {False}
    (turned,) = of(record, "torch:cpu").values()
    told = (turned.case.backend, turned.baseline, turned.faster_from)
    assert told == ("numpy", "torch:cpu/eager", None)


def test_each_mode_and_precision_has_its_own_crossover_over_the_same_row(make: Any) -> None:
    cases, lines = [], list[Line]()
    rows_of = [("numpy", "cpu", {}), ("torch", "cuda", {"mode": "graph"}), ("torch", "cuda", {})]
    rows_of.append(("torch", "cuda", {"mode": "eager", "precision": "bf16"}))
    for backend, device, more in rows_of:
        for batch in CPU_S:
            case = make.case(backend, device, batch=batch, **more)
            cases.append(case)
            lines.append(make.verification(case))
            lines += [make.process(case, number, 0.01) for number in (1, 2)]
    found = crossovers(build([("a", make.measured(cases, lines))]).rows)
    assert {each.baseline for each in found} == {"numpy:cpu"}
    names = [each.case.row_name for each in found if not each.with_copies]
    assert sorted(names) == ["torch:cuda/eager", "torch:cuda/eager/bf16", "torch:cuda/graph"]


def test_one_batch_size_is_no_sweep(make: Any) -> None:
    assert crossovers(build([("a", make.record())]).rows) == ()


@given(st.lists(st.sampled_from(list(INTERVALS)), min_size=2, max_size=6))
def test_from_its_start_on_everything_with_a_figure_is_won_and_just_before_it_is_not(
    verdicts: list[str],
) -> None:
    points = tuple(Point(2**n, *INTERVALS[verdict]) for n, verdict in enumerate(verdicts))
    found = Crossover(CASE, "numpy:cpu", False, points)
    assert [point.verdict for point in points] == verdicts
    figures = [verdict for verdict in verdicts if verdict != "none"]
    start = found.faster_from
    if start is None:
        assert not figures or figures[-1] != "faster"
        assert found.after is None
        return
    index = int(math.log2(start))
    assert set(verdicts[index:]) <= {"faster", "none"}
    assert index == 0 or verdicts[index - 1] != "faster"
    if found.after is not None:
        assert found.after < start
        assert verdicts[int(math.log2(found.after))] == "slower"
        assert "slower" not in verdicts[int(math.log2(found.after)) + 1 :]


def told(verdicts: dict[int, str]) -> tuple[str, str]:
    """The words for a cell and for a sentence."""
    from dlbench.reports.run import sweep as words

    points = tuple(Point(batch, *INTERVALS[verdict]) for batch, verdict in verdicts.items())
    found = Crossover(CASE, "numpy:cpu", False, points)
    return words.short(found), words.sentence(found)


F, S, O = "1.50× [1.40, 1.60]", "0.50× [0.40, 0.60]", "1.10× [0.90, 1.30]"  # noqa: E741
NOT_SIGNIFICANT = (
    f"at no batch size up to 512; slower at 1 ({S}); no significant difference at 512 ({O})"
)
FROM_8 = f"from batch size 8 ({F}) on; the crossover lies between 1 ({S}) and 8"


@pytest.mark.parametrize(
    ("verdicts", "cell", "sentence"),
    [
        (
            {1: "slower", 8: "faster", 64: "faster"},
            "from 8 on",
            FROM_8,
        ),
        (
            {1: "open", 8: "faster"},
            "from 8 on",
            f"from batch size 8 ({F}) on; no significant difference at 1 ({O})",
        ),
        (
            {1: "slower", 4: "open", 8: "faster"},
            "from 8 on",
            f"{FROM_8}; no significant difference at 4 ({O})",
        ),
        (
            {1: "faster", 512: "faster"},
            "at every batch",
            f"at every batch size from 1 ({F}) to 512 ({F})",
        ),
        ({1: "slower", 512: "slower"}, "never up to 512", f"at no batch size up to 512 ({S})"),
        (
            {1: "slower", 512: "open"},
            "not significantly up to 512",
            NOT_SIGNIFICANT,
        ),
        (
            {1: "faster", 8: "slower"},
            "at 1 only",
            f"at batch size 1 ({F}) only, not at 8 ({S})",
        ),
        (
            {1: "faster", 8: "slower", 64: "faster"},
            "from 64 on",
            f"from batch size 64 ({F}) on and at 1 ({F}); the crossover lies between 8 ({S}) and 64",
        ),
        (
            {1: "slower", 8: "faster", 1024: "none"},
            "from 8 on",
            f"{FROM_8}; not measured at 1,024",
        ),
        (
            {1: "none", 8: "none"},
            "not measured",
            "at no batch size: nothing was measured",
        ),
    ],
)
def test_a_crossover_is_told_with_the_intervals_it_rests_on(
    verdicts: dict[int, str], cell: str, sentence: str
) -> None:
    assert told(verdicts) == (cell, sentence)


def test_every_format_for_people_shows_the_sweep_and_json_holds_its_points(make: Any) -> None:
    record = sweep(make, dict.fromkeys(CPU_S, 0.004), CPU_S, copies_ns=10_000_000)
    report = build([("x.jsonl", record)])
    shown = {
        form: load_reporter(form)(report, width=170) for form in ("terminal", "markdown", "json")
    }
    for form in ("terminal", "markdown"):
        flat = " ".join(shown[form].replace("\\", "").replace("|", " ").split())
        # samples/s by batch size, then where it is faster, without and with the copies
        assert "250 2,000 16,000 128,000 from 8 on from 64 on" in flat
        assert "faster than numpy:cpu" in flat
        assert (
            "PyTorch on NVIDIA H200 trains this network faster than NumPy on this CPU from batch"
            in flat
        )
        assert "With the copies, PyTorch on NVIDIA H200 trains" in flat
        assert "cuDNN 9.10.2, TF32 off, cudnn.benchmark off" in flat
        assert "GPU-8f2c11d0-aaaa-bbbb-cccc-000000000001" in flat
        assert "10.0 ms" in flat
        assert "768 MiB" in flat
    found = json.loads(shown["json"])["crossovers"]
    assert [(each["with_copies"], each["faster_from"], each["after"]) for each in found] == [
        (False, 8, 1),
        (True, 64, 8),
    ]
    assert [point["batch"] for point in found[0]["points"]] == [1, 8, 64, 512]
    assert {"speedup", "low", "high", "verdict"} < set(found[0]["points"][0])


def test_the_terminal_says_which_columns_of_the_small_tables_it_leaves_out(make: Any) -> None:
    record = sweep(make, dict.fromkeys(CPU_S, 0.004), CPU_S)
    text = load_reporter("terminal")(build([("x.jsonl", record)]), width=70)
    assert "device time" in text.partition("hidden, terminal too narrow: ")[2]
