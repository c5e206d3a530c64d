"""What a value becomes in a cell of CSV."""

import csv
import io

import pytest

from dlbench.text import in_spreadsheet


@pytest.mark.parametrize("text", ["a" * 200_000, "=" + "a" * 200_000, "a\n" * 100_000])
def test_a_text_is_no_longer_than_a_spreadsheet_takes(text):
    target = io.StringIO()
    csv.writer(target).writerow([in_spreadsheet(text)])
    [[cell]] = csv.reader(io.StringIO(target.getvalue()))
    assert len(cell) <= 32_767
    assert cell.endswith("a")
    assert not cell.startswith("=")


@pytest.mark.parametrize("value", [None, 0.5, 7, True, "", "short"])
def test_all_else_stays_as_it_is(value):
    assert in_spreadsheet(value) == value
