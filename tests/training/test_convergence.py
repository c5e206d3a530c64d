"""What several trainings tell of the time to a target, and what they say where some fall short of it."""

import itertools
import math

import pytest

from dlbench.analyse.training.convergence import (
    Point,
    Way,
    converged,
    convergence,
    order_bounds,
    way_of,
)
from dlbench.analyse.training.convergence_columns import BEYOND, converge_cells
from dlbench.record.schema import Training


def way(seed, epochs, target=0.9, limit=10):
    """A training that is right in 95 % after so many epochs of 20 steps and 2 s, and in 80 % before; None for one that
    never is."""
    last = limit if epochs is None else epochs
    points = tuple(
        Point(epoch, 20 * epoch, 2.0 * epoch, 0.95 if epoch == epochs else 0.8)
        for epoch in range(1, last + 1)
    )
    return Way(seed, points, target, 0.5 * last)


@pytest.mark.parametrize("count", range(2, 40))
def test_an_interval_by_order_holds_the_median_as_often_as_counting_says(count):
    rank, coverage = order_bounds(count)
    below = [math.comb(count, k) / 2**count for k in range(count + 1)]
    # it misses where fewer than `rank` values lie below the median, or as few above
    held = sum(below[rank : count - rank + 1])
    assert coverage == pytest.approx(held, rel=1e-12)
    narrower = sum(below[rank + 1 : count - rank])
    assert rank == 1 or coverage >= 0.95
    assert narrower < 0.95


def test_an_interval_by_order_holds_the_median_in_every_arrangement_it_promises():
    # each of three values lies below or above the median with a half: two of eight arrangements miss it
    rank, coverage = order_bounds(3)
    held = [0 < sum(signs) < 3 for signs in itertools.product((0, 1), repeat=3)]
    assert (1, sum(held) / len(held)) == (rank, coverage)


def test_a_single_training_has_no_interval():
    assert (1, None) == order_bounds(1)
    cells = converge_cells(convergence([way(4, 3)]))
    assert (6.0, 60.0, 3.0) == tuple(
        cells[f"to_target_{unit}"] for unit in ("s", "steps", "epochs")
    )
    assert "to_target_low_s" not in cells
    with pytest.raises(ValueError, match="no median"):
        order_bounds(0)


def test_medians_are_over_seeds_and_evaluation_is_no_part_of_them():
    found = convergence([way(0, 4), way(1, 2), way(2, 7)])
    assert (8.0, 4.0, 14.0) == (found.seconds.value, found.seconds.low, found.seconds.high)
    assert (80, 40, 140) == (found.steps.value, found.steps.low, found.steps.high)
    assert (4, 2, 7) == (found.epochs.value, found.epochs.low, found.epochs.high)
    assert 0.75 == found.coverage
    cells = converge_cells(found)
    assert (3, 3, None) == tuple(
        cells[name] for name in ("seeds_trained", "seeds_reached", "short_of_target")
    )
    assert 2.0 == cells["evaluation_s"]


def test_a_seed_that_never_reached_the_target_is_censored_and_named():
    cells = converge_cells(convergence([way(7, 4), way(8, None), way(9, 6)]))
    assert (12.0, 8.0, None) == tuple(
        cells[f"to_target_{which}s"] for which in ("", "low_", "high_")
    )
    assert (3, 2) == (cells["seeds_trained"], cells["seeds_reached"])
    assert "seed 8 did not reach 90 % in 10 epochs (best 80.00 %)" == cells["short_of_target"]


def test_where_half_of_the_seeds_fall_short_there_is_no_median():
    for ways in ([way(0, 4), way(1, None), way(2, None)], [way(0, 4), way(1, None)]):
        cells = converge_cells(convergence(ways))
        assert cells["to_target_s"] is None
        assert 8.0 == cells["to_target_low_s"]
        assert cells["to_target_high_s"] is None


def line(case, seed, accuracies, epoch_s, **changes):
    losses = (1.0,) * 5 * len(accuracies)
    return Training(
        *(case, "ok", "", len(accuracies), losses, tuple(accuracies), 0.9, 0.3, 100.0),
        epoch_s=tuple(epoch_s),
        seed=seed,
        **changes,
    )


def test_a_curve_is_against_steps_and_their_seconds(make):
    case = make.case(scenario="converge")
    found = way_of(line(case, 3, [0.5, 0.9], [2.0, 1.5], evaluation_s=(40.0, 50.0)), 0.85)
    assert (Point(1, 5, 2.0, 0.5), Point(2, 10, 3.5, 0.9)) == found.points
    assert (found.points[1], 90.0) == (found.reached, found.evaluation_s)


def test_reports_show_the_target_the_curve_and_who_fell_short(make):
    import csv
    import io
    import json

    from dlbench.reports.run import csv_rows, json_rows, markdown, terminal

    from dlbench.analyse.table import build

    case = make.case(scenario="converge")
    lines = [
        make.verification(case),
        line(case, 0, [0.5, 0.96], [2.0, 1.5]),
        line(case, 1, [0.5, 0.6], [2.0, 1.25]),
        line(case, 2, [0.97], [2.25]),
    ]
    record = make.measured([case], lines, target_accuracy=0.95, seeds=3, epochs=2)
    report = build([("a.jsonl", record)])
    (row,) = report.rows
    assert ("ok", 3.5, 2.25, None) == tuple(
        row[name] for name in ("status", "to_target_s", "to_target_low_s", "to_target_high_s")
    )
    assert row["median_s"] is None
    for text in (terminal.render(report, width=200), markdown.render(report)):
        text = text.replace("\\", "")
        assert f"3.50 s [2.25 s, {BEYOND}]" in text
        assert "2 of 3" in text
        assert "seed 1 did not reach 95 % in 2 epochs (best 60.00 %)" in text
        assert "holds the median of all seeds with 75 %; 95 % takes 6 seeds" in text
    (of_csv,) = csv.DictReader(io.StringIO(csv_rows.render(report)))
    assert ("3.5", "2", "3") == tuple(
        of_csv[name] for name in ("to_target_s", "seeds_reached", "seeds_trained")
    )
    (of_json,) = json.loads(json_rows.render(report))["converge"]
    assert [True, False, True] == [each["reached"] for each in of_json["trainings"]]
    assert {"epoch": 2, "steps": 10, "seconds": 3.5, "accuracy": 0.96} == of_json["trainings"][0][
        "points"
    ][1]


def test_a_seed_whose_loss_blew_up_is_named_and_its_case_has_no_figures(make):
    from dlbench.analyse.table import build

    case = make.case(scenario="converge")
    reason = "the loss is not finite in step 4"
    lines = [
        make.verification(case),
        line(case, 0, [0.5, 0.96], [2.0, 1.5]),
        Training(case, "failed", reason, 2, seed=1),
    ]
    record = make.measured([case], lines, target_accuracy=0.95, seeds=2, epochs=2)
    (row,) = build([("a.jsonl", record)]).rows
    assert ("failed", f"seed 1: {reason}") == (row["status"], row["reason"])
    assert row["to_target_s"] is None


def test_records_without_a_target_have_no_trainings_to_one(make):
    case = make.case()
    assert {} == converged(make.measured([case], [line(case, None, [0.9], [1.0])]))
