"""What a training says class by class is what scikit-learn says of the same labels and answers."""

import json

import numpy as np
import pytest
from sklearn import metrics

from dlbench.analyse.table import build
from dlbench.analyse.training.classes import confusion
from dlbench.record.schema import Training
from dlbench.spec.workload import read_workload
from dlbench.worker.training import judge

CLASSES = 7
CLASSIFIER = read_workload(
    {
        "input_shape": [3],
        "layers": [{"type": "linear", "out_features": CLASSES}],
        "optimizer": {"type": "sgd", "learning_rate": 0.1},
    }
)


def answered(truths, answers, case, **changes):
    """A training whose logits gave these answers, as a worker judges them."""
    judged = judge(CLASSIFIER, np.eye(CLASSES, dtype=np.float32)[answers], np.asarray(truths))
    return Training(
        *(case, "ok", "", 1, (1.0, 1.0), (0.5,), judged.accuracy, judged.loss, 1.0),
        answers=judged.answers,
        wrong=judged.wrong,
        true_classes=judged.true_classes,
        epoch_s=(1.0,),
        **changes,
    )


def drawn(seed):
    """Labels of a few uneven classes and answers of others: some are never there, some are never given."""
    random = np.random.default_rng(seed)
    labels = random.choice(random.permutation(CLASSES)[:5], 60, p=[0.5, 0.3, 0.1, 0.06, 0.04])
    answers = np.where(random.random(60) < 0.6, labels, random.integers(0, CLASSES - 1, 60))
    return labels, answers


@pytest.mark.parametrize("seed", range(12))
def test_it_is_what_scikit_learn_says(make, seed):
    labels, answers = drawn(seed)
    found = confusion(answered(labels, answers, make.case()))
    occurring = sorted({*labels.tolist(), *answers.tolist()})
    assert occurring == list(found.labels)
    np.testing.assert_array_equal(metrics.confusion_matrix(labels, answers), found.matrix)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(labels, answers))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(labels, answers, average="macro"))
    precision, recall, f1, samples = metrics.precision_recall_fscore_support(
        labels, answers, zero_division=np.nan
    )
    for of, p, r, f, count in zip(found.classes, precision, recall, f1, samples, strict=True):
        assert of.precision == (None if np.isnan(p) else pytest.approx(p))
        assert of.recall == (None if np.isnan(r) else pytest.approx(r))
        assert of.f1 == pytest.approx(f)
        assert of.samples == count


def test_all_right_confuses_nothing(make):
    found = confusion(answered([0, 3, 3], [0, 3, 3], make.case()))
    assert (1.0, 1.0, None) == (found.accuracy, found.macro_f1, found.most_confused)


def test_the_most_confused_class_has_its_own_samples_beside_it(make):
    found = confusion(answered([0, 0, 0, 1, 1, 2], [1, 1, 0, 1, 0, 2], make.case()))
    assert (0, 1, 2, 3) == found.most_confused


def test_a_record_that_does_not_say_what_was_right_has_no_matrix(make):
    line = Training(make.case(), "ok", "", 1, (1.0,), answers=(0, 1), wrong=(1,))
    assert confusion(line) is None
    assert confusion(Training(make.case(), "ok", "", 1, (1.0,))) is None


def test_reports_have_it_where_it_is_asked_for(make):
    from dlbench.reports.run import json_rows, markdown, terminal

    case = make.case()
    lines = [
        make.verification(case),
        *(make.process(case, number) for number in (1, 2, 3)),
        answered([0, 0, 0, 1, 1, 2], [1, 1, 0, 1, 0, 2], case, seed=0),
    ]
    record = make.measured([case], lines, epochs=1)
    report = build([("a.jsonl", record)])
    (row,) = report.rows
    assert row["macro_f1"] == pytest.approx((0.4 + 0.4 + 1) / 3)
    short = terminal.render(report, width=200)
    assert "2 of 3 of class 0 were taken for 1" in short
    assert "60.00 %" in short
    assert "by class" not in short
    assert "by class" not in markdown.render(report)
    long = markdown.render(build([("a.jsonl", record)], by_class=True))
    assert "| 0 | 1 | 2 | · | 3 | 50.0 % | 33.3 % | 40.0 % |" in " ".join(long.split())
    (told,) = json.loads(json_rows.render(report))["by_class"]
    assert [[1, 2, 0], [1, 1, 0], [0, 0, 1]] == told["confusion"]
    assert [0, 1, 2] == told["labels"]
    assert told["macro_f1"] == pytest.approx(0.6)
