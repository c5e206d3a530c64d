"""Weights that one backend was trained to, run by another: what agrees, and what is caught."""

import json

import pytest

pytest.importorskip("safetensors")

from click.testing import CliRunner

from dlbench.cli.frameworks.portability import as_table, describe
from dlbench.cli.main import cli
from dlbench.portability.carrying import carry_all
from dlbench.spec.suite import load_suite


@pytest.mark.parametrize("words", [("--scenario", "infer"), ("--precision", "int8")])
def test_what_is_no_matter_of_carrying_is_refused(words):
    found = CliRunner().invoke(cli, ["portability", "--suite", "smoke", *words])
    assert 2 == found.exit_code
    assert "error: portability " in found.output


@pytest.fixture(scope="module")
def carried(request_for):
    """Every pair of these backends, on made-up digits."""
    kept = {}

    def carried(*backends):
        if backends not in kept:
            kept[backends] = carry_all(
                request_for(
                    suite=load_suite("smoke"),
                    backends=backends,
                    scenarios=("train", "infer"),
                    batches=(32,),
                    epochs=1,
                    rounds=0,
                    data="stand-in-mnist",
                ),
                steps=12,
            )
        return kept[backends]

    return carried


def by_backend(found):
    return {(each.trained.backend, each.ran.backend): each for each in found}


def test_right_backends_give_the_same_in_all_directions(carried):
    found = carried("numpy", "numpy-plain")
    assert 4 == len(found)
    for each in found:
        assert each.agrees, describe(found)
        assert 0 <= each.share <= 1
        assert 0 == each.others
        assert 0 < each.accuracy < 1
    told = describe(found)
    assert 5 == len(told.splitlines())
    assert "numpy-plain:cpu" in told
    assert [True] * 4 == [each["agrees"] for each in json.loads(json.dumps(as_table(found)))]


def test_kernels_that_are_told_flipped_do_not_pass_for_weights(carried):
    found = by_backend(carried("carries:TellsFlipped", "numpy"))
    # with NumPy's weights it computes another network, and at its own too: what it was given is not what it computes
    assert found["numpy", "numpy"].agrees
    assert not found["carries:TellsFlipped", "carries:TellsFlipped"].agrees
    assert not found["carries:TellsFlipped", "numpy"].agrees
    assert not found["numpy", "carries:TellsFlipped"].logits.passed


def test_old_weights_do_not_answer_as_the_session_did_that_was_trained(carried):
    found = by_backend(carried("carries:TellsOld", "numpy"))
    for ran in ("carries:TellsOld", "numpy"):
        each = found["carries:TellsOld", ran]
        # the oracle has nothing against the logits at the weights that were told
        assert each.logits.passed
        assert each.others > 0
        assert not each.agrees


def test_a_bias_that_is_left_at_zero_is_seen_where_the_weights_arrive(carried):
    found = by_backend(carried("carries:IgnoresOne", "numpy"))
    wrong = found["numpy", "carries:IgnoresOne"]
    assert not wrong.logits.passed
    assert wrong.share > 1
    assert (
        "✗ numpy:cpu → carries:IgnoresOne:cpu: logits at the weights that were given"
        in describe(tuple(found.values()))
    )


def test_a_backend_that_does_not_train_still_runs_the_weights_of_others(carried):
    found = by_backend(carried("carries:TrainsNothing", "numpy"))
    assert found["numpy", "carries:TrainsNothing"].agrees
    for ran in ("numpy", "carries:TrainsNothing"):
        assert "no training today" in found["carries:TrainsNothing", ran].reason
