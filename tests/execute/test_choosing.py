"""Of all modes of a backend the fastest that is right is measured in full, and no figure is computed from its trial."""

import dataclasses
import json

import pytest
from dlbench.reports.run import json_rows, markdown, terminal

from dlbench.analyse.outcomes import outcomes
from dlbench.analyse.table import build
from dlbench.compare.from_record import side_of_records
from dlbench.execute import runner
from dlbench.execute.resume import check_given, request_for
from dlbench.execute.tasks import is_complete, missing
from dlbench.record.file import Writer, read_record
from dlbench.record.schema import Choice, End, Process, Skip, Trial, Verification

REQUEST = {"best": True, "rounds": 2, "budget_s": 0.4}


@pytest.fixture(scope="module")
def several(request_for, carry_out):
    return carry_out(request_for(backends=("modes:Several",), **REQUEST))


def modes(lines):
    return [(line.case.scenario, line.case.mode) for line in lines]


def test_the_fastest_mode_is_measured_in_full_and_the_others_once(several):
    assert {("train", "quick"), ("infer", "quick")} == set(modes(several.of(Process)))
    tried = modes(several.of(Trial))
    assert sorted(tried) == sorted((s, m) for s in ("train", "infer") for m in ("slow", "quick"))
    assert [0] * 4 == [line.process.round for line in several.of(Trial)]
    assert {1, 2} == {line.round for line in several.of(Process)}


def processes(ran):
    return [line.process.version for line in ran.of(Trial) if line.process.status == "ok"]


def test_all_modes_are_tried_in_the_process_that_has_looked_and_nothing_is_checked(
    request_for, carry_out
):
    ran = carry_out(request_for(backends=("modes:TellsProcess",), scenarios=("infer",), **REQUEST))
    (looked,) = {line.version for line in ran.of(Verification)}
    assert [looked] * 2 == processes(ran)
    assert not any(line.process.checks for line in ran.of(Trial))
    assert looked not in {line.version for line in ran.of(Process)}


def test_a_mode_that_ends_the_process_takes_no_other_with_it(request_for, carry_out):
    ran = carry_out(request_for(backends=("modes:EndsProcess",), **REQUEST))
    tried = {(t.case.scenario, t.case.mode): t.process.status for t in ran.of(Trial)}
    assert {(s, m) for s in ("train", "infer") for m in ("slow", "ends", "quick")} == tried.keys()
    assert [("train", "ends")] == [case for case, status in tried.items() if status != "ok"]
    assert {("train", "quick")} <= set(modes(ran.of(Process)))


def test_modes_without_room_for_each_other_are_tried_one_after_the_other(request_for, carry_out):
    ran = carry_out(request_for(backends=("modes:OneAtATime",), scenarios=("infer",), **REQUEST))
    assert ["slow", "quick"] == [line.case.mode for line in ran.of(Trial)]
    assert ["ok", "ok"] == [line.process.status for line in ran.of(Trial)]
    assert {("infer", "quick")} == set(modes(ran.of(Process)))


def test_a_mode_that_cannot_be_had_says_so_with_the_remedy(several):
    skips = several.of(Skip)
    assert {"nowhere"} == {line.case.mode for line in skips}
    assert {"apt install one"} == {line.remedy for line in skips}


def test_only_what_is_taken_is_held_against_the_oracle(several):
    assert [("train", "quick")] == modes(several.of(Verification))


def test_trials_are_in_no_figure(several):
    well = [each for each in outcomes(several.record) if each.status == "ok"]
    assert {"quick"} == {each.case.mode for each in well}
    for outcome in well:
        assert 2 == len(outcome.timed)
        assert all(process.round for process in outcome.processes)


def test_the_report_tells_what_became_of_each_mode(several):
    (run,) = build([("a.jsonl", several.record)]).runs
    became = {(each.case.scenario, each.case.mode): each for each in run.tried}
    assert {"taken"} == {each.verdict for (_, mode), each in became.items() if mode == "quick"}
    assert {"out"} == {each.verdict for (_, mode), each in became.items() if mode == "nowhere"}
    slow = became["infer", "slow"]
    assert "slower" == slow.verdict
    assert slow.behind > 2
    assert slow.median_s >= 4e-3


