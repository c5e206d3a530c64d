import dataclasses

import pytest

from dlbench.contract import Device
from dlbench.errors import SuiteError, UsageError
from dlbench.plan.backend_status import Found
from dlbench.plan.cases import check, plan
from dlbench.plan.rounds import interleaved
from dlbench.spec.suite import Matrix
from dlbench.spec.workload import read_workload

CPU = Found("ok", modes=("eager",), devices=(Device("cpu", "a CPU"),), seconds=0.5)
GPU = Device("cuda:0", "a GPU", has_copies=True, telemetry="nvml")
BOTH = Found("ok", modes=("eager",), devices=(Device("cpu", "a CPU"), GPU), seconds=2.0)
ABSENT = Found("skipped", "not installed", "pip install it")
NEEDS_GPU = Found("skipped", "no CUDA device", "", default_device="cuda")


@pytest.fixture
def wide(request_for, tiny):
    """A request for the suite with both devices in its matrix."""
    matrix = Matrix(backends=("numpy", "torch"), devices=("cpu", "cuda"), batches=(8, 16))
    suite = dataclasses.replace(tiny, matrix=matrix)
    return lambda **choices: request_for(**{"suite": suite, **choices})


def rows(request, **found):
    found = {"numpy": CPU, "torch": CPU} | found
    planned = plan(request, found, 800)
    return [(c.backend, c.device, c.scenario, c.batch) for c in planned.cases]


def test_a_suite_runs_the_product_of_its_matrix_on_the_devices_there_are(wide):
    wanted = [
        (backend, device, scenario, batch)
        for batch in (8, 16)
        for backend, devices in (("numpy", ["cpu"]), ("torch", ["cpu", "cuda"]))
        for device in devices
        for scenario in ("train", "infer")
    ]
    assert wanted == rows(wide(), torch=BOTH)


def test_ranks_are_rows_of_trainings_and_who_has_none_says_so(wide):
    several = dataclasses.replace(CPU, worlds=(1, 2, 4))
    request = wide(worlds=(1, 2, 3), devices=("cpu",), batches=(8, 9))
    check(request)
    planned = plan(request, {"numpy": CPU, "torch": several}, 800)
    assert all(case.world == 1 or case.scenario == "train" for case in planned.cases)
    refused = {
        (case.backend, case.world, case.batch): found.reason
        for case, found in planned.problems.items()
    }
    assert {
        ("numpy", 2, 8): "this backend trains on one rank, not on 2",
        ("numpy", 2, 9): "this backend trains on one rank, not on 2",
        ("numpy", 3, 8): "this backend trains on one rank, not on 3",
        ("numpy", 3, 9): "this backend trains on one rank, not on 3",
        ("torch", 3, 8): "this backend trains on 1 and 2 and 4 ranks, not on 3",
        ("torch", 3, 9): "this backend trains on 1 and 2 and 4 ranks, not on 3",
        ("torch", 2, 9): "a batch of 9 cannot be cut evenly for 2 ranks",
    } == refused


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"worlds": (2,), "scenarios": ("infer",)}, "world is the ranks of a training"),
        ({"worlds": (1, 2), "profile_s": 1.0}, "a profile is of one process: leave out --world"),
        ({"worlds": (0,)}, "world must be 1 or more"),
        ({"inputs": ("streamed",), "scenarios": ("infer",)}, "input streamed is of a training"),
        ({"inputs": ("streamed",), "profile_s": 1.0}, "leave out --input streamed"),
        ({"inputs": ("streamed",), "epochs": 1}, "--epochs trains without the loader"),
        ({"inputs": ("stremed",)}, "input 'stremed' is unknown; did you mean 'streamed'"),
        ({"worlds": (5000,)}, "world must be at most 1,024"),
    ],
)
def test_ranks_of_nothing_are_refused(wide, chosen, told):
    with pytest.raises(UsageError, match=told):
        check(wide(**chosen))


def test_a_device_that_was_asked_for_has_a_row_wherever_it_is_missing(wide):
    chosen = wide(devices=("cuda:1",), scenarios=("infer",), batches=(8,))
    assert [("numpy", "cuda:1", "infer", 8), ("torch", "cuda:1", "infer", 8)] == rows(chosen)


def test_a_suite_for_devices_that_a_backend_has_not_got_keeps_its_row(wide, tiny):
    suite = dataclasses.replace(
        tiny, matrix=Matrix(backends=("numpy",), devices=("cuda",), scenarios=("infer",))
    )
    assert [("numpy", "cuda", "infer", 64)] == rows(wide(suite=suite))


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:GPU-8f2c"])
def test_telemetry_is_where_the_backend_says_whatever_a_device_is_called(wide, device):
    npu = Found("ok", devices=(Device("npu:0", "an NPU"),))
    chosen = wide(devices=("cpu", device, "npu"), scenarios=("infer",), batches=(8,))
    planned = plan(chosen, {"numpy": npu, "torch": BOTH}, 800)
    seen = {(c.backend, c.device): planned.telemetry_of(c) for c in planned.cases}
    assert "nvml" == seen["torch", device]
    assert {""} == {each for (_, name), each in seen.items() if name != device}


