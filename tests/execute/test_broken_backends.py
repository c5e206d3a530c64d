"""One backend that goes wrong, in whatever way, is one row with its reason; the others of the run are measured."""

from dlbench.analyse.outcomes import outcomes
from dlbench.execute.tasks import held_by, missing
from dlbench.record.schema import Process, Skip, Verification
from dlbench.worker.launch import Worker

BROKEN = {
    "broken_on_import:Adapter": ("failed", "this module cannot be imported"),
    "no_such_module:Adapter": ("failed", "No module named 'no_such_module'"),
    "broken_adapters:Missing": (
        "failed",
        "has no attribute 'Missing'; did you mean 'Misbehaving'?",
    ),
    "broken_adapters:NO_CLASS": ("failed", "is an object of Good, should be a class with info and"),
    "broken_adapters:InfoIsText": ("failed", "info() gives a str ('numpy'), should give a"),
    "broken_adapters:HasNoDownload": ("failed", "download(result) of session Session is None"),
    "broken_adapters:NeedsAnotherMachine": ("skipped", "no such device here"),
    "broken_adapters:RefusesToOpen": ("skipped", "never on cpu"),
    "broken_adapters:RaisesInInfo": ("failed", "ImportError: libmissing.so.1"),
    "broken_adapters:RaisesInOpen": ("failed", "ValueError: cannot open"),
    "broken_adapters:GivesNan": ("unverified", "is not a finite number"),
}
BROKEN_IN_TRAINING = {
    "broken_adapters:RaisesInStep": ("failed", "step 3 is bad"),
    "broken_adapters:CallsExit": ("failed", "SystemExit: 3"),
    "broken_adapters:Vanishes": ("failed", "exited with code 5"),
    "broken_adapters:Segfaults": ("failed", "SIGSEGV"),
    "broken_adapters:AllocatesTooMuch": ("out_of_memory", "Unable to allocate"),
    "broken_adapters:Hangs": ("timeout", "timed out: no progress for 10 s in phase verify"),
    "broken_adapters:RefusesToTrain": ("skipped", "only infers"),
}


def test_one_broken_backend_is_one_row_with_its_reason_and_the_rest_go_on(request_for, carry_out):
    good = ("broken_adapters:Good", "broken_adapters:Chatters")
    broken = BROKEN | BROKEN_IN_TRAINING
    request = request_for(backends=(good[0], *broken, good[1]), rounds=1, limit_s=10.0)
    ran = carry_out(request)
    assert "complete" == ran.end.status
    found = {(each.case.backend, each.case.scenario): each for each in outcomes(ran.record)}
    for backend, (status, reason) in broken.items():
        infers = backend in BROKEN_IN_TRAINING
        for scenario in ("train", "infer"):
            outcome = found[backend, scenario]
            well = infers and scenario == "infer"
            assert ("ok" if well else status) == outcome.status, outcome
            assert well or reason in outcome.reason, outcome
            assert well == bool(outcome.timed)
            assert outcome.verified or not well
        lines = ran.of(Skip if status == "skipped" else Verification, backend)
        if status != "skipped":
            assert [status, *["ok"] * infers] == [line.status for line in lines]
    for backend in good:
        assert ["ok"] == [line.status for line in ran.of(Verification, backend)]
        assert ["ok", "ok"] == [line.status for line in ran.of(Process, backend)]


def test_backends_that_are_verified_beside_each_other_go_wrong_each_by_itself(
    request_for, carry_out, monkeypatch
):
    begun = []
    send = Worker.send
    monkeypatch.setattr(
        Worker, "send", lambda worker, *job: begun.append(job[1]["adapter"]) or send(worker, *job)
    )
    broken = BROKEN | BROKEN_IN_TRAINING
    backends = ("broken_adapters:Good", *broken, "broken_adapters:Chatters")
    ran = carry_out(request_for(backends=backends, rounds=0, limit_s=10.0))
    assert "complete" == ran.end.status
    # all that could be looked at, but for the first
    assert {*BROKEN_IN_TRAINING, "broken_adapters:Chatters"} <= set(begun)
    for backend, (status, reason) in broken.items():
        lines = ran.of(Skip if status == "skipped" else Verification, backend)
        assert any(reason in line.reason for line in lines), (backend, lines)
        if status != "skipped":
            trains = [*["ok"] * (backend in BROKEN_IN_TRAINING)]
            assert [status, *trains] == [line.status for line in lines]
    order = [line.case.backend for line in ran.record.lines if isinstance(line, Verification)]
    beside = [each for each in backends if each in begun and each in order]
    assert beside == [each for each in dict.fromkeys(order) if each in beside]


def test_what_only_goes_wrong_in_training_is_not_tried_again_when_a_run_is_resumed(
    request_for, carry_out
):
    backend = "broken_adapters:RaisesInStep"
    ran = carry_out(request_for(backends=(backend,), rounds=1))
    assert (set(), ()) == (set(ran.of(Skip)), missing(ran.record))
    held = held_by(ran.record)
    train, infer = sorted(ran.record.header.cases, key=lambda case: case.scenario != "train")
    assert (True, False) == (held.is_out(train), held.is_out(infer))


def test_a_result_that_does_not_fit_its_type_is_a_protocol_error_of_its_case_alone(
    request_for, carry_out
):
    wrong = {
        "broken_adapters:AnswersInPlaceOfTheWorker": "not a VerifyResult: Object missing required",
        "broken_adapters:TellsAFactOf50Megabytes": "a text of 50,000,000 characters: 'xxx",
        "broken_adapters:HasFewerThanNoThreads": "the fact threads is -5, should be 1 or more",
        "broken_adapters:HasNotANumberOfThreads": "the fact threads is 'nan', should be 1 or more",
        "broken_adapters:HasAClockThatTellsFractions": "not a MeasureResult: Expected `int`, got",
    }
    ran = carry_out(request_for(backends=(*wrong, "broken_adapters:Good"), rounds=1))
    assert "complete" == ran.end.status
    for backend, reason in wrong.items():
        line, *_ = [line for line in ran.of(Verification | Process, backend) if line.reason]
        assert "failed" == line.status
        assert line.reason.startswith("protocol error: ")
        assert reason in line.reason
    good = ran.of(Process, "broken_adapters:Good")
    assert ["ok", "ok"] == [line.status for line in good]
