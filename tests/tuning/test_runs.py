"""Sweeps and searches with the NumPy backend, as a user has them carried out."""

import contextlib
import json

import optuna
import pytest
from dlbench.reports.points import json as as_json
from dlbench.reports.points import markdown, terminal

from dlbench.api.asking import request_of
from dlbench.errors import UsageError
from dlbench.execute.events import Observer
from dlbench.record.file import read_record
from dlbench.record.schema import Training
from dlbench.tuning.grid_runs import sweep
from dlbench.tuning.objective import Objective
from dlbench.tuning.search import Pruned, _best_s, _Watch, tune
from dlbench.tuning.space import read_space

RATE = "training.optimizer.learning_rate"


@pytest.fixture
def request_at(cache_dir, monkeypatch):
    """A request of the smallest suite on NumPy, trained for an epoch of the digits."""
    monkeypatch.setenv("DLBENCH_CACHE_DIR", str(cache_dir))

    def request_at(**fields):
        given = {"rounds": 0, "epochs": 2, "threads": 1, "scenarios": ("train",), "patience_s": 0.0}
        return request_of("smoke", "digits", backends=("numpy",), **(given | fields))

    return request_at


@contextlib.contextmanager
def watching():
    yield Observer()


def interrupted_at(epoch):
    """An observer in whose place somebody presses Ctrl-C."""

    class Interrupting(Observer):
        seen = 0

        def epoch(self, case, number, accuracy, train_s):
            Interrupting.seen += 1
            if Interrupting.seen == epoch:
                raise KeyboardInterrupt

    return lambda: contextlib.nullcontext(Interrupting())


def test_a_sweep_that_was_cut_off_goes_on_and_shows_every_point(request_at, tmp_path):
    space = read_space([f"{RATE}=0.0001,0.05", "seed=0,1"], ranges=False)
    said = []
    with pytest.raises(KeyboardInterrupt):
        sweep(request_at(), space, tmp_path / "s", interrupted_at(4), said.append)
    assert 2 == len(said)
    before = {path.name: path.read_bytes() for path in (tmp_path / "s").iterdir()}
    found = sweep(request_at(), space, tmp_path / "s", watching, said.append)
    complete = min(before.values(), key=len) if len(before) == 1 else max(before.values(), key=len)
    assert complete in {path.read_bytes() for path in (tmp_path / "s").iterdir()}
    [series] = found.series
    assert 4 == len(series.tried)
    assert "accuracy" == series.criterion
    assert 0.05 == series.best.point[RATE]
    assert {"behind"} == {each.place for each in series.tried if each.point[RATE] == 0.0001}
    text = terminal.render(found, width=160)
    assert f"→ best at {RATE} = 0.05" in text
    assert "| seed |" in markdown.render(found)
    assert 4 == len(json.loads(as_json.render(found))["rows"][0]["points"])
    # nothing of it is measured again
    again = sweep(request_at(), space, tmp_path / "s", watching, lambda text: None)
    assert found.series == again.series
    # and what is there of something else is not taken for this
    with pytest.raises(UsageError, match="--epochs"):
        sweep(request_at(epochs=1), space, tmp_path / "s", watching, lambda text: None)


def test_a_search_begins_with_the_suites_own_point_and_goes_on_where_it_was_cut_off(
    request_at, tmp_path
):
    space = read_space([f"{RATE}=0.0001..0.5:log"], ranges=True)
    objective, folder = Objective.read("accuracy", None), tmp_path / "t"
    with pytest.raises(KeyboardInterrupt):
        tune(request_at(), space, objective, 4, folder, interrupted_at(3), lambda text: None)
    said = []
    found = tune(request_at(), space, objective, 4, folder, watching, said.append)
    assert 4 == len(found.trials)
    assert {RATE: 0.05} == found.trials[0].point == found.own.point
    assert found.best.value >= found.own.value
    # the one that was cut off is tried again, the one before is not
    assert 3 == sum(text.count("trial") for text in said[::2])
    assert 4 == len({str(each.point) for each in found.trials})
    text = terminal.render(found, width=160)
    assert "→ best of 4 trials" in text
    assert found.best.number == json.loads(as_json.render(found))["best"]
    with pytest.raises(UsageError, match="another number of epochs"):
        tune(request_at(epochs=3), space, objective, 4, folder, watching, lambda text: None)


