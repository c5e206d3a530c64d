"""A case that infers in a short precision answers the test part at the weights that float32's training ended with."""

import dataclasses

import pytest

from dlbench.execute import runner
from dlbench.execute.stages.quality import answer, train
from dlbench.execute.tasks import Held, Task, weights_for
from dlbench.record.case import Case
from dlbench.record.file import Writer
from dlbench.record.schema import Answers, Training
from dlbench.spec.suite import load_suite

BACKEND = "precisions:Coarse"


def case(scenario, precision="fp32", **changes):
    fields = {"suite": "smoke", "backend": BACKEND, "device": "cpu", "batch": 16, "threads": 1}
    return Case(scenario=scenario, precision=precision, **(fields | changes))


CASES = [case("train"), case("train", "bf16"), case("infer"), case("infer", "bf16")]


@pytest.fixture
def context(request_for, tmp_path):
    """A run of one epoch on made-up digits."""
    request = dataclasses.replace(
        request_for(backends=(BACKEND,), epochs=1, batches=(16,), data="stand-in-mnist"),
        suite=load_suite("smoke"),
    )
    writer = Writer(tmp_path / "record.jsonl")
    with runner._context(request, writer, None) as context:
        context.lines = []
        context.observer.line = context.lines.append
        yield context
    writer.close()


def test_answers_of_a_short_precision_are_at_the_weights_of_float32(context):
    assert CASES == answer(context, train(context, CASES))
    *trained, answered = context.lines
    assert [Training, Training, Answers] == [type(line) for line in context.lines]
    assert (CASES[3], CASES[0]) == (answered.case, answered.weights_of)
    assert len(answered.answers) == len(trained[0].answers) > 100
    changed = sum(a != b for a, b in zip(answered.answers, trained[0].answers, strict=True))
    # two bits tell most classes apart, and not all
    assert 0 < changed < len(answered.answers) / 2
    right = 1 - len(trained[0].wrong) / len(trained[0].answers)
    assert right == pytest.approx(trained[0].test_accuracy)


def test_a_run_that_is_gone_on_with_trains_again_for_weights_and_tells_nothing_twice(context):
    context.held = Held(tasks=frozenset(Task(Training, each) for each in CASES[:2]))
    answer(context, train(context, CASES))
    (answered,) = context.lines
    assert "ok" == answered.status
    context.held = context.held.knowing(Task(Answers, CASES[3]))
    answer(context, CASES)
    assert [answered] == context.lines


def test_weights_come_from_the_own_backend_and_else_from_who_was_trained():
    own, other = case("train"), case("train", backend="numpy")
    asked = case("infer", "int8")
    assert own == weights_for(asked, [other, own, asked])
    assert other == weights_for(asked, [other, asked])
    assert weights_for(asked, [case("train", "bf16"), asked]) is None
    assert weights_for(asked, [case("train", batch=32), asked]) is None
    assert weights_for(case("infer"), [own]) is None
    assert weights_for(own, [own]) is None