def test_a_backend_that_cannot_be_used_has_a_row_on_its_own_device(wide):
    request = wide(batches=(8,), scenarios=("infer",))
    assert [("numpy", "cpu", "infer", 8), ("torch", "cuda", "infer", 8)] == rows(
        request, torch=NEEDS_GPU
    )
    planned = plan(request, {"numpy": CPU, "torch": ABSENT}, 800)
    assert [ABSENT] == list(planned.problems.values())
    assert ["torch"] == [case.backend for case in planned.problems]


@pytest.mark.parametrize("device", ["cuda:GPU-8f2c11d0", "cuda:MIG-4f0c2a0e-1111"])
def test_a_device_may_be_asked_for_by_its_uuid(wide, device):
    request = wide(devices=(device,), scenarios=("infer",), batches=(8,))
    check(request)
    assert [("numpy", device, "infer", 8), ("torch", device, "infer", 8)] == rows(request)


def test_a_baseline_that_is_none_of_the_cases_is_refused_with_those_there_are(wide):
    found = {"numpy": CPU, "torch": CPU}
    assert plan(wide(baseline="torch:cpu"), found, 800).cases
    with pytest.raises(
        UsageError, match="'torch:cuda' matches no row; the rows are: numpy:cpu/eager, "
    ):
        plan(wide(baseline="torch:cuda"), found, 800)


def test_what_was_asked_for_twice_runs_once(wide):
    request = wide(backends=("numpy", "numpy"), scenarios=("infer", "infer"), batches=(8, 8))
    assert [("numpy", "cpu", "infer", 8)] == rows(request)


def test_the_threads_are_the_usable_cores_unless_they_are_chosen(wide):
    assert {1} == {c.threads for c in plan(wide(), {"numpy": CPU, "torch": CPU}, 8).cases}
    request = wide(threads=7)
    assert {7} == {c.threads for c in plan(request, {"numpy": CPU, "torch": CPU}, 8).cases}


def test_the_plan_of_a_case_says_all_that_the_case_does(wide):
    case = plan(wide(), {"numpy": CPU, "torch": BOTH}, 800).cases[2]
    made = dataclasses.asdict(case.plan(3))
    assert 3 == made.pop("seed")
    assert {name: getattr(case, name) for name in made} == made


def test_the_estimate_grows_with_what_there_is_to_do(wide):
    found = {"numpy": CPU, "torch": CPU}
    estimates = [
        plan(request, found, 800).estimate_s
        for request in (wide(rounds=0), wide(), wide(budget_s=60), wide(budget_s=60, epochs=5000))
    ]
    assert estimates == sorted(set(estimates))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"backends": ("nunpy",)}, "did you mean 'numpy'?"),
        ({"backends": ("module:",)}, "not of the form module:Class"),
        ({"devices": ("1gpu",)}, "a kind like cpu or cuda"),
        ({"devices": ("cuda:",)}, "a kind like cpu or cuda"),
        ({"baseline": "numpy"}, "baseline 'numpy' is not a backend:device"),
        ({"scenarios": ("training",)}, "did you mean 'train'?"),
        ({"batches": (0,)}, "batch 0 must be 1 to"),
        ({"batches": (10**15,)}, "must be 1 to 2,147,483,648"),
        ({"threads": 0}, "threads must be 1 or more"),
        ({"threads": -1}, "threads must be 1 or more"),
        ({"rounds": -1}, "rounds must be 0 or more"),
        ({"epochs": -1}, "epochs must be 0 or more"),
        ({"budget_s": 0.0}, "greater than 0"),
        ({"budget_s": float("nan")}, "greater than 0"),
    ],
)
def test_a_mistake_is_refused_with_what_would_be_right(request_for, choices, message):
    with pytest.raises(UsageError) as refusal:
        check(request_for(**choices))
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ({"backends": ("numpy", "tensorflw")}, "tiny.toml: matrix.backends: backend 'tensorflw'"),
        ({"devices": ("tpu:",)}, "tiny.toml: matrix.devices: device 'tpu:'"),
    ],
)
def test_a_mistake_in_a_suites_matrix_names_the_file_and_the_field(
    request_for, tiny, matrix, message
):
    suite = dataclasses.replace(tiny, matrix=Matrix(**matrix))
    with pytest.raises(SuiteError) as refusal:
        check(request_for(suite=suite))
    assert message in str(refusal.value)


def test_what_was_chosen_stands_in_for_a_suites_mistake(request_for, tiny):
    suite = dataclasses.replace(tiny, matrix=Matrix(backends=("nothing",)))
    check(request_for(suite=suite, backends=("numpy",)))


