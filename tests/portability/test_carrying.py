"""Weights that one backend was trained to, run by another: what agrees, and what is caught."""

import csv
import dataclasses
import json

import pytest

pytest.importorskip("safetensors")

from click.testing import CliRunner

import dlbench
from dlbench.api.carried_weights import Portability
from dlbench.cli.main import cli
from dlbench.portability.carrying import carry_all
from dlbench.portability.forms import as_table, describe
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


def test_what_was_found_is_the_same_in_every_form(carried):
    pairs = carried("carries:TrainsNothing", "numpy")
    found = Portability(pairs)
    assert found.agrees
    assert len(pairs) == len(found) == len(json.loads(found.report("json")))
    frame = found.to_pandas()
    rows = list(csv.DictReader(found.report("csv").splitlines()))
    assert list(rows[0]) == list(frame.columns)
    known = frame[frame["reason"] == ""]
    assert [0, 0] == known["near_ties"].tolist() == known["other_answers"].tolist()
    # what is unknown is neither 0 nor a disagreement
    assert frame[frame["reason"] != ""]["near_ties"].isna().all()
    assert frame[frame["reason"] != ""]["agrees"].isna().all()
    lines = found.report("markdown").splitlines()
    assert lines[0].startswith("| trained on | run on |")
    assert 2 == sum("no training today" in line for line in lines if line.startswith("- "))
    with pytest.raises(dlbench.UsageError, match="format = 'jsn' is unknown; did you mean"):
        found.report("jsn")


def test_near_ties_are_told_and_are_no_disagreement(carried):
    pair = dataclasses.replace(carried("numpy", "numpy-plain")[0], others=0, near_ties=3)
    assert pair.agrees
    assert describe([pair]).splitlines()[1].split()[-2:] == ["0", "3"]
    assert [3] == Portability((pair,)).to_pandas()["near_ties"].tolist()
    assert Portability(()).agrees is None


def test_what_cannot_be_carried_is_refused_from_python_too():
    with pytest.raises(dlbench.UsageError, match="arithmetic that trains"):
        dlbench.portability("smoke", precisions="int8")
    with pytest.raises(dlbench.UsageError, match="steps = 0"):
        dlbench.portability("smoke", backends="numpy", steps=0)
