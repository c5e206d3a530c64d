"""The page on networks of one's own: its example gives the suite that it shows, and its mistake is told as it says."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("torch")

from dlbench.cli.main import cli

PAGE = Path(__file__).resolve().parents[2] / "docs" / "own-networks.md"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in zip(("mynet.py", "wrong.py"), blocks("python"), strict=True):
        (tmp_path / name).write_text(text)
    return lambda *words: CliRunner().invoke(cli, ["import-torch", *words, "--input", "3,96,96"])


def test_the_example_gives_the_suite_that_is_shown(run, tmp_path):
    done = run("mynet.py:make", "--output", "mynet.toml")
    assert 0 == done.exit_code, done.output
    (shown,) = blocks("toml")
    first, last = re.split(r"# … .*\n\n", shown)
    made = (tmp_path / "mynet.toml").read_text("utf-8")
    assert made.startswith(first)
    assert made.endswith(last)
    assert "73,258 parameters" in done.stderr
    assert "73,258 parameters" in PAGE.read_text("utf-8")


def test_the_mistake_is_told_as_the_page_says(run):
    (told,) = blocks("text")
    assert told == run("wrong.py:make").stderr
