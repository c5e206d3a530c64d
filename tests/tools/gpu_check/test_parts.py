"""What is planned for a machine with a GPU: in which order, on which devices, and not too much of it."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlbench.cli.main import run_command
from dlbench.contract import Device
from dlbench.plan.backend_status import Found
from gpu_check.parts import PARTS, Extent, Part, planned, with_gpu

from .conftest import MACHINE

EVERY = {"cudnn", "cupy", "numpy", "tensorflow", "torch"}


@pytest.fixture
def plan(tmp_path):
    """Plans for this machine."""
    return lambda found, **options: planned(found, MACHINE, tmp_path, **options)


def rows(each):
    """Backends with their devices."""
    return {(case.backend, case.device) for case in each.cases}


def test_the_first_part_is_small_and_of_the_suite_that_everything_is_judged_by(plan, found):
    first, *rest = plan(found())
    assert ("cnn-mnist", (64,), ("train",)) == (
        first.part.suite,
        first.part.batches,
        first.part.scenarios,
    )
    assert len(first.cases) <= 7
    # in one run, for a crossover is read from one record
    (sweep,) = (each for each in rest if len(each.part.batches) > 1)
    assert {1, 8, 64, 512} == {case.batch for case in sweep.cases} == set(sweep.request.batches)
    assert {"train", "infer"} == {case.scenario for case in sweep.cases}
    assert [part for part in PARTS if part in [each.part for each in rest]] == [
        each.part for each in rest
    ]


def test_each_backend_is_on_its_gpu_and_numpy_on_the_cpu(plan, found):
    every = {(name, "cuda") for name in ("torch", "tensorflow", "cupy")}
    for number, each in enumerate(plan(found())):
        gpus = every | ({("cudnn", "cuda")} if number < 2 else set())
        beside = {("numpy", "cpu")} if each.part.precision == "fp32" else set()
        assert gpus | beside == rows(each)
        assert {each.part.precision} == {case.precision for case in each.cases}
        assert {"eager", "graph"} == {case.mode for case in each.cases if case.backend == "cupy"}


def test_the_suites_come_before_tf32_and_their_training_before_their_inference(plan, found):
    parts = [each.part for each in plan(found())]
    order = [(part.suite, part.precision, part.scenarios) for part in parts]
    trains = ("train",)
    assert order[1:] == [
        ("resnet-cifar10", "fp32", trains),
        ("cnn-mnist", "fp32", ("train", "infer")),
        ("cnn-cifar10", "fp32", trains),
        ("cnn-mnist", "tf32", trains),
        ("vgg-cifar10", "fp32", trains),
    ]


def test_what_cannot_use_the_gpu_is_in_the_first_part_with_its_reason_and_in_no_other(plan, found):
    first, *rest = plan(found("tensorflow"))
    assert ("tensorflow", "cuda") in rows(first)
    assert all("tensorflow" not in {case.backend for case in each.cases} for each in rest)
    built_for_the_cpu = found() | {"torch": Found("ok", devices=(Device("cpu", ""),))}
    first, *rest = plan(built_for_the_cpu)
    assert ("torch", "cpu") in rows(first)
    assert all("torch" not in {case.backend for case in each.cases} for each in rest)


@settings(suppress_health_check=list(HealthCheck), max_examples=40)
@given(absent=st.sets(st.sampled_from(sorted(EVERY - {"numpy"}))), most=st.integers(0, 70))
def test_there_are_never_more_cases_than_allowed_and_room_goes_to_the_first_that_fits(
    plan, found, absent, most
):
    found = found(*absent)
    chosen = plan(found, extent=Extent(most_cases=most))
    left = most
    sizes = {each.part: len(each.cases) for each in plan(found, extent=Extent(most_cases=999))}
    for part in PARTS:
        fits = sizes[part] <= left
        assert fits == (part in [each.part for each in chosen])
        left -= sizes[part] * fits
    assert sum(len(each.cases) for each in chosen) <= most


def test_the_default_is_sixty_eight_cases_at_most_and_holds_every_suite_and_the_whole_sweep(
    plan, found
):
    for absent in ((), ("tensorflow",), ("cupy", "tensorflow"), ("cudnn",)):
        chosen = plan(found(*absent))
        assert sum(len(each.cases) for each in chosen) <= 68
        trained = {
            (case.suite, case.batch)
            for each in chosen
            for case in each.cases
            if case.scenario == "train" and case.precision == "fp32"
        }
        sweep = {("cnn-mnist", batch) for batch in (1, 8, 64, 512)}
        assert trained == sweep | {
            ("resnet-cifar10", 128),
            ("cnn-cifar10", 32),
            ("vgg-cifar10", 128),
        }


def test_every_part_waits_for_a_quiet_machine_as_long_as_a_run_does(plan, found):
    (option,) = (each for each in run_command.params if each.name == "patience_s")
    assert {option.default} == {each.request.patience_s for each in plan(found())}


def test_each_process_gets_its_sampling_time(plan, found):
    for each in plan(found("tensorflow"), extent=Extent(rounds=2, seconds=0.5)):
        assert each.request.budget_s == pytest.approx(2 * 0.5)


def test_backends_with_a_gpu_are_those_that_can_be_used_there(found):
    assert ["cudnn", "cupy", "torch"] == sorted(with_gpu(found("tensorflow")))
    assert [] == with_gpu({"numpy": Found("ok", devices=(Device("cpu", ""),))})


def test_a_record_is_of_the_part_with_its_suite_batches_precision_and_scenarios(plan, found):
    cases = [case for case in plan(found())[2].cases if case.batch in (1, 64)]
    header = type("Header", (), {"suite": "cnn-mnist", "cases": cases})
    assert Part("cnn-mnist", (64, 1)).is_of(header)
    assert not Part("cnn-mnist", (64,)).is_of(header)
    assert not Part("cnn-mnist", (1, 8, 64)).is_of(header)
    assert not Part("resnet-cifar10", (1, 64)).is_of(header)
    assert not Part("cnn-mnist", (1, 64), "tf32").is_of(header)
    assert not Part("cnn-mnist", (1, 64), scenarios=("train",)).is_of(header)


def test_a_part_is_called_by_what_is_in_it():
    assert "cnn-mnist at batch 1, 8 and 64" == Part("cnn-mnist", (1, 8, 64)).label
    assert (
        "tiny at batch 64 in tf32, training"
        == Part("folder/tiny.toml", (64,), "tf32", ("train",)).label
    )
