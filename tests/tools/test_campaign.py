"""The campaign's tool, without the hour that it takes."""

import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def campaign():
    return importlib.import_module("gate_campaign")


def test_any_part_of_a_campaign_has_its_share_of_each_kind(campaign):
    every = campaign.plan()
    assert sum(campaign.TRIALS.values()) == len(set(every)) == len(every)
    half = [kind for kind, _ in every[: len(every) // 2]]
    for kind, count in campaign.TRIALS.items():
        assert abs(half.count(kind) - count / 2) <= 1
        assert list(range(count)) == [number for each, number in every if each == kind]


def test_a_campaign_is_not_resumed_on_another_machine(campaign, tmp_path, monkeypatch):
    path = tmp_path / "begun.jsonl"
    head = campaign.conditions() | {"created": "", "copy_bytes": 1, "copy_found": 0.05}
    path.write_text(json.dumps(head | {"cpu": "another"}) + "\n")
    with pytest.raises(SystemExit, match="another cpu"):
        campaign.resume(path, 0.0)
    path.write_text(json.dumps(head) + "\n")
    campaign.resume(path, 0.0)
    assert 1 == len(campaign.read(path))


def test_a_line_that_was_cut_off_is_done_again_and_what_is_there_is_counted(campaign, tmp_path):
    head = campaign.conditions() | {"created": "then", "copy_bytes": 1000, "copy_found": 0.05}
    trial = {
        "kind": "same",
        "at": "now",
        "exit": 0,
        "wall_s": 10.0,
        "over": "8 pairs",
        "commit": "0123",
    }
    lines = [head, trial | {"status": "same"}, trial | {"status": "slower"}]
    path = tmp_path / "begun.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"kind":"sa')
    text = campaign.report(campaign.read(path))
    [row] = [line for line in text.splitlines() if line.startswith("| same")]
    assert "2 of 60" in row
    assert "8.0 (at most 8)" in row
    assert "- same code: none of 60 fails: not held: 1 of 2 otherwise" in text
    assert "dlbench at 0123" in text
    assert sys.version.split()[0] in text


def trials(campaign, **changed):
    """A whole campaign in which all went well, but for so many trials of a kind that ended otherwise."""
    right = {"same": "same", "burn": "same", "wait": "slower", "copy": "slower"} | {
        "small": "slower"
    }
    made = []
    for kind, count in campaign.TRIALS.items():
        other, status = changed.get(kind, (0, ""))
        statuses = [status] * other + [right[kind]] * (count - other)
        made += [{"kind": kind, "wall_s": 20.0, "status": each} for each in statuses]
    return made


@pytest.mark.parametrize(
    ("changed", "broken"),
    [
        ({}, set()),
        ({"same": (1, "slower")}, {0}),
        ({"same": (6, "inconclusive")}, set()),
        ({"same": (7, "inconclusive")}, {1}),
        ({"wait": (2, "inconclusive"), "copy": (1, "same")}, set()),
        ({"wait": (2, "inconclusive"), "copy": (2, "same")}, {2}),
        ({"small": (6, "inconclusive")}, set()),
        ({"small": (7, "inconclusive")}, {3}),
        ({"burn": (40, "inconclusive")}, set()),
        ({"burn": (1, "slower")}, {4}),
        ({"burn": (1, "failed")}, {4}),
    ],
)
def test_a_whole_campaign_says_which_promise_was_held(campaign, changed, broken):
    found = campaign.promises(trials(campaign, **changed))
    assert broken == {
        number for number, (_, told) in enumerate(found) if told.startswith("not held")
    }
    assert {"held", "not held"} >= {told.partition(":")[0] for _, told in found}


def test_a_gate_that_took_too_long_breaks_a_promise_and_what_is_not_done_leaves_it_open(campaign):
    done = trials(campaign)[:-1]
    assert ["held", "held", "held", "open", "held", "open"] == [
        told.partition(":")[0] for _, told in campaign.promises(done)
    ]
    done[0]["wall_s"] = 60.1
    assert "not held: 1 of 189 otherwise" == campaign.promises(done)[-1][1]
