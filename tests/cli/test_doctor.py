"""What can be used here and what cannot, with what would change that."""

from pathlib import Path
from typing import Any

from dlbench.cli.doctor import describe_backends, describe_data, describe_plan
from dlbench.contract import Device
from dlbench.execute.probe import look_at
from dlbench.plan.backend_status import Found

FOUND = {
    "numpy": Found("ok", version="2.4.6", devices=(Device("cpu", "CPU"),), facts={"threads": 2}),
    "torch": Found(
        "ok",
        version="2.13.0",
        modes=("eager",),
        devices=(Device("cpu", ""), Device("cuda:0", "H200")),
    ),
    "cupy": Found("skipped", "CuPy is not installed", "pip install 'dlbench[cupy]'"),
    "acme": Found("failed", "ImportError:\n broken"),
}


def test_each_backend_has_a_line_and_the_unusable_ones_say_why() -> None:
    assert describe_backends(FOUND).splitlines() == [
        "✓ numpy  2.4.6  cpu",
        "✓ torch  2.13.0 (eager)  cpu, cuda:0",
        "– cupy   CuPy is not installed: pip install 'dlbench[cupy]'",
        "✗ acme   failed: ImportError: broken",
    ]


def test_details_tell_threads_and_devices() -> None:
    lines = [line.strip() for line in describe_backends(FOUND, detailed=True).splitlines()]
    assert "threads: 2" in lines
    assert "cuda:0: H200" in lines


def test_details_tell_why_there_is_no_gpu() -> None:
    found = {
        "torch": Found(
            "ok", devices=(Device("cpu", ""),), absent={"cuda": "the driver\nis too old"}
        )
    }
    assert "the driver is too old" in describe_backends(found, detailed=True)
    assert "driver" not in describe_backends(found)


def test_no_backend_at_all_is_no_failure() -> None:
    assert describe_backends({}) == ""


def test_the_numpy_backend_is_found_with_its_blas_and_threads() -> None:
    told = describe_backends(look_at(["numpy"]), detailed=True)
    assert told.startswith("✓ numpy")
    assert "threads: 1" in told
    assert "blas" in told


def test_data_that_is_missing_comes_with_the_command_that_gets_it(tmp_path: Path) -> None:
    told = describe_data(tmp_path)
    assert "dlbench data fetch mnist" in told
    assert "dlbench data fetch cifar10" in told


def test_a_plan_lists_what_runs_what_does_not_and_how_long_it_takes(make: Any) -> None:
    torch, cupy = make.case("torch"), make.case("cupy", "cuda")
    assert describe_plan([torch, cupy], {cupy: FOUND["cupy"]}, 41.0).splitlines() == [
        "  torch:cpu/eager/train/64  2 threads",
        "– cupy:cuda/train/64  CuPy is not installed: pip install 'dlbench[cupy]'",
        "1 case, about 41 s",
    ]
