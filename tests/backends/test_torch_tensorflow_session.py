"""What every session promises beside its arithmetic, and what adapters say when there is none."""

import importlib
import subprocess
import sys

import numpy as np
import pytest

from dlbench.errors import BackendUnavailable, PlanRefused

MODULES = {
    "torch": "dlbench.backends.torch.adapter",
    "tensorflow": "dlbench.backends.tensorflow.adapter",
}


def test_weights_come_back_exactly_as_loaded(lab):
    workload = lab.workload(lab.EVERYTHING)
    weights = lab.weights(workload)
    session = lab.open(workload, weights)
    for loaded in (weights, lab.weights(workload, seed=5)):
        session.load(loaded)
        got = session.weights()
        assert got.keys() == {p.name for p in workload.parameters}
        for name, array in got.items():
            assert array.dtype == np.float32
            assert array.flags.c_contiguous
            np.testing.assert_array_equal(array, loaded[name], err_msg=name)


def test_neither_weights_nor_batches_share_memory_with_the_caller(lab):
    workload = lab.workload(lab.EVERYTHING)
    weights, (inputs, targets) = lab.weights(workload), lab.batch(workload)
    session = lab.open(workload, weights)
    batch = session.upload(inputs, targets)
    expected = session.download(session.infer(batch))
    inputs[:] = 0
    targets[:] = 0
    for array in (*session.weights().values(), *weights.values()):
        array[:] = 7
    session.download(session.infer(batch))[:] = 3
    np.testing.assert_array_equal(session.download(session.infer(batch)), expected)


def test_weights_taken_before_a_step_do_not_change_with_it(lab):
    workload = lab.workload([{"type": "linear", "out_features": 3}], (4,))
    session = lab.open(workload)
    before = session.weights()
    kept = {name: array.copy() for name, array in before.items()}
    session.train_step(session.upload(*lab.batch(workload)))
    for name, array in before.items():
        np.testing.assert_array_equal(array, kept[name])
        assert (session.weights()[name] != array).any()


def test_inference_between_steps_changes_nothing(lab):
    workload = lab.workload(lab.EVERYTHING)
    batch_arrays = lab.batch(workload)

    def train(with_inference):
        session = lab.open(workload, seed=4)
        batch = session.upload(*batch_arrays)
        for _ in range(3):
            session.train_step(batch)
            if with_inference:
                session.infer(batch)
        session.synchronize()
        return session.weights()

    plain, mixed = train(False), train(True)
    for name, array in plain.items():
        np.testing.assert_allclose(mixed[name], array, rtol=1e-5, atol=1e-6, err_msg=name)


def test_facts_tell_device_threads_and_strict_fp32(lab):
    session = lab.open(lab.workload([{"type": "flatten"}]))
    assert session.facts["device"] == "cpu"
    # TensorFlow keeps the threads that the first session of a process started.
    assert session.facts["threads"] == 2 or (lab.name == "tensorflow" and session.facts["threads"])
    assert session.facts["tf32"] == "off"


def test_info_names_version_and_cpu(lab):
    info = lab.adapter.info()
    assert info.version == importlib.import_module(lab.name).__version__
    assert info.devices[0].name == "cpu"
    assert info.mode == {"torch": "eager", "tensorflow": "graph"}[lab.name]
    assert "onednn" in info.libraries


@pytest.mark.parametrize(
    "change",
    [{"precision": "fp8"}, {"mode": "compiled"}, {"device": "tpu"}, {"device": "cuda:x"}],
    ids=str,
)
def test_plans_that_it_has_not_got_are_refused_by_name(lab, change):
    with pytest.raises(PlanRefused, match=next(iter(change.values()))):
        lab.open(lab.workload([{"type": "flatten"}]), **change)


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:97"])
def test_a_missing_gpu_is_told_with_what_would_help(lab, device):
    if device != "cuda:97" and len(lab.adapter.info().devices) > 1:
        pytest.skip("there is a GPU")
    with pytest.raises(BackendUnavailable, match="no CUDA device") as caught:
        lab.open(lab.workload([{"type": "flatten"}]), device=device)
    assert caught.value.remedy.startswith("this row needs an NVIDIA GPU")
    # what is built without CUDA would find no device on any machine, and says so
    for_cpu = "built for the CPU alone" in caught.value.reason
    assert for_cpu == (caught.value.remedy != "this row needs an NVIDIA GPU")
    if lab.adapter.info().version.endswith("+cpu"):
        assert for_cpu


@pytest.mark.parametrize("name", list(MODULES))
def test_a_missing_framework_is_told_with_the_command_that_installs_it(name):
    code = f"""
import sys
sys.modules[{name!r}] = None
from {MODULES[name]} import Adapter
from dlbench.errors import BackendUnavailable
for ask in (Adapter().info, lambda: Adapter().open(PLAN, None, None)):
    try:
        from dlbench.contract import Plan
        PLAN = Plan({name!r}, "cpu", 1, 1)
        ask()
    except BackendUnavailable as error:
        print(error.reason, "|", error.remedy)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    title = {"torch": "PyTorch", "tensorflow": "TensorFlow"}[name]
    line = f"{title} is not installed | pip install 'dlbench[{name}]'"
    assert done.stdout.splitlines() == [line, line], done.stderr


@pytest.mark.parametrize("name", list(MODULES))
def test_making_an_adapter_imports_no_framework(name):
    code = f"from {MODULES[name]} import Adapter; Adapter(); import sys; print({name!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
