"""Bars beside speed-ups in a terminal that has room for them."""

import pytest
from rich.cells import cell_len

from dlbench.analyse.table import build
from dlbench.plugins import load_reporter


@pytest.fixture
def shown(make):
    """The first table of a record of three backends, torch not verified, in a width."""

    def shown(width, slow_s=0.072, form="terminal"):
        good, slow, wrong = make.case("numpy"), make.case("tensorflow"), make.case("torch")
        lines = [make.verification(good), make.verification(slow)]
        lines.append(make.verification(wrong, "unverified", "gradient is 0"))
        for number in (1, 2, 3):
            lines += [make.process(good, number, 0.036), make.process(slow, number, slow_s)]
            lines.append(make.process(wrong, number, 0.001))
        report = build([("a.jsonl", make.measured([good, slow, wrong], lines))])
        return load_reporter(form)(report, width=width).partition(" telemetry over")[0]

    return shown


def bars(text):
    """By backend, how long its bar is in eighths of a character."""
    eighths = {character: 8 - number for number, character in enumerate("█▉▊▋▌▍▎▏")}
    rows = [line for line in text.splitlines() if line.startswith(("  ✓", "  ✗"))]
    return {line.split()[1]: sum(eighths.get(c, 0) for c in line) for line in rows}


def test_a_bar_is_as_long_as_its_speed_up_is_great(shown):
    found = bars(shown(140))
    assert found["numpy"] >= 8 * 10
    assert found["numpy"] / 2 == pytest.approx(found["tensorflow"], abs=1)


def test_what_is_not_verified_has_no_bar(shown):
    assert 0 == bars(shown(140))["torch"]


def test_the_shortest_bar_is_seen(shown):
    assert 1 == bars(shown(140, slow_s=36.0))["tensorflow"]


@pytest.mark.parametrize(("width", "form"), [(100, "terminal"), (140, "markdown"), (140, "csv")])
def test_where_there_is_no_room_or_no_terminal_there_are_none(shown, width, form):
    assert not set("█▏") & set(shown(width, form=form))


def test_with_bars_a_table_still_fits_and_nothing_nameless_is_told_to_be_hidden(shown):
    for width in range(80, 200, 5):
        with_bars = shown(width)
        # a command stays on one line, to be pasted
        prose = [line for line in with_bars.splitlines() if "dlbench " not in line]
        assert all(cell_len(line) <= width for line in prose)
        assert ", ," not in with_bars
        assert "narrow: ," not in with_bars
    assert "hidden" not in shown(200)
