"""The scenario `offline`: which batch size is the best, and which cannot be told from it."""

import json

import numpy as np
import pytest

from dlbench.analyse.queries.throughput import largest
from dlbench.analyse.table import build
from dlbench.plugins import load_reporter
from dlbench.record.schema import Skip

# samples a second by batch size: more and more, until caches are full
CURVE = {1: 200.0, 2: 390.0, 4: 700.0, 8: 1_000.0, 16: 1_005.0, 32: 900.0}


def offline(make, backend, curve, rounds=4, noise=0.01, seed=0):
    """The lines of a row that works off so many samples a second at each batch size."""
    random = np.random.default_rng(seed)
    lines = []
    for batch, per_s in curve.items():
        case = make.case(backend, scenario="offline", batch=batch)
        lines.append(make.verification(case))
        for number in range(1, rounds + 1):
            seconds = batch / per_s * float(np.exp(random.normal(0, noise)))
            lines.append(make.process(case, number, seconds))
    return lines


def report(make, *parts):
    lines = [line for part in parts for line in part]
    cases = list(dict.fromkeys(line.case for line in lines))
    return build([("a.jsonl", make.measured(cases, lines, rounds=4))])


def found(told):
    (run,) = told.runs
    return largest(run.rows, run.baseline)


def test_the_best_is_named_with_those_that_cannot_be_told_from_it(make):
    (best,) = found(report(make, offline(make, "numpy", CURVE)))
    assert best.case.batch in (8, 16)
    assert {8, 16} == {best.case.batch, *(row.case.batch for row in best.alike)}
    assert list(CURVE) == [row.case.batch for row in best.points]


def test_where_one_is_better_nothing_else_is_named(make):
    (best,) = found(report(make, offline(make, "numpy", CURVE | {8: 1_500.0}, noise=0.001)))
    assert 8 == best.case.batch
    assert () == best.alike


def test_the_best_goes_by_samples_and_not_by_steps(make):
    told = report(make, offline(make, "numpy", {1: 100.0, 64: 101.0}, noise=1e-4))
    assert 64 == found(told)[0].case.batch


def test_each_is_held_against_the_baseline_at_its_own_best(make):
    told = report(
        make,
        offline(make, "numpy", CURVE),
        offline(
            make, "torch", {batch: 3 * per_s for batch, per_s in CURVE.items()} | {32: 4_000.0}
        ),
    )
    numpy, torch = sorted(found(told), key=lambda each: each.case.backend)
    assert numpy.speedup is None
    assert 32 == torch.case.batch
    assert torch.speedup.value == pytest.approx(4.0, rel=0.05)
    assert torch.speedup.interval.low < torch.speedup.value < torch.speedup.interval.high


def test_a_batch_size_that_fails_spoils_no_other_and_stays_in_the_curve(make):
    lines = offline(make, "numpy", CURVE)
    lines.append(Skip(make.case("numpy", scenario="offline", batch=64), "no room", ""))
    told = report(make, lines)
    (best,) = found(told)
    assert 64 == best.points[-1].case.batch
    (row,) = json.loads(load_reporter("json")(told))["offline"]
    assert row["best_batch"] == best.case.batch
    assert {"batch": 64, "status": "skipped"}.items() <= row["points"][-1].items()
    assert row["points"][-1]["samples_per_s"] is None
    assert row["samples_low_per_s"] < row["samples_per_s"] < row["samples_high_per_s"]
    assert row["not_told_apart"]


@pytest.mark.parametrize("form", ["terminal", "markdown", "html"])
def test_people_read_the_best_batch_and_the_curve(make, form):
    text = load_reporter(form)(report(make, offline(make, "numpy", CURVE)), width=160)
    for words in ("best batch", "not told apart", "offline, samples/s by batch size"):
        assert words in text


def test_a_scenario_of_one_batch_size_is_no_sweep_because_another_has_several(make):
    single = make.case("numpy", scenario="latency", batch=1)
    lines = [make.verification(single), *(make.process(single, n, 1e-3) for n in (1, 2, 3))]
    text = load_reporter("markdown")(report(make, offline(make, "numpy", CURVE), lines))
    assert "offline, samples/s by batch size" in text
    assert "latency, samples/s by batch size" not in text


def test_other_scenarios_have_no_such_table(make):
    told = build([("a.jsonl", make.record())])
    assert [] == found(told)
    assert "best batch" not in load_reporter("markdown")(told)
