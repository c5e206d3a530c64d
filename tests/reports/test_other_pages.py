"""Pages of verdicts, and what starting the program must not load."""

import subprocess
import sys
from typing import Any

import pytest
import report_records

from dlbench.compare.verdicts import CaseVerdict, Verdicts
from dlbench.plugins import VERDICTS, load_reporter
from dlbench.record.comparability import Difference

pytest.importorskip("altair", reason="the extra charts is not installed")
pytest.importorskip("vl_convert", reason="the extra charts is not installed")


def verdicts(**changes: Any) -> Verdicts:
    cases = (
        CaseVerdict("torch/infer", "slower", 0.010, 0.0106, 1.06, 1.048, 1.072, "16 pairs", "why"),
        CaseVerdict("numpy/train", "same", 0.030, 0.0301, 1.004, 0.994, 1.013, "12 pairs"),
        CaseVerdict("gone", "missing", 0.030, None, reason=report_records.HOSTILE),
    )
    return Verdicts("main", "working tree", 0.03, cases, **changes)


def test_verdicts_are_a_page_with_the_answer_first() -> None:
    page = load_reporter("html", VERDICTS)(verdicts())
    assert page.index("exit 1: ") < page.rindex("The cases")
    assert "+6.0 % [+4.8, +7.2] SLOWER" in page
    assert page.count("<script>") == 1
    assert "<img" not in page


def test_sides_that_are_unlike_are_named_on_the_page() -> None:
    unlike = (Difference("cpu", "one", "another"),)
    page = load_reporter("html", VERDICTS)(verdicts(differences=unlike))
    assert "advisory only" in page
    assert "cpu: one in the base, another in the new one" in page


def test_the_program_starts_without_what_draws() -> None:
    code = (
        "import sys; from dlbench.cli.main import cli; from click.testing import CliRunner; "
        "assert CliRunner().invoke(cli, ['report', '--help']).exit_code == 0; "
        "print(sorted({'altair', 'vl_convert', 'jinja2'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
