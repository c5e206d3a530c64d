"""The campaign's tool, without the hour that it takes."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def campaign():
    spec = importlib.util.spec_from_file_location(
        "gate_campaign", ROOT / "tools" / "gate_campaign.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_any_part_of_a_campaign_has_its_share_of_each_kind(campaign):
    every = campaign.plan()
    assert sum(campaign.TRIALS.values()) == len(set(every)) == len(every)
    half = [kind for kind, _ in every[: len(every) // 2]]
    for kind, count in campaign.TRIALS.items():
        assert abs(half.count(kind) - count / 2) <= 1
        assert list(range(count)) == [number for each, number in every if each == kind]


def test_a_campaign_is_not_gone_on_with_on_another_machine(campaign, tmp_path, monkeypatch):
    path = tmp_path / "begun.jsonl"
    head = campaign.conditions() | {"created": "", "copy_bytes": 1, "copy_found": 0.05}
    path.write_text(json.dumps(head | {"cpu": "another"}) + "\n")
    with pytest.raises(SystemExit, match="another cpu"):
        campaign.go_on(path, 0.0)
    path.write_text(json.dumps(head) + "\n")
    campaign.go_on(path, 0.0)
    assert 1 == len(campaign.read(path))


def test_a_line_that_was_cut_off_is_done_again_and_what_is_there_is_counted(campaign, tmp_path):
    head = campaign.conditions() | {"created": "then", "copy_bytes": 1000, "copy_found": 0.05}
    trial = {"kind": "same", "at": "now", "exit": 0, "wall_s": 10.0, "over": "8 pairs"}
    lines = [head, trial | {"status": "same"}, trial | {"status": "slower"}]
    path = tmp_path / "begun.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"kind":"sa')
    text = campaign.report(campaign.read(path))
    [row] = [line for line in text.splitlines() if line.startswith("| same")]
    assert "2 of 60" in row
    assert "8.0 (at most 8)" in row
    assert sys.version.split()[0] in text
