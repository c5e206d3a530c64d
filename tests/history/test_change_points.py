import sys

import numpy as np
import pytest

from dlbench.errors import DlbenchError
from dlbench.history import change_points
from dlbench.history.change_points import FEWEST, level_starts
from dlbench.history.rows import read_entries
from dlbench.history.series import search, view
from dlbench.history.store import Store

pytest.importorskip("ruptures")


def series(rows, seed=0, scatter=0.01):
    return 0.036 * np.exp(scatter * np.random.default_rng(seed).standard_normal(rows))


def test_a_new_level_is_found_where_it_begins():
    times = series(40)
    times[25:] *= 1.08
    assert [25] == level_starts(times)


def test_a_level_that_ends_again_has_two_change_points():
    times = series(60)
    times[20:40] *= 1.08
    assert [20, 40] == level_starts(times)


@pytest.mark.parametrize("length", [1, 2])
def test_one_or_two_rows_that_stand_out_are_no_level(length):
    times = series(40)
    times[25 : 25 + length] *= 1.5
    assert [] == level_starts(times)


def test_a_series_without_a_row_that_counts_has_no_change_point():
    assert [] == change_points.changes([])


def test_rows_that_repeat_exactly_have_no_change_point():
    assert [] == level_starts([0.036] * 30)


def test_too_few_rows_have_no_change_point():
    times = [0.036] * (FEWEST - 4) + [0.072] * 3
    assert [] == level_starts(times)


@pytest.mark.parametrize("rows", [10, 30, 100])
def test_scatter_alone_is_seldom_given_a_level(rows):
    found = [bool(level_starts(series(rows, seed))) for seed in range(100)]
    assert sum(found) <= 6


def test_a_change_point_names_its_versions_and_passes_over_what_does_not_count(write, tmp_path):
    paths = [
        write(day, 0.036 if day < 15 else 0.040, version="2.4.6" if day < 15 else "2.5.0")
        for day in range(30)
        if day != 7
    ]
    paths.append(write(7, status="unverified"))
    with Store(tmp_path / "h.sqlite", create=True) as store:
        for path in paths:
            store.add(next(read_entries(path)))
        search(store)
        (shown,) = view(store).series
    (change,) = shown.changes
    assert "2026-01-16T06:00:00+00:00" == change.created
    assert 0.040 / 0.036 == pytest.approx(change.ratio, rel=0.01)
    assert ("numpy 2.4.6 → 2.5.0",) == change.versions


def test_rows_that_came_since_the_search_are_searched_when_they_are_shown(write, tmp_path):
    with Store(tmp_path / "h.sqlite", create=True) as store:
        for day in range(15):
            store.add(next(read_entries(write(day))))
        search(store)
        assert () == view(store).series[0].changes
        for day in range(15, 30):
            store.add(next(read_entries(write(day, 0.040))))
        assert 1 == len(view(store).series[0].changes)


def test_without_the_library_nobody_looks_and_the_remedy_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "ruptures", None)
    with pytest.raises(DlbenchError, match=r"pip install 'dlbench\[history\]'"):
        change_points.level_starts(series(20))
