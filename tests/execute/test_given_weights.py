"""Runs that begin with the weights of a file, and those that leave theirs in one."""

import dataclasses
import shutil

import msgspec
import numpy as np
import pytest

pytest.importorskip("safetensors")

from safetensors import safe_open

from dlbench.api.carrying_out import rest_of
from dlbench.errors import UsageError
from dlbench.execute.events import Observer
from dlbench.execute.oracle_jobs import jobs_of
from dlbench.record import comparability
from dlbench.record.file import Writer, read_record
from dlbench.record.schema import Process, Training, Verification
from dlbench.spec.workload import digest_of, initial_weights
from dlbench.weights.tensors import read_weights, write_weights


@pytest.fixture(scope="module")
def trained(carry_out, request_for, tmp_path_factory):
    """A run that trained, and the file that it left."""
    place = tmp_path_factory.mktemp("weights") / "deep" / "numpy.safetensors"
    asked = request_for(epochs=2, rounds=1, scenarios=("train",), save_weights=place)
    return carry_out(asked), place


def test_the_file_has_what_the_training_ended_with(trained, tiny):
    ran, place = trained
    (line,) = ran.of(Training)
    weights = read_weights(place, tiny.workload)
    assert digest_of(weights) != digest_of(initial_weights(tiny.workload, 0))
    with safe_open(place, "np") as file:
        facts = file.metadata()
    assert ("tiny", "numpy", "2") == (facts["suite"], facts["backend"], facts["epochs"])
    assert str(len(line.losses)) == facts["steps"]
    assert tiny.workload.digest == facts["workload"]
    assert any(str(place) in message for message in ran.observer.messages)
    assert "" == ran.record.header.weights_digest


def test_a_run_goes_on_where_another_ended(trained, carry_out, request_for, tiny):
    ran, place = trained
    asked = request_for(epochs=1, rounds=1, scenarios=("train",), init_weights=place)
    again = carry_out(asked)
    assert ["ok"] * 3 == [
        line.status for kind in (Verification, Process, Training) for line in again.of(kind)
    ]
    assert digest_of(read_weights(place, tiny.workload)) == again.record.header.weights_digest
    (before,), (after,) = ran.of(Training), again.of(Training)
    # the same batches, whose losses are small by now
    assert after.losses[0] < before.losses[0] / 2
    (verified,) = again.of(Verification)
    assert 1 == sum("weights that were given" in check.name for check in verified.checks)


def test_what_began_otherwise_is_not_compared(trained, carry_out, request_for, tmp_path):
    ran, place = trained
    again = carry_out(request_for(rounds=0, init_weights=place))
    digest = again.record.header.weights_digest[:12]
    found = comparability.unlike(ran.record.header, again.record.header)
    assert [("seed", "0", f"0 from the weights {digest}")] == [
        (each.field, each.base, each.new) for each in found
    ]
    # wherever the file lies
    shutil.copy(place, tmp_path / "copy.safetensors")
    third = carry_out(request_for(rounds=0, init_weights=tmp_path / "copy.safetensors"))
    assert [] == comparability.unlike(third.record.header, again.record.header)


def test_a_run_is_gone_on_with_from_the_same_weights_only(
    trained, request_for, tiny, tmp_path, monkeypatch
):
    _, place = trained
    from dlbench.execute import runner

    asked = request_for(rounds=1, scenarios=("infer",), init_weights=place)
    record = tmp_path / "record.jsonl"
    writer = Writer(record)
    runner.run(asked, writer, Observer())
    writer.close()
    whole = read_record(record)
    # cut off behind its header
    record.write_bytes(record.read_bytes().splitlines(keepends=True)[0])
    monkeypatch.setattr("dlbench.host.machine.look", lambda gpus: asked.machine)
    monkeypatch.setenv("DLBENCH_CACHE_DIR", str(asked.cache_dir))
    other = tmp_path / "other.safetensors"
    write_weights(other, initial_weights(tiny.workload, 9), {})
    said = {"suite": tiny}
    with (
        pytest.raises(UsageError, match=r"began with the weights .* name it with --init-weights"),
        rest_of(record, said, None),
    ):
        pass
    with (
        rest_of(record, said | {"init_weights": other}, None) as (_, work),
        pytest.raises(UsageError, match="what the weights begin with is"),
    ):
        work.do(Observer())
    with rest_of(record, said | {"init_weights": place}, None) as (_, work):
        assert "complete" == work.do(Observer()).status
    assert whole.header == read_record(record).header


def test_weights_that_do_not_fit_are_refused_before_anything_is_written(
    trained, carry_out, request_for, tmp_path
):
    _, place = trained
    wrong = tmp_path / "wrong.safetensors"
    write_weights(wrong, {"linear1.weight": np.zeros((3, 3), np.float32)}, {})
    with pytest.raises(UsageError, match=r"linear1\.weight is 3 × 3 there, 8 × 10 is needed"):
        carry_out(request_for(rounds=0, init_weights=wrong))
    with pytest.raises(UsageError, match="is there already"):
        carry_out(request_for(epochs=1, rounds=0, save_weights=place))
    with pytest.raises(UsageError, match="add --epochs"):
        carry_out(request_for(save_weights=place))


def test_the_oracle_of_trained_sessions_waits_for_the_weights(request_for, tmp_path):
    asked = request_for(scenarios=("train",))
    given = dataclasses.replace(asked, init_weights=tmp_path / "w")
    seeds = [job["seed"] for job in jobs_of(given, ["fp32"]).values()]
    assert [None] == seeds
    jobs = jobs_of(given, ["fp32"], "weights.npz")
    assert jobs.keys() == jobs_of(asked, ["fp32"]).keys()
    assert all(job["files"] == {"weights": "weights.npz"} for job in jobs.values())


def test_records_of_earlier_versions_began_with_the_seeds(make):
    header = msgspec.to_builtins(make.header())
    del header["weights_digest"]
    again = msgspec.convert(header, type(make.header()))
    assert comparability.unlike(again, make.header()) == []
