"""What a person who waits sees, and what is spared who does not want to."""

import io
from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console
from windows import QUIET

from dlbench.cli.progress import LiveProgress, PlainProgress, progress
from dlbench.execute.events import Observer
from dlbench.record.facts import FirstSteps
from dlbench.record.schema import Skip, Training
from dlbench.text import duration, one_line, plural, why


class Clock:
    """A clock that stands until it is moved."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def act(observer: Observer, make: Any, clock: Clock) -> None:
    """A short run: one case verified and measured, one that is wrong, one that cannot run."""
    good, wrong, absent = make.case("numpy"), make.case("acme"), make.case("cupy", "cuda")
    observer.phase(None, None, "prepare")
    observer.planned((good, wrong, absent), 40.0)
    observer.line(Skip(absent, "no CUDA device", "pip install cupy"))
    observer.phase(None, None, "oracle")
    observer.phase(good, None, "import")
    observer.phase(good, None, "verify")
    observer.line(make.verification(good))
    clock.now_s = 10.0
    observer.line(make.verification(wrong, "unverified", "gradient of\nconv2.bias is 0"))
    observer.phase(good, 1, "warm-up")
    observer.phase(good, 1, "measure")
    observer.line(make.process(good, 1, 0.036))
    observer.line(Training(good, "ok", "", 1, (), (), 0.9712))
    observer.message("a sentence for people")


def test_without_a_terminal_everything_that_ended_has_a_plain_line(make: Any) -> None:
    stream, clock = io.StringIO(), Clock()
    act(PlainProgress(stream, clock), make, clock)
    assert stream.getvalue().splitlines() == [
        "preparing data and weights",
        "3 cases, about 40 s",
        "– cupy:cuda/train/64: no CUDA device: pip install cupy",
        "computing the float64 reference",
        "✓ numpy:cpu at batch 64 verified · about 40 s left",
        "✗ acme:cpu/train/64: unverified: gradient of conv2.bias is 0 · about 30 s left",
        "  numpy:cpu/train/64 round 1: 36 ms, 21 steps · about 30 s left",
        "  numpy:cpu/train/64 trained for 1 epoch, test accuracy 97.12 %",
        "a sentence for people",
    ]


def test_a_round_that_was_measured_again_says_so(make: Any) -> None:
    stream, case = io.StringIO(), make.case()
    progress = PlainProgress(stream, Clock())
    for attempt in range(2):
        progress.line(replace(make.process(case, 2, 0.036), attempt=attempt))
    first, second = stream.getvalue().splitlines()
    assert " round 2: 36 ms" in first
    assert " round 2 again: 36 ms" in second


def test_first_steps_of_a_verification_are_told_as_preliminary(make: Any) -> None:
    stream = io.StringIO()
    steps = {"train": FirstSteps((41_000_000, 40_000_000, 90_000_000), QUIET)}
    verified = replace(make.verification(make.case()), first_steps=steps)
    PlainProgress(stream, Clock()).line(verified)
    told = "✓ numpy:cpu at batch 64 verified; preliminary: train 41.0 ms a step\n"
    assert told == stream.getvalue()


def test_on_a_terminal_case_round_phase_and_time_left_are_shown_and_troubles_stay(
    make: Any,
) -> None:
    stream, clock = io.StringIO(), Clock()
    live = LiveProgress(Console(file=stream, force_terminal=True, width=100), clock)
    with live.display:
        act(live, make, clock)
    drawn = stream.getvalue()
    assert "numpy:cpu/train/64 · round 1 · measure · about 30 s left" in drawn
    assert "numpy:cpu/train/64 · import · about 40 s left" in drawn
    assert "✗ acme:cpu/train/64: unverified: gradient of conv2.bias is 0" in drawn
    assert "a sentence for people" in drawn


def test_an_estimate_that_has_run_out_says_so_and_never_counts_below_zero(make: Any) -> None:
    stream, clock = io.StringIO(), Clock()
    observer = PlainProgress(stream, clock)
    observer.planned((make.case(),), 5.0)
    clock.now_s = 60.0
    observer.line(make.verification(make.case()))
    assert stream.getvalue().splitlines()[-1].endswith("longer than estimated")


def test_what_was_measured_takes_the_place_of_the_estimate(make: Any) -> None:
    stream, clock = io.StringIO(), Clock()
    observer = PlainProgress(stream, clock)
    observer.planned((make.case(),), 5.0)
    clock.now_s = 60.0
    observer.time_left(120.0)
    clock.now_s = 90.0
    observer.line(make.verification(make.case()))
    assert stream.getvalue().splitlines()[-1].endswith("about 90 s left")


def test_quiet_says_nothing(make: Any) -> None:
    stream = io.StringIO()
    with progress(stream, quiet=True) as observer:
        act(observer, make, Clock())
    assert stream.getvalue() == ""


def test_a_stream_that_is_no_terminal_gets_plain_lines() -> None:
    stream = io.StringIO()
    with progress(stream) as observer:
        observer.message("hello")
    assert stream.getvalue() == "hello\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "1 s"), (0.4, "1 s"), (41.4, "41 s"), (99, "99 s"), (150, "2 min"), (3600, "60 min")],
)
def test_times_to_wait_are_told_as_exactly_as_needed(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_counts_reasons_and_foreign_text_are_worded() -> None:
    assert [plural(n, "process") for n in (0, 1, 2000)] == [
        "0 processes",
        "1 process",
        "2,000 processes",
    ]
    assert why("not here", "do this") == "not here: do this"
    assert why("not here: do this", "do this") == "not here: do this"
    assert why("", "") == "no reason was given"
    assert one_line("a\x1b[1m\r\n\tb\0") == "a [1m b"
