"""The command that a table points to is one that can be run, and asks about rows that were measured."""

import shlex
from pathlib import Path

import msgspec
import pytest
from dlbench.reports.html import again
from dlbench.reports.profile.next_step import next_step
from dlbench.reports.run import terminal
from ladder_makers import Costs, made_up
from record_makers import make_case, make_header, make_record
from tiny_runs import TINY

from dlbench.analyse.table import build
from dlbench.cli.main import cli
from dlbench.errors import UsageError
from dlbench.execute import runner
from dlbench.profile.two_rows import explanations
from dlbench.record.header import Data, Given
from dlbench.record.schema import Record
from dlbench.spec.suite import load_suite


def steps(record):
    [run] = build([("a record.jsonl", record)]).runs
    return list(next_step(run))


def test_a_table_points_to_the_profile_of_its_fastest_row_and_the_baseline():
    [said] = steps(make_record())
    assert said.startswith("→ in which layers: dlbench profile --suite cnn-mnist ")
    profile, explain = said.partition(": ")[2].split(" && ")
    words = shlex.split(profile)[2:]
    context = cli.commands["profile"].make_context("profile", words)
    assert ("train",) == context.params["scenarios"]
    assert 2 == len(context.params["backends"])
    assert "profiles.jsonl" == context.params["output"].name
    first, second, file = shlex.split(explain)[2:]
    assert {"numpy:cpu", "torch:cpu/eager"} >= {first}
    assert {first.partition(":")[0], second.partition(":")[0]} == set(context.params["backends"])
    assert "profiles.jsonl" == file


def test_a_suite_of_ones_own_and_its_data_are_named_by_where_they_lie(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my photos").mkdir()
    record = make_record()
    given = Given("nets/mynet.toml", "my photos", pythons=("torch",))
    changes = {"suite": "mynet", "given": given, "data": Data("images", "", "cd" * 32, False)}
    record = Record(msgspec.structs.replace(record.header, seed=7, **changes), record.lines)
    [said] = steps(record)
    profile = said.partition(": ")[2].split(" && ")[0]
    context = cli.commands["profile"].make_context("profile", shlex.split(profile)[2:])
    given = {name: str(context.params[name]) for name in ("suite", "data", "data_dir", "seed")}
    wanted = {"suite": "nets/mynet.toml", "data": "images", "data_dir": "my photos", "seed": "7"}
    assert wanted == given
    assert {"torch": str(tmp_path / "PATH")} == context.params["pythons"]
    for made in (
        again.command(build([("a", record)]).runs[0]),
        again.sweep(build([("a", record)]).runs[0]),
    ):
        assert "--suite nets/mynet.toml" in made
        assert "--data images --data-dir 'my photos' --python torch=PATH" in made


def test_a_record_without_profiles_is_told_the_whole_command():
    record = make_record()
    with pytest.raises(UsageError) as refused:
        explanations("numpy:cpu", "torch:cpu/eager", [record], ())
    command = str(refused.value).partition("make them with: ")[2]
    context = cli.commands["profile"].make_context("profile", shlex.split(command)[2:])
    assert ("numpy", "torch") == context.params["backends"]
    assert ("train", "infer") == context.params["scenarios"]


def test_a_run_keeps_how_its_sources_were_named_and_no_home(request_for, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "tiny.toml").write_text(TINY)
    request = request_for(suite=load_suite("~/tiny.toml"), data_dir=Path("photos"))
    assert Given("~/tiny.toml", "photos") == runner._given(request)
    assert Given() == runner._given(request_for(suite=load_suite("cnn-mnist")))


def test_the_command_is_on_one_line_however_narrow_the_terminal_is():
    text = terminal.render(build([("a record.jsonl", make_record())]), width=60)
    [line] = [line for line in text.splitlines() if "→ in which layers" in line]
    assert line.endswith("profiles.jsonl")


def test_a_record_that_has_profiles_is_explained_as_it_is():
    record = make_record()
    workload = load_suite("cnn-mnist").workload
    header = msgspec.structs.replace(record.header, workload=workload.to_table())
    costs = Costs(*({node.name: 1.0 for node in workload.nodes} for _ in range(2)))
    cases = [c for c in record.header.cases if c.scenario == "train"]
    profiles = [msgspec.structs.replace(made_up(workload, costs), case=case) for case in cases]
    [said] = steps(Record(header, (*record.lines, *profiles)))
    assert said.startswith("→ in which layers: dlbench explain ")
    assert said.endswith(" 'a record.jsonl'")


@pytest.mark.parametrize("backends", [(), ("numpy",)])
def test_without_two_rows_there_is_nothing_to_explain(backends):
    record = make_record() if backends else Record(make_header([make_case()]), ())
    lines = [
        line for line in record.lines if getattr(line, "case", make_case()).backend in backends
    ]
    assert [] == steps(Record(record.header, tuple(lines)))