def test_a_search_for_time_ends_trainings_at_the_target_and_tells_what_fell_short(
    request_at, tmp_path
):
    space = read_space([f"{RATE}=0.05,0.000001"], ranges=True)
    objective = Objective.read("time-to-accuracy", 0.5)
    request = request_at(epochs=4, target_accuracy=0.5)
    found = tune(request, space, objective, 2, tmp_path / "t", watching, lambda text: None)
    best, other = found.best, next(each for each in found.trials if each is not found.best)
    assert (0.05, 0.000001) == (best.point[RATE], other.point[RATE])
    assert other.value is None
    assert "short of 50 %" in other.told or "cut short" in other.told
    [record] = [
        read_record(path)
        for path in (tmp_path / "t").glob("*.jsonl")
        if path.name.startswith(f"{RATE}=0.05")
    ]
    [training] = [line for line in record.lines if isinstance(line, Training)]
    assert training.epochs == len(training.validation_accuracy) == len(training.epoch_s)
    assert training.validation_accuracy[-1] >= 0.5
    assert all(accuracy < 0.5 for accuracy in training.validation_accuracy[:-1])
    assert best.value == sum(training.epoch_s)


def test_a_point_that_the_suite_cannot_have_is_told_and_the_search_goes_on(request_at, tmp_path):
    space = read_space(["network.layers[0].kernel=5,99"], ranges=True)
    objective = Objective.read("accuracy", None)
    found = tune(request_at(), space, objective, 3, tmp_path, watching, lambda text: None)
    assert any("kernel" in each.told for each in found.trials if each.value is None)
    assert found.best.point == {"network.layers[0].kernel": 5}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"epochs": 0}, "nothing is trained without --epochs"),
        ({"suite": "linear-mse"}, "gives values"),
    ],
)
def test_what_cannot_be_searched_is_refused_at_once(request_at, tmp_path, fields, why):
    suite = fields.pop("suite", None)
    request = request_at(**fields)
    if suite:
        request = request_of(suite, "noise", backends=("numpy",), epochs=1)
    space = read_space([f"{RATE}=0.1..1"], ranges=True)
    objective = Objective.read("accuracy", None)
    with pytest.raises(UsageError, match=why):
        tune(request, space, objective, 2, tmp_path / "t", watching, lambda text: None)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("word", "target", "why"),
    [
        ("accuracy", 0.9, "has no use for --target"),
        ("time-to-accuracy", None, "needs --target"),
        ("speed", None, "'speed' is unknown"),
    ],
)
def test_an_objective_says_what_it_needs(word, target, why):
    with pytest.raises(UsageError, match=why):
        Objective.read(word, target)


def test_a_training_that_is_worse_than_most_or_later_than_the_best_is_cut_short():
    study = optuna.create_study(
        direction="maximize", pruner=optuna.pruners.MedianPruner(2, n_warmup_steps=1)
    )
    for accuracy in (0.8, 0.9):
        trial = study.ask()
        for epoch in (1, 2):
            trial.report(accuracy, epoch)
        study.tell(trial, accuracy)
    watch = _Watch(study.ask(), Objective.read("accuracy", None), None)
    watch.epoch(1, 0.1, 1.0)
    with pytest.raises(Pruned, match=r"10\.00 % after epoch 2 is below the median"):
        watch.epoch(2, 0.1, 1.0)
    late = _Watch(study.ask(), Objective.read("time-to-accuracy", 0.9), 1.5)
    late.epoch(1, 0.85, 1.0)
    with pytest.raises(Pruned, match="epoch 2 ends later than the best"):
        late.epoch(2, 0.85, 1.0)
    reached = _Watch(study.ask(), Objective.read("time-to-accuracy", 0.9), 1.5)
    reached.epoch(1, 0.95, 2.0)


def test_the_best_time_is_that_of_a_training_that_ended_and_of_none_that_was_cut_short():
    study = optuna.create_study(direction="minimize")
    assert _best_s(study) is None
    study.tell(study.ask(), 2.5)
    cut_short = study.ask()
    cut_short.report(0.05, 0)
    study.tell(cut_short, state=optuna.trial.TrialState.PRUNED)
    assert 2.5 == _best_s(study)
