"""A third party's backend, installed by entry point: it only infers, and has devices and modes of its own."""

import os

import numpy as np
import pytest
from third_party import install_abacus

from dlbench.contract import Device, Plan
from dlbench.execute.materialise import prepare
from dlbench.execute.probe import look
from dlbench.record.schema import Process, Skip
from dlbench.verify.check import verify
from dlbench.worker.measurements import STEPS


@pytest.fixture
def abacus(tmp_path, monkeypatch):
    """The folder that it is installed in, on this process' search path."""
    folder = install_abacus(tmp_path / "installed")
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_what_it_declares_is_found_and_its_environment_was_set_before_its_import(abacus):
    found = look("abacus", 1, False, 60.0)
    assert ("ok", "Abacus", "3.1") == (found.status, found.title, found.version), found.output
    device = Device("abacus:0", "a frame of thirteen rods", has_copies=True)
    assert ((device,), ("beads", "rods"), ("infer",)) == (
        found.devices,
        found.modes,
        found.scenarios,
    )
    assert {"quiet": "1"} == found.libraries
    assert {"cuda": "beads are moved by hand"} == found.absent
    assert "3.1" == found.environment.packages["abacus-kit"]


def test_it_is_verified_and_timed_for_inference_alone(abacus, request_for, tmp_path, work):
    material = prepare(request_for(), tmp_path)
    plan = Plan("abacus", "abacus", 32, 1, mode="rods")
    verified = work(material.job(plan))
    assert "ok" == verified.status, verified.output
    checks = verified.result.checks
    assert checks
    assert all(check.passed for check in checks)
    assert all("logits" in c.name or c.name.startswith("arithmetic") for c in checks)
    timed = work(material.job(plan, scenario="infer", budget_s=0.05), STEPS)
    assert "ok" == timed.status, timed.output
    assert timed.result.timings_ns
    assert all(each.passed for each in timed.result.checks)
    assert 13 == timed.result.facts["rods"]
    assert {"quiet": "1 abacus"} == timed.result.libraries


def test_a_wrong_output_of_a_backend_that_only_infers_is_found(abacus, tiny, cache_dir):
    from abacus_backend import Adapter

    class Wrong(Adapter):
        def info(self):
            os.environ["ABACUS_QUIET"] = ""
            return super().info()

        def open(self, plan, workload, weights):
            session = super().open(plan, workload, weights)
            infer = session.infer
            session.infer = lambda batch: infer(batch) * np.float32(1.001)
            return session

    plan = Plan("abacus", "abacus:0", 32, 1)
    reason = verify(Wrong(), plan, tiny.workload, cache_dir).reason
    assert reason.startswith("output of "), reason


def test_training_with_it_is_a_skipped_row_with_the_reason(abacus, request_for, carry_out):
    chosen = {"backends": ("abacus",), "devices": ("abacus",), "modes": ("beads",), "rounds": 1}
    ran = carry_out(request_for(**chosen))
    (skip,) = ran.of(Skip)
    reason = "this backend has no scenario 'train'; it has infer"
    assert ("train", reason) == (skip.case.scenario, skip.reason)
    (timed,) = ran.of(Process)
    assert ("infer", "beads", "ok") == (timed.case.scenario, timed.case.mode, timed.status)