def test_rounds_go_to_and_fro_over_the_cases():
    assert [(1, "a"), (1, "b"), (2, "b"), (2, "a"), (3, "a"), (3, "b")] == list(
        interleaved(["a", "b"], range(1, 4))
    )
    # a round has its direction from its number, whatever there is of the ones before
    assert [(4, "b"), (4, "a")] == list(interleaved(["a", "b"], [4]))
    assert [] == list(interleaved(["a"], []))


@pytest.mark.parametrize(
    ("modes", "of_torch"),
    [((), ["eager"]), (("all",), ["eager", "graph"]), (("graph",), ["graph"])],
)
def test_a_backend_has_a_row_in_its_first_mode_and_in_each_of_all(wide, modes, of_torch):
    several = dataclasses.replace(BOTH, modes=("eager", "graph"))
    plain = dataclasses.replace(CPU, modes=())
    request = wide(devices=("cuda",), batches=(8,), scenarios=("train",), modes=modes)
    planned = plan(request, {"numpy": plain, "torch": several}, 800)
    assert [("numpy", ""), *(("torch", mode) for mode in of_torch)] == [
        (case.backend, case.mode) for case in planned.cases
    ]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"modes": ("graf",)}, "mode 'graf' is unknown: numpy has none; torch has eager, graph"),
        (
            {"precisions": ("bf16",)},
            "precision 'bf16' is unknown: numpy has fp32; torch has fp32, tf32",
        ),
        (
            {"devices": ("opencl:0",)},
            "device 'opencl:0' is unknown: numpy has cpu; torch has cpu, mps",
        ),
    ],
)
def test_a_word_that_no_backend_declares_is_refused_with_those_that_they_do(wide, choices, message):
    able = dataclasses.replace(
        CPU, modes=("eager", "graph"), precisions=("fp32", "tf32"), absent={"mps": "no Apple GPU"}
    )
    plain = dataclasses.replace(CPU, modes=())
    with pytest.raises(UsageError) as refusal:
        plan(wide(**choices), {"numpy": plain, "torch": able}, 800)
    assert message in str(refusal.value)


def test_a_word_that_one_backend_declares_leaves_the_others_a_row_that_says_why_not(wide):
    able = dataclasses.replace(CPU, precisions=("fp32", "bf16"))
    request = wide(precisions=("bf16",), scenarios=("train",), batches=(8,))
    planned = plan(request, {"numpy": CPU, "torch": able}, 800)
    assert 2 == len(planned.cases)
    ((case, found),) = planned.problems.items()
    assert ("numpy", "skipped") == (case.backend, found.status)
    assert "this backend has no precision 'bf16'; it has fp32" == found.reason


def test_a_backend_that_infers_alone_has_no_row_of_training_but_why(wide):
    infers = dataclasses.replace(CPU, scenarios=("infer",))
    planned = plan(wide(batches=(8,)), {"numpy": CPU, "torch": infers}, 800)
    assert ["torch"] == [case.backend for case in planned.problems]
    assert ["train"] == [case.scenario for case in planned.problems]


def test_modes_that_are_asked_for_give_a_row_each_but_not_to_a_backend_without_any(wide):
    modeless = dataclasses.replace(CPU, modes=())
    both = dataclasses.replace(CPU, modes=("eager", "graph"))
    request = wide(modes=("graph",), batches=(8,), scenarios=("train",))
    planned = plan(request, {"numpy": modeless, "torch": both}, 800)
    assert [("numpy", ""), ("torch", "graph")] == [(c.backend, c.mode) for c in planned.cases]


def test_every_precision_that_is_asked_for_gives_a_row_and_fp32_is_the_default(wide):
    able = dataclasses.replace(CPU, precisions=("fp32", "tf32"))
    chosen = {"batches": (8,), "scenarios": ("train",), "backends": ("numpy",)}
    one = plan(wide(**chosen), {"numpy": CPU}, 800)
    both = plan(wide(**chosen, precisions=("fp32", "tf32")), {"numpy": able}, 800)
    assert ["fp32"] == [case.precision for case in one.cases]
    assert ["fp32", "tf32"] == [case.precision for case in both.cases]


@pytest.mark.parametrize(("shape", "kind"), [([3, 1, 1], "channel"), ([3], "feature")])
def test_training_on_one_value_per_channel_is_refused_and_inference_is_not(
    request_for, tiny, shape, kind
):
    image = {
        "input_shape": shape,
        "layers": [{"type": "batch_norm"}, {"type": "flatten"}],
        "loss": "mean_squared_error",
        "optimizer": {"type": "sgd", "learning_rate": 0.1},
    }
    suite = dataclasses.replace(tiny, workload=read_workload(image))
    said = rf"layers\[0\]: at batch 1 batch_norm gets one value per {kind}"
    with pytest.raises(UsageError, match=said):
        check(request_for(suite=suite, scenarios=("train", "infer"), batches=(2, 1)))
    check(request_for(suite=suite, scenarios=("infer",), batches=(1,)))
    check(request_for(suite=suite, scenarios=("train",), batches=(2,)))
