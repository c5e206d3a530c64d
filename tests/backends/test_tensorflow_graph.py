"""What is TensorFlow's alone: tracing, padding, layout, and its process-wide runtime."""

import subprocess
import sys
import time

import numpy as np
import pytest

from dlbench.contract import Plan
from dlbench.errors import BackendUnavailable
from dlbench.spec.workload import initial_weights, read_workload

tf = pytest.importorskip("tensorflow")

from dlbench.backends.shared import framework  # noqa: E402
from dlbench.backends.tensorflow import adapter, runtime  # noqa: E402
from dlbench.backends.tensorflow import layers as tensorflow_layers  # noqa: E402
from dlbench.backends.tensorflow.adapter import Adapter  # noqa: E402

CONVOLUTION = {"type": "conv2d", "out_channels": 4, "kernel": 3}


def make_workload(layers, optimizer=None):
    return read_workload(
        {
            "input_shape": [2, 9, 7],
            "layers": [*layers, {"type": "flatten"}, {"type": "linear", "out_features": 3}],
            "optimizer": optimizer or {"type": "sgd", "learning_rate": 0.1, "momentum": 0.9},
        }
    )


def open_session(workload, batch=4):
    plan = Plan("tensorflow", "cpu", batch, 2)
    return Adapter().open(plan, workload, initial_weights(workload, 0))


def upload(session, batch=4, seed=0):
    random = np.random.default_rng(seed)
    inputs = random.standard_normal((batch, 2, 9, 7)).astype(np.float32)
    return session.upload(inputs, random.integers(0, 3, batch))


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw", "adagrad", "rmsprop", "adadelta"])
def test_steps_rates_and_weights_change_without_tracing_again(kind):
    traced = []

    class Counted(type(open_session(make_workload([])))):
        def _trace_step(self, *arguments):
            traced.append("step")
            return super()._trace_step(*arguments)

        def _trace_logits(self, *arguments):
            traced.append("logits")
            return super()._trace_logits(*arguments)

    workload = make_workload([CONVOLUTION], {"type": kind, "learning_rate": 0.01})
    facts = {"device": "cpu"}
    session = Counted(
        Plan("tensorflow", "cpu", 4, 2), workload, initial_weights(workload, 0), facts
    )
    for step in range(4):
        session.learning_rate = 0.1 / (step + 1)
        batch = upload(session, seed=step)
        session.train_step(batch)
        session.infer(batch)
        session.load(initial_weights(workload, step))
    assert sorted(traced) == ["logits", "step"]


def test_nothing_is_traced_before_it_is_asked_for():
    """So that the first step shows what tracing costs."""
    session = open_session(make_workload([CONVOLUTION]))
    assert session._step.experimental_get_tracing_count() == 0
    session.train_step(upload(session))
    assert session._step.experimental_get_tracing_count() == 1
    assert session._logits.experimental_get_tracing_count() == 0


def test_results_are_tensors():
    session = open_session(make_workload([CONVOLUTION]))
    batch = upload(session)
    assert tf.is_tensor(session.train_step(batch))
    assert tf.is_tensor(session.infer(batch))


def test_resident_images_have_their_channels_last():
    session = open_session(make_workload([CONVOLUTION]))
    inputs = np.random.default_rng(0).standard_normal((4, 2, 9, 7)).astype(np.float32)
    resident, targets = session.upload(inputs, np.zeros(4, np.int32))
    np.testing.assert_array_equal(resident.numpy(), inputs.transpose(0, 2, 3, 1))
    assert targets.dtype == tf.int64


def test_graphs_hold_no_transpose_between_convolution_and_linear():
    session = open_session(make_workload([CONVOLUTION, {"type": "relu"}]))
    session.train_step(upload(session))
    graph = session._step.get_concrete_function(*upload(session)).graph
    assert "Transpose" not in {operation.type for operation in graph.get_operations()}


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"kernel": 3}, "VALID"),
        ({"kernel": 3, "padding": 1}, "SAME"),
        ({"kernel": 5, "padding": 2, "stride": 2}, "SAME"),
        ({"kernel": 4, "padding": 1}, "VALID"),
        ({"kernel": 2, "padding": 1, "stride": 2}, "VALID"),
    ],
    ids=str,
)
def test_same_padding_stands_only_where_it_is_symmetric(options, word):
    """The input is 9 × 7, so a stride of 2 and a kernel of 5 take two rows on either side."""
    session = open_session(make_workload([{**CONVOLUTION, **options}]))
    graph = session._logits.get_concrete_function(upload(session)[0]).graph
    convolution = next(o for o in graph.get_operations() if o.type == "Conv2D")
    assert convolution.get_attr("padding").decode() == word


