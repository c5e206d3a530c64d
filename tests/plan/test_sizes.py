"""What cannot fit in memory is refused before any of it is made: one by one, and as a sum."""

import dataclasses
import resource
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from dlbench.errors import SuiteError, UsageError, WorkloadError
from dlbench.plan.cases import check
from dlbench.plan.sizes import RESIDENT_BATCHES, check_sum, check_tensors, needs
from dlbench.spec.suite import parse_suite

GIB = 2**30
SUITE = """
[network]
input = {shape}
layers = [{layers}, {{ type = "linear", out_features = 10 }}]
[training]
optimizer = {{ type = "sgd", learning_rate = 0.1 }}
[data]
name = "noise"
[matrix]
batches = {batches}
"""
FLATTEN, POOL = '{ type = "flatten" }', '{ type = "global_avg_pool" }'


def linear(features, repeat=1):
    return f'{{ type = "linear", out_features = {features}, repeat = {repeat} }}'


def suite_of(shape=(8,), layers=FLATTEN, batches=(4,)):
    text = SUITE.format(shape=list(shape), layers=layers, batches=list(batches))
    return parse_suite(text, Path("large.toml"))


@pytest.fixture
def checked(request_for):
    """Checks a request for a suite on a machine with so much memory."""

    def checked(suite, memory_bytes=16 * GIB, **choices):
        chosen = request_for(suite=suite, **choices)
        machine = msgspec.structs.replace(chosen.machine, memory_bytes=memory_bytes)
        check(dataclasses.replace(chosen, machine=machine))

    return checked


LARGE = {
    "one layer": (
        {"shape": (9,), "layers": linear(4_000_000_000)},
        r"network.layers\[0\]: linear1.weight",
    ),
    "an input of 4.5 GiB": (
        {"shape": (3, 20_000, 20_000), "layers": POOL, "batches": (1,)},
        "network.input: .*8 batches of 1",
    ),
    "one matrix": (
        {"layers": f"{linear(80_000)}, {linear(80_000)}"},
        r"network.layers\[1\]: linear2.w",
    ),
    "many matrices": (
        {"layers": linear(4_000, repeat=400)},
        "network.layers: weights of 401 layers 23.8 GiB",
    ),
    "batches together": (
        {"shape": (3, 1000, 1000), "batches": (300,)},
        "network.input: .*: together",
    ),
    "one output": (
        {"shape": (64, 600, 600), "batches": (180,)},
        r"network.layers\[0\]: its output|network.input",
    ),
}


@pytest.mark.parametrize("case", LARGE)
def test_what_does_not_fit_is_named_with_its_file_and_field(checked, case):
    choices, message = LARGE[case]
    with pytest.raises(SuiteError, match=rf"^large.toml: {message}.* this machine has 16.0 GiB$"):
        checked(suite_of(**choices))


def test_what_fits_is_let_pass_and_where_memory_is_unknown_all_is(checked):
    checked(suite_of(layers=linear(4_000, repeat=200)))
    checked(suite_of((3, 224, 224), batches=(64,)))
    checked(suite_of((9,), linear(4_000_000_000)), memory_bytes=None)


def test_the_batch_that_was_asked_for_counts_and_not_the_suites(checked):
    checked(suite_of((3, 1000, 1000), batches=(300,)), batches=(8,))
    with pytest.raises(SuiteError, match=r"large\.toml: network\.input"):
        checked(suite_of((3, 1000, 1000), batches=(8,)), batches=(300,))


def test_a_sum_is_exactly_what_it_says():
    workload = suite_of((8,), linear(6)).workload
    found = needs(workload, 5)
    weights, inputs = 4 * (8 * 6 + 6 + 6 * 10 + 10), 4 * RESIDENT_BATCHES * 5 * (8 + 2)
    assert [weights, inputs, 4 * 5 * 10] == [each.size_bytes for each in found]
    total = weights + inputs + 4 * 5 * 10
    check_sum(found, total)
    with pytest.raises(WorkloadError, match=r"network\.input: .*together 2\.2"):
        check_sum(found, total - 1)


def test_a_tensor_that_does_not_fit_is_named_with_its_size_and_what_there_is():
    workload = suite_of((100,), linear(400)).workload
    check_tensors(workload, 100, 4 * 400 * 100)
    with pytest.raises(WorkloadError, match=r"layers\[0\]: its output at batch 101 \(101 × 400\)"):
        check_tensors(workload, 101, 4 * 400 * 100)
    with pytest.raises(WorkloadError, match=r"linear1.weight \(400 × 100\) takes 156 KiB"):
        check_tensors(workload, 1, 4 * 400 * 100 - 1)


def test_the_files_of_all_batch_sizes_are_added_up_before_any_is_written(checked):
    image, many = (3, 2000, 2000), tuple(range(1, 1000))
    checked(suite_of(image, POOL, batches=many[:3]), memory_bytes=None)
    with pytest.raises(
        UsageError, match=r"^the batches of 999 sizes take 200,\d+ GiB in files, and"
    ):
        checked(suite_of(image, POOL, batches=many), memory_bytes=None)


def test_whole_epochs_of_noise_count_with_all_samples(checked):
    suite = suite_of((3, 2000, 2000), batches=(1,))
    checked(suite)
    with pytest.raises(
        UsageError, match=r"data noise: 2,560 samples of 3 × 2000 × 2000 .*--epochs"
    ):
        checked(suite, epochs=1)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"epochs": 10**400}, "epochs must be at most 1,000,000"),
        ({"rounds": 10**400}, "rounds must be at most 10,000"),
        ({"threads": 10**400}, "threads must be at most 65,536"),
        ({"batches": (10**400,)}, "batch an integer of 1,329 bits must be 1 to"),
        ({"batches": tuple(range(1, 2000))}, "number of batch sizes must be at most 1,000"),
        ({"budget_s": 1e308}, "budget 1e\\+308 must be"),
        ({"limit_s": 1e308}, "timeout 1e\\+308 must be"),
        ({"limit_s": float("nan")}, "timeout nan must be"),
    ],
)
def test_numbers_beyond_measure_are_refused(checked, choices, message):
    with pytest.raises(UsageError, match=message):
        checked(suite_of(), **choices)


def test_a_limit_of_addresses_is_a_limit_of_memory(tmp_path):
    """As ``ulimit -v`` sets it: seen in a process of its own."""
    code = "from dlbench.host.memory import address_limit_bytes; print(address_limit_bytes())"

    def limited():
        resource.setrlimit(resource.RLIMIT_AS, (4 * GIB, resource.RLIM_INFINITY))

    seen = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=limited
    )
    assert str(4 * GIB) == seen.stdout.strip(), seen.stderr
