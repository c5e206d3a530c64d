"""What is planned for a machine with a GPU: in which order, on which devices, and not too much of it."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dlbench.gpu_check.parts import PARTS, Extent, Part, planned, with_gpu
from dlbench.look import Found

from .conftest import MACHINE

EVERY = {"cupy", "numpy", "tensorflow", "torch"}


@pytest.fixture
def plan(tmp_path):
    """Plans for this machine."""
    return lambda found, **options: planned(found, MACHINE, tmp_path, **options)


def rows(each):
    """Backends with their devices."""
    return {(case.backend, case.device) for case in each.cases}


def test_the_first_part_is_the_suite_and_batch_that_everything_is_judged_by(plan, found):
    first, *rest = plan(found())
    assert ("cnn-mnist", 64) == (first.part.suite, first.part.batch)
    assert {"train", "infer"} == {case.scenario for case in first.cases}
    assert [part for part in PARTS if part in [each.part for each in rest]] == [
        each.part for each in rest
    ]
    assert {"cnn-mnist", "cnn-cifar10", "resnet-cifar10"} <= {each.part.suite for each in rest}


def test_each_backend_is_on_its_gpu_and_numpy_on_the_cpu(plan, found):
    gpus = {(name, "cuda") for name in ("torch", "tensorflow", "cupy")}
    for each in plan(found()):
        beside = {("numpy", "cpu")} if each.part.precision == "fp32" else set()
        assert gpus | beside == rows(each)
        assert {each.part.precision} == {case.precision for case in each.cases}
        assert {"eager", "graph"} == {case.mode for case in each.cases if case.backend == "cupy"}


def test_tf32_comes_behind_the_three_batches_of_the_first_suite_and_before_the_others(plan, found):
    order = [(each.part.suite, each.part.batch, each.part.precision) for each in plan(found())]
    first = [("cnn-mnist", batch, "fp32") for batch in (64, 512, 1)]
    assert [*first, ("cnn-mnist", 64, "tf32")] == order[:4]


def test_what_cannot_use_the_gpu_is_in_the_first_part_with_its_reason_and_in_no_other(plan, found):
    first, *rest = plan(found("tensorflow"))
    assert ("tensorflow", "cuda") in rows(first)
    assert all("tensorflow" not in {case.backend for case in each.cases} for each in rest)
    built_for_the_cpu = found() | {"torch": Found("ok", devices=(("cpu", ""),))}
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


def test_the_default_is_sixty_cases_at_most_and_holds_the_three_suites(plan, found):
    for absent in ((), ("tensorflow",), ("cupy", "tensorflow")):
        chosen = plan(found(*absent))
        assert sum(len(each.cases) for each in chosen) <= 60
        suites = {each.part.suite for each in chosen}
        assert {"cnn-mnist", "cnn-cifar10", "resnet-cifar10"} <= suites
        assert {1, 64, 512} <= {e.part.batch for e in chosen if e.part.suite == "cnn-mnist"}


def test_each_process_gets_its_sampling_time(plan, found):
    for each in plan(found("tensorflow"), extent=Extent(rounds=2, seconds=0.5)):
        running = [case for case in each.cases if case.backend != "tensorflow"]
        assert each.request.budget_s == pytest.approx(2 * 0.5 * len(running))


def test_backends_with_a_gpu_are_those_that_can_be_used_there(found):
    assert ["cupy", "torch"] == sorted(with_gpu(found("tensorflow")))
    assert [] == with_gpu({"numpy": Found("ok", devices=(("cpu", ""),))})


def test_a_record_is_of_the_part_with_its_suite_and_batch(plan, found):
    header = type("Header", (), {"suite": "cnn-mnist", "cases": plan(found())[0].cases})
    assert Part("cnn-mnist", 64).is_of(header)
    assert not Part("cnn-mnist", 512).is_of(header)
    assert not Part("resnet-cifar10", 64).is_of(header)
    assert not Part("cnn-mnist", 64, "tf32").is_of(header)