def test_a_mode_that_is_quick_and_wrong_is_not_taken(request_for, carry_out):
    ran = carry_out(request_for(backends=("modes:WrongIsQuick",), scenarios=("infer",), **REQUEST))
    assert [("infer", "slow")] * 2 == modes(ran.of(Process))
    seen = [(line.case.mode, line.status) for line in ran.of(Verification)]
    assert [("wrong", "unverified"), ("slow", "ok")] == seen
    found = {each.case.mode: each.status for each in outcomes(ran.record)}
    assert {"slow": "ok", "wrong": "unverified"} == found


def test_training_and_inference_may_have_different_winners(request_for, carry_out):
    ran = carry_out(request_for(backends=("modes:Split",), baseline="modes:Split:cpu", **REQUEST))
    assert {("train", "slow"), ("infer", "quick-to-infer")} == set(modes(ran.of(Process)))
    (choice,) = ran.of_kind(Choice)
    assert 2 == len(choice.taken)
    (run,) = build([("a.jsonl", ran.record)], baseline="modes:Split:cpu").runs
    assert [1.0, 1.0] == [row["speedup"] for row in run.rows if row["status"] == "ok"]


def test_a_run_that_is_cut_off_at_any_line_is_gone_on_with(several, request_for, tmp_path):
    asked = request_for(backends=("modes:Several",), **REQUEST)
    whole = [several.record.header, *several.record.lines]
    kinds = [type(line) for line in whole]
    cuts = {
        "in the trials": kinds.index(Trial) + 1,
        "before the choice": kinds.index(Choice),
        "in the rounds": kinds.index(Process) + 1,
    }
    for name, cut in cuts.items():
        path = tmp_path / f"{name}.jsonl"
        writer = Writer(path)
        for line in whole[:cut]:
            writer.write(line)
        writer.close()
        record = read_record(path)
        assert missing(record), name
        writer = Writer(path, append=True)
        request = request_for_rest(record, asked)
        assert request.best
        runner.resume(request, record, writer)
        writer.close()
        done = read_record(path)
        assert is_complete(done), name
        lines = [line for line in done.lines if isinstance(line, Process)]
        assert {("train", "quick"), ("infer", "quick")} == set(modes(lines)), name
        assert {1, 2} == {line.round for line in lines}, name
        assert 1 == sum(isinstance(line, Choice) for line in done.lines), name
        assert isinstance(done.lines[-1], End), name


def request_for_rest(record, asked):
    check_given(record, {"best": True})
    request = request_for(record, asked.suite, asked.machine, asked.cache_dir)
    return dataclasses.replace(request, limit_s=60.0, patience_s=0.0)


def test_what_was_tried_stands_beneath_the_table_and_in_json(several):
    report = build([("a.jsonl", several.record)])
    text = terminal.render(report, width=160)
    table, _, beneath = text.partition("modes tried")
    assert "slow" not in table.partition("median")[2]
    assert "slower: " in beneath
    assert "mode nowhere needs a compiler: apt install one" in beneath
    assert "--best: 2 modes tried" in beneath
    assert "modes tried" in markdown.render(report)
    told = json.loads(json_rows.render(report))["tried"]
    verdicts = {(each["scenario"], each["mode"]): each["verdict"] for each in told}
    assert {"taken", "slower", "out"} == set(verdicts.values())
    assert 6 == len(verdicts)


def test_two_records_of_best_modes_are_compared_by_what_was_taken(several):
    side = side_of_records("a.jsonl", [several.record])
    problems = {each.label.split("/")[1]: each.problem for each in side.cases}
    assert "" == problems["quick"]
    assert "faster in its trial" in problems["slow"]
    assert "needs a compiler" in problems["nowhere"]
    assert {2} == {len(each.processes_s) for each in side.cases if each.processes_s}


def test_a_backend_with_one_mode_needs_no_trial(request_for, carry_out):
    ran = carry_out(request_for(scenarios=("infer",), **(REQUEST | {"rounds": 1})))
    assert [] == ran.of(Trial)
    (run,) = build([("a.jsonl", ran.record)]).runs
    assert ["taken"] == [each.verdict for each in run.tried]
    assert 1 == len(ran.of(Process))
