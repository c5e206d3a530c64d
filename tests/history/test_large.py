"""Histories with more rows than are shown: answered by a few queries, which read little of them."""

import large_history
import sqlalchemy

from dlbench.history.series import view
from dlbench.history.store import Store

CASES = large_history.CASES


def statements_of(place, *words, last=20):
    """What is shown, and how many statements the database was given for it."""
    with Store(place) as store:
        said = []
        sqlalchemy.event.listen(
            store._base.engine, "before_cursor_execute", lambda *told: said.append(told[2])
        )
        return view(store, words, last), said


def test_many_series_take_as_many_queries_as_one(tmp_path):
    large_history.make(tmp_path / "h.sqlite", machines=2, records=30)
    every, said = statements_of(tmp_path / "h.sqlite")
    one, said_of_one = statements_of(tmp_path / "h.sqlite", "torch:cpu/train/64", "CPU 1")
    assert len(said) == len(said_of_one) <= 5
    assert 2 * CASES == len(every.series)
    assert {(30, 20)} == {(series.total, len(series.points)) for series in every.series}
    assert all(series in every.series for series in one.series)
    # the last ones, in the order of time
    whole, _ = statements_of(tmp_path / "h.sqlite", "CPU 1", "torch:cpu/train/64", last=None)
    assert whole.series[0].points[10:] == one.series[0].points
    assert [f"{n}.jsonl" for n in range(31, 61)] == [p.name for p in whole.series[0].points]


def test_of_rows_that_were_begun_at_once_no_more_are_shown_than_were_asked_for(tmp_path):
    large_history.make(tmp_path / "h.sqlite", machines=1, records=5, hours=0)
    found, _ = statements_of(tmp_path / "h.sqlite", "numpy:cpu/infer/16", last=2)
    assert ["4.jsonl", "5.jsonl"] == [point.name for point in found.series[0].points]
