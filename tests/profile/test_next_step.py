"""The command that a table points to is one that can be run, and asks about rows that were measured."""

import shlex

import msgspec
import pytest
from dlbench.reports.profile.next_step import next_step
from ladder_makers import Costs, made_up
from record_makers import make_case, make_header, make_record

from dlbench.analyse.table import build
from dlbench.cli.main import cli
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
