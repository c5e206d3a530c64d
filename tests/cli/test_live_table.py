"""The table that fills in on a terminal while a run goes on."""

import io

import pytest
from msgspec.structs import replace
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text
from windows import BURNING, QUIET

from dlbench.cli.live_table import LiveTable
from dlbench.cli.progress import LiveProgress
from dlbench.record.facts import FirstSteps
from dlbench.record.schema import Choice, Skip, Trial


def console(width=140, height=40):
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=height)


def run_of(make):
    """A run of two rounds, line by line: two cases that go well, one that is wrong, one that cannot run."""
    good, other, wrong = make.case("numpy"), make.case("tensorflow"), make.case("acme")
    absent = make.case("cupy", "cuda")
    return [
        make.header((good, other, wrong, absent), rounds=2),
        Skip(absent, "no CUDA device", "get one"),
        make.verification(good),
        make.verification(other),
        make.verification(wrong, "unverified", "gradient is 0"),
        *(make.process(case, number) for number in (1, 2) for case in (good, other)),
    ]


def after(lines, count, **size):
    """The rows of the table after so many lines."""
    table = LiveTable(console(**size))
    for line in lines[:count]:
        table.add(line)
    return table.text.plain.splitlines()


def row(drawn, backend):
    (found,) = [line for line in drawn if line.split()[1:2] == [backend]]
    return found


def test_each_case_has_a_row_from_the_beginning_and_figures_with_its_first_process(make):
    lines = run_of(make)
    assert [] == after(lines, 1)
    drawn = after(lines, 3)
    assert "… " in row(drawn, "tensorflow")
    assert "to be verified" in row(drawn, "tensorflow")
    assert "verified (largest error 3.1e-07), to be timed" in row(drawn, "numpy")
    assert "no CUDA device: get one" in row(drawn, "cupy")
    drawn = after(lines, 6)
    assert "✓ numpy 2.4" in row(drawn, "numpy")
    assert "36.0 ms" in row(drawn, "numpy")
    assert "to be timed" in row(drawn, "tensorflow")
    assert "✗ acme" in row(drawn, "acme")
    assert "not verified: gradient is 0" in row(drawn, "acme")
    drawn = after(lines, 99)
    assert "1.80×" in row(drawn, "tensorflow")
    assert "█" in row(drawn, "tensorflow")
    assert "…" not in "\n".join(drawn)


def with_first_steps(lines, train=QUIET, infer=None):
    """The lines, with first steps of NumPy's verification, watched so."""
    steps = {
        name: FirstSteps((40_000_000, 41_000_000, 49_000_000), during)
        for name, during in (("train", train), ("infer", infer))
        if during is not None
    }
    return [*lines[:2], replace(lines[2], first_steps=steps), *lines[3:]]


def test_a_row_has_preliminary_figures_from_its_verification_on_and_its_own_take_their_place(make):
    lines = with_first_steps(run_of(make))
    drawn = after(lines, 3)
    assert "~ numpy 2.4" in row(drawn, "numpy")
    assert ["41.0", "ms", "1,561"] == row(drawn, "numpy").split()[4:7]
    assert "median (preliminary)" in drawn[0]
    assert drawn[-1].startswith("~ preliminary: verified, then timed alone for a moment")
    # nothing is compared before the rounds
    assert "×" not in "".join(drawn)
    assert "█" not in "".join(drawn)
    assert "to be verified" in row(drawn, "tensorflow")
    drawn = after(lines, 6)
    assert "✓ numpy 2.4" in row(drawn, "numpy")
    assert "36.0 ms" in row(drawn, "numpy")
    assert "preliminary" not in "".join(drawn)
    whole = after(lines, 99)
    assert whole == after(run_of(make), 99)


def test_preliminary_figures_say_that_the_machine_was_disturbed(make):
    assert "~! numpy 2.4" in row(after(with_first_steps(run_of(make), BURNING), 3), "numpy")


def test_a_row_that_is_still_preliminary_is_told_from_those_that_have_been_timed(make):
    lines = with_first_steps(run_of(make))
    # TensorFlow's first process is there before NumPy's
    drawn = after([*lines[:5], lines[6]], 99)
    assert "preliminary" in row(drawn, "numpy")
    assert "1 process" in row(drawn, "tensorflow")
    assert row(drawn, "numpy").split()[0] == "~"
    assert row(drawn, "tensorflow").split()[0] == "✓"
    assert "×" not in "".join(drawn)


def test_first_steps_without_a_duration_are_no_figures(make):
    lines = run_of(make)
    nothing = {"train": FirstSteps((0, 0), QUIET)}
    drawn = after([*lines[:2], replace(lines[2], first_steps=nothing)], 3)
    assert "verified (largest error 3.1e-07), to be timed" in row(drawn, "numpy")


@pytest.mark.parametrize("width", [80, 110, 140])
def test_every_beginning_of_a_run_can_be_drawn_in_any_width(make, width):
    lines = with_first_steps(run_of(make))
    for count in range(len(lines) + 1):
        assert all(cell_len(line) <= width for line in after(lines, count, width=width))


def test_what_is_higher_than_the_terminal_is_cut_and_says_so(make):
    cases = [make.case("numpy", batch=size) for size in range(1, 41)]
    lines = [make.header(cases), *map(make.verification, cases)]
    drawn = after(lines, 99, height=20)
    assert 17 == len(drawn)
    assert drawn[-1].startswith("  … ")
    assert drawn[-1].endswith(" lines more")


def test_of_modes_that_are_tried_those_that_are_not_gone_on_with_leave_the_table(make):
    eager, compiled = make.case("torch"), make.case("torch", mode="compile")
    header = make.header((eager, compiled), best=True)
    tried = [Trial(make.process(each, 0)) for each in (eager, compiled)]
    drawn = after([header, *tried], 99)
    assert ["tried", "tried"] == [line.rpartition(" ")[2] for line in drawn if "torch" in line]
    drawn = after([header, *tried, make.verification(compiled), Choice((compiled,))], 99)
    drawn = after(
        [
            header,
            *tried,
            make.verification(compiled),
            Choice((compiled,)),
            make.process(compiled, 1),
        ],
        99,
    )
    assert ["compile"] == [line.split()[4] for line in drawn if "torch" in line]


def test_a_record_that_is_completed_begins_with_what_it_has(make):
    header, *lines = run_of(make)
    held = make.measured(header.cases, lines[:6], rounds=2)
    drawn = LiveTable(console(), held).text.plain.splitlines()
    assert "36.0 ms" in row(drawn, "numpy")


def test_the_progress_line_stands_beneath_the_table(make):
    stream = io.StringIO()
    live = LiveProgress(Console(file=stream, force_terminal=True, width=140, height=40))
    with live.display:
        for line in run_of(make)[:6]:
            live.line(line)
        live.phase(make.case("tensorflow"), 1, "measure")
        shown = Text.from_ansi(stream.getvalue()).plain
    table, beneath, _ = shown.rpartition("tensorflow:cpu/graph/train/64 · round 1 · measure")
    assert beneath
    assert "36.0 ms" in table
