"""The page on data: its suite takes a folder as the page lays it out, and the names it lists are those there are."""

import re
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from PIL import Image

from dlbench.cli.main import cli
from dlbench.cli.options import DATA

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text("utf-8")


def lay(folder):
    for number, name in enumerate(("circle", "cross", "square")):
        (folder / name).mkdir(parents=True)
        for i in range(12):
            pixels = np.full((40 + i, 50, 3), 60 * number + i, np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i:03}.jpg")


def test_the_suite_of_the_page_takes_a_folder_of_jpegs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lay(tmp_path / "photos")
    (suite,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.M | re.S)
    (tmp_path / "photos.toml").write_text(suite)
    words = ["--suite", "photos.toml", "--data-dir", "photos", "--backend", "numpy", "--batch", "8"]
    done = CliRunner().invoke(cli, ["run", *words, "--dry-run"])
    assert 0 == done.exit_code, done.output
    assert "numpy:cpu/train/8" in done.output
    (tmp_path / "photos" / "cross" / "notes.txt").write_text("odd")
    done = CliRunner().invoke(cli, ["run", *words, "--dry-run"])
    assert 2 <= done.exit_code
    assert "cross/notes.txt: is no file called" in done.output


def test_every_data_set_has_its_line():
    told = re.findall(r"^\| (`.*?) \|", PAGE, re.M)
    assert {*DATA} == {*re.findall(r"`([\w-]+)`", " ".join(told[1:]))}
