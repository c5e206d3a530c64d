import pytest
from msgspec.structs import replace

from dlbench.record import schema as r
from dlbench.tuning.points import series_of

FIELD = "training.optimizer.learning_rate"


@pytest.fixture
def timed(make):
    """A point's record: processes around a step's time."""

    def timed(value, *steps_s, batch=64, **header):
        case = replace(make.case(), batch=batch)
        lines = [make.verification(case)]
        lines += [make.process(case, number, each) for number, each in enumerate(steps_s, 1)]
        return {"batch": value}, make.measured([case], lines, **header)

    return timed


@pytest.fixture
def trained(make):
    """A point's record: a training, and which of a thousand test samples it got wrong."""

    def trained(rate, accuracy, wrong, **more):
        case = make.case()
        training = r.Training(
            case,
            "ok",
            "",
            epochs=2,
            losses=(1.0, 0.5),
            validation_accuracy=(0.5, accuracy),
            test_accuracy=1 - len(wrong) / 1000,
            test_loss=0.1,
            answers=(0,) * 1000,
            wrong=tuple(wrong),
            epoch_s=(1.5, 1.0),
        )
        lines = [make.verification(case), replace(training, **more)]
        return {FIELD: rate}, make.measured([case], lines, epochs=2, rounds=0)

    return trained


def places(records, fields):
    [series] = series_of(records, fields)
    return [each.place for each in series.tried]


def test_the_most_samples_a_second_are_best_and_what_is_not_told_apart_is_named(timed):
    records = [
        timed(32, 0.040, 0.041, 0.042, batch=32),
        timed(64, 0.050, 0.051, 0.052),
        timed(128, 0.100, 0.104, 0.099, batch=128),
    ]
    assert ["behind", "not apart", "best"] == places(records, ["batch"])


def test_a_single_process_tells_nothing_apart(timed):
    assert ["not apart", "best"] == places([timed(1, 0.9), timed(2, 0.1)], ["batch"])


def test_an_accuracy_is_held_against_the_best_on_the_same_samples(trained):
    records = [
        trained(0.1, 0.90, range(100)),
        trained(0.2, 0.95, range(50)),
        # as many right, and on nearly the same samples
        trained(0.3, 0.949, range(2, 53)),
    ]
    assert ["behind", "best", "not apart"] == places(records, [FIELD])
    [series] = series_of(records, [FIELD])
    assert "accuracy" == series.criterion
    assert {FIELD: 0.2} == series.best.point
    assert (2.5, 0.95) == (series.best.training_s, series.best.test_accuracy.value)


def test_what_failed_or_was_not_verified_is_neither_best_nor_lost(trained, make):
    case = make.case()
    wrong = make.measured([case], [make.verification(case, "unverified", "gradient is off")])
    failed = trained(9.0, 0.99, (), status="failed", reason="the loss is not finite in step 3")
    [series] = series_of([({FIELD: 1}, wrong), trained(0.1, 0.9, range(100)), failed], [FIELD])
    assert ["no figure", "best", "no figure"] == [each.place for each in series.tried]
    assert ["gradient is off", "", "the loss is not finite in step 3"] == [
        each.problem for each in series.tried
    ]


def test_rows_that_differ_in_what_was_varied_are_one_and_others_are_not(make):
    cases = [
        replace(make.case(), precision=precision, batch=batch, scenario=scenario)
        for precision, batch, scenario in (
            ("fp32", 1, "train"),
            ("bf16", 8, "train"),
            ("fp32", 1, "infer"),
        )
    ]
    records = [
        ({"precision": case.precision, "batch": case.batch}, make.measured([case], []))
        for case in cases
    ]
    labels = [series.label for series in series_of(records, ["precision", "batch"])]
    assert ["numpy:cpu/train", "numpy:cpu/infer"] == labels
