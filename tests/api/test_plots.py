"""Charts of results: the ones that the command line draws."""

import pytest
from click.testing import CliRunner

import dlbench
from dlbench.api.plots import Plots
from dlbench.cli import main
from dlbench.plugins import CHARTS, reporter_names


@pytest.fixture
def results(make, write_record, tmp_path):
    """Two rows that went well."""
    cases = [make.case("numpy"), make.case("tensorflow")]
    lines = [make.verification(case) for case in cases]
    lines += [make.process(case, number) for number in (1, 2, 3) for case in cases]
    return dlbench.load(write_record(tmp_path / "run.jsonl", make.measured(cases, lines)))


def test_a_chart_is_the_file_that_the_command_line_draws(results, tmp_path):
    chart = results.plot.speedup()
    command = ["report", *results.paths, "--chart", "speedup", "--output"]
    for form in ("svg", "png"):
        theirs = tmp_path / f"theirs.{form}"
        assert 0 == CliRunner().invoke(main.cli, [*command, str(theirs)]).exit_code
        assert theirs.read_bytes() == chart.save(tmp_path / f"ours.{form}").read_bytes()
    assert chart.svg() == chart._repr_svg_()
    assert chart.png().startswith(b"\x89PNG")
    assert "<chart speedup>" == repr(chart)


def test_there_is_a_method_for_every_chart_but_the_table():
    methods = {name.replace("_", "-") for name in vars(Plots) if not name.startswith("_")}
    assert set(reporter_names(CHARTS)) - {"table"} <= methods


def test_what_cannot_be_drawn_says_how_to_get_it(results, tmp_path):
    with pytest.raises(dlbench.UsageError, match="dlbench profile"):
        results.plot.layers()
    with pytest.raises(dlbench.UsageError, match="did you mean 'speedup'"):
        results.plot.chart("speedups")
    with pytest.raises(dlbench.UsageError, match=r"ends with \.svg or \.png"):
        results.plot.time().save(tmp_path / "a.gif")