@pytest.mark.parametrize("dilation", [2, [3, 1], [1, 2]], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
def test_a_kernel_spread_with_zeros_is_a_dilated_one(dilation, stride):
    layer = {**CONVOLUTION, "dilation": dilation, "stride": stride, "padding": [2, 1]}
    node = make_workload([layer]).nodes[0]
    random = np.random.default_rng(0)
    x = tf.constant(random.standard_normal((2, 9, 7, 2)), tf.float32)
    weight = tf.Variable(random.standard_normal((3, 3, 2, 4)), dtype=tf.float32)
    results = []
    for direct in (True, False):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tensorflow_layers.conv2d(node, x, weight, None, direct=direct, grouped=True)
            loss = tf.reduce_sum(y**2)
        # Without oneDNN the CPU has no gradient for the direct one, hence only its output.
        known = not direct or tensorflow_layers.dilated_gradients(tf.float32)
        results.append((y, tape.gradient(loss, [x, weight]) if known else None))
    (direct_y, direct_gradients), (spread_y, spread_gradients) = results
    np.testing.assert_allclose(spread_y, direct_y, rtol=1e-5, atol=1e-5)
    for a, b in zip(spread_gradients, direct_gradients or spread_gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)


def test_a_call_on_the_cpu_is_done_when_it_returns():
    """What `synchronize` relies on: fetching the result waits for (nearly) nothing."""
    layer = {"type": "conv2d", "out_channels": 64, "kernel": 3, "padding": 1}
    session = open_session(make_workload([layer, layer, layer]), batch=64)
    batch = upload(session, batch=64)
    session.train_step(batch)
    calls, waits = [], []
    for _ in range(7):
        start = time.perf_counter()
        loss = session.train_step(batch)
        called = time.perf_counter()
        session.synchronize()
        session.download(loss)
        calls.append(called - start)
        waits.append(time.perf_counter() - called)
    assert min(waits) < 0.5 * min(calls)


@pytest.fixture
def without_a_gpu(monkeypatch):
    """Makes TensorFlow a CUDA build that sees no GPU, whatever the driver has."""

    def without_a_gpu(uuids):
        monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: True)
        monkeypatch.setattr(adapter, "device_uuids", lambda: uuids)
        monkeypatch.setattr(framework, "device_uuids", lambda: uuids)

    return without_a_gpu


def test_a_gpu_that_the_driver_has_and_tensorflow_does_not_see_is_told(without_a_gpu):
    without_a_gpu(("GPU-1",))
    info = Adapter().info()
    assert ["cpu"] == [device.name for device in info.devices]
    assert "cannot use the GPU that the driver has" in info.absent["cuda"]
    workload = make_workload([])
    plan = Plan("tensorflow", "cuda", 4, 2)
    with pytest.raises(BackendUnavailable, match="cannot use the GPU") as refused:
        Adapter().open(plan, workload, initial_weights(workload, 0))
    assert "list_physical_devices" in refused.value.remedy


def test_without_a_driver_there_is_nothing_to_explain(without_a_gpu):
    without_a_gpu(())
    assert {} == Adapter().info().absent


def test_what_is_waited_for_is_the_one_device_of_the_session(monkeypatch):
    """The CPU stands for the GPU, whose queue this machine has not got."""
    session = open_session(make_workload([]))
    session._facts = {"device": "cuda:0"}
    monkeypatch.setattr(adapter, "_ONLY_GPU", "CPU:0")
    waited, wait = [], tf.raw_ops.SyncDevice

    def counted():
        waited.append(tf.zeros(()).device)
        return wait()

    monkeypatch.setattr(tf.raw_ops, "SyncDevice", counted)
    session.synchronize()
    assert ["/job:localhost/replica:0/task:0/device:CPU:0"] == waited


def test_beside_a_gpu_the_threads_are_those_that_were_asked_for(monkeypatch):
    """A driver starts threads too, so that more are new than the pool has."""
    gpu = object()
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [gpu])
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda devices, kind: None)
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [gpu])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda *of: None)
    monkeypatch.setattr(runtime, "_start_pool", lambda: 99)
    monkeypatch.setattr(runtime, "_gpu_name", lambda device: "H200")
    monkeypatch.setattr(framework, "device_uuids", lambda: ("GPU-1",))
    facts = runtime.start(2, 0)
    assert ("cuda:0", "GPU-1") == (facts["device"], facts["device_uuid"])
    assert 0 < facts["threads"] < 99


def in_fresh_process(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
    )
    return done.stdout.splitlines() or [done.stderr]


OPEN_WITH_DILATION = """
import numpy as np
from dlbench.backends.tensorflow.adapter import Adapter
from dlbench.contract import Plan
from dlbench.errors import BackendUnavailable
from dlbench.spec.workload import initial_weights, read_workload
workload = read_workload({
    "input_shape": [2, 9, 7],
    "layers": [
        {"type": "conv2d", "out_channels": 3, "kernel": 1},
        {"type": "conv2d", "out_channels": 4, "kernel": 3, "dilation": 2},
        {"type": "global_avg_pool"},
    ],
    "optimizer": {"type": "sgd", "learning_rate": 0.1},
})
weights = initial_weights(workload, 0)
plan = Plan("tensorflow", "cpu", 4, 3)
session = Adapter().open(plan, workload, weights)
inputs = np.random.default_rng(0).standard_normal((4, 2, 9, 7)).astype(np.float32)
loss = session.train_step(session.upload(inputs, np.array([0, 1, 2, 3])))
facts = session.facts
moved = np.abs(session.weights()["conv1.weight"] - weights["conv1.weight"]).sum()
print(facts["threads"], facts["onednn"], f"{float(loss):.5f} {moved:.5f}")
"""


@pytest.fixture(scope="module")
def with_and_without_onednn():
    """What two sessions tell, in an environment that asks for threads of its own."""
    return [
        in_fresh_process(
            OPEN_WITH_DILATION, TF_ENABLE_ONEDNN_OPTS=switch, TF_NUM_INTRAOP_THREADS="5"
        )[-1].split()
        for switch in "10"
    ]


def test_without_onednn_dilated_convolutions_train_all_the_same(with_and_without_onednn):
    with_it, without = with_and_without_onednn
    assert without[1] == "off"
    np.testing.assert_allclose(float(without[2]), float(with_it[2]), rtol=1e-4)
    np.testing.assert_allclose(float(without[3]), float(with_it[3]), rtol=1e-3)
    assert float(without[3]) > 0


def test_the_plans_threads_are_what_the_runtime_starts(with_and_without_onednn):
    """Three on any machine, whatever the environment asks for."""
    assert ["3", "3"] == [threads for threads, *_ in with_and_without_onednn]
