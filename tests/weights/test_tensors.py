"""Files of weights: what was written is read again, and what does not fit is refused with what is there and needed."""

import msgspec
import numpy as np
import pytest

pytest.importorskip("safetensors")

from safetensors import safe_open
from safetensors.numpy import save_file

from dlbench.errors import UsageError
from dlbench.record.case import Case
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import digest_of, initial_weights, read_workload
from dlbench.weights.saved import check_places, facts_of, place_of
from dlbench.weights.tensors import read_weights, write_weights

NETWORK = {
    "input_shape": [2, 6, 6],
    "layers": [
        {"type": "conv2d", "out_channels": 3, "kernel": 3},
        {"type": "batch_norm"},
        {"type": "linear", "out_features": 4},
    ],
    "optimizer": {"type": "sgd", "learning_rate": 0.1},
}
NETWORK["layers"].insert(2, {"type": "flatten"})
CASE = Case(
    suite="tiny", scenario="train", backend="torch", device="cpu", batch=16, threads=1, mode="eager"
)


@pytest.fixture
def workload():
    return read_workload(NETWORK)


@pytest.fixture
def weights(workload):
    return initial_weights(workload, 3)


def test_what_was_written_is_read_again_bit_by_bit_whatever_the_file_is_called(
    workload, weights, tmp_path
):
    found = []
    for name in ("a.safetensors", "other"):
        write_weights(tmp_path / name, weights, {"suite": "tiny", "steps": "7"})
        found.append(read_weights(tmp_path / name, workload))
    assert [list(weights)] * 2 == [list(each) for each in found]
    for each in found:
        assert all(np.array_equal(each[name], weights[name]) for name in weights)
    assert digest_of(weights) == digest_of(found[0]) == digest_of(found[1])
    with safe_open(tmp_path / "other", "np") as file:
        assert {"suite": "tiny", "steps": "7"} == file.metadata()
    with pytest.raises(UsageError, match="is there already"):
        write_weights(tmp_path / "other", weights, {})


def without(weights, name):
    return {key: value for key, value in weights.items() if key != name}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda w: w | {"linear1.weight": np.zeros((5, 48), np.float32)},
            r"does not fit: linear1\.weight is 5 × 48 there, 4 × 48 is needed$",
        ),
        (
            lambda w: (
                w
                | {
                    "linear1.weight": np.zeros(4, np.float32),
                    "conv1.weight": np.zeros((), np.float32),
                }
            ),
            r"does not fit: conv1\.weight is a single number there, 3 × 2 × 3 × 3 is needed$",
        ),
        (
            lambda w: without(w, "norm1.scale") | {"gamma": w["norm1.scale"]},
            r"1 of 8 tensors \(norm1\.scale\) is missing; 1 of 8 tensors \(gamma\) is in it without",
        ),
        (
            lambda w: {f"net.{name}": value for name, value in w.items()},
            r"8 of 8 tensors \(conv1\.weight, conv1\.bias, norm1\.scale, …\) are missing; 8 of 8",
        ),
        (
            lambda w: w | {"norm1.scale": np.ones(3, np.float64)},
            r"norm1\.scale is F64 there, F32 is needed",
        ),
        (
            lambda w: w | {"norm1.shift": np.array([0, np.nan, np.inf], np.float32)},
            r"norm1\.shift\[1\] is nan; 2 of 3 values are no finite numbers",
        ),
        (
            lambda w: (
                w | {"conv1.weight": np.where(w["conv1.weight"] == 0, 0, np.float32(-np.inf))}
            ),
            r"conv1\.weight\[0, 0, 0, 0\] is -inf; 54 of 54",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused_at_its_first_mismatch(
    workload, weights, tmp_path, change, said
):
    save_file(change(weights), tmp_path / "w.safetensors", {"suite": "other"})
    with pytest.raises(UsageError, match=said) as error:
        read_weights(tmp_path / "w.safetensors", workload)
    assert str(error.value).startswith(str(tmp_path / "w.safetensors"))
    if "does not fit" in said:
        assert "(saved of the suite other)" in str(error.value)


@pytest.mark.parametrize("contents", [b"", b"\xff" * 20, b"\x10\0\0\0\0\0\0\0{}", b"PK\x03\x04"])
def test_a_file_of_something_else_is_refused(workload, tmp_path, contents):
    (tmp_path / "w.safetensors").write_bytes(contents)
    with pytest.raises(UsageError, match=r"damaged, or no file of safetensors"):
        read_weights(tmp_path / "w.safetensors", workload)
    with pytest.raises(UsageError, match="there is no such file"):
        read_weights(tmp_path / "absent.safetensors", workload)


def test_a_file_cut_short_is_refused(workload, weights, tmp_path):
    write_weights(tmp_path / "whole", weights, {})
    whole = (tmp_path / "whole").read_bytes()
    (tmp_path / "half").write_bytes(whole[: len(whole) - 40])
    with pytest.raises(UsageError, match="damaged"):
        read_weights(tmp_path / "half", workload)


def test_places_are_refused_before_anything_is_trained(tmp_path):
    second = msgspec.structs.replace(CASE, backend="numpy", mode="")
    one, folder = tmp_path / "w.safetensors", tmp_path / "folder"
    assert one == place_of(one, CASE, 3)
    assert folder / "torch-cpu-eager-train-16.safetensors" == place_of(folder, CASE, 3)
    check_places(one, [(CASE, 0)])
    converging = msgspec.structs.replace(CASE, scenario="converge")
    assert "seed3" in place_of(folder, converging, 3).name
    check_places(folder, [(CASE, 0), (second, 0)])
    for place, cases, said in (
        (one, [], "nothing is trained"),
        (one, [(CASE, 0), (second, 0)], "is one file, and 2 trainings end with one each; name"),
    ):
        with pytest.raises(UsageError, match=said):
            check_places(place, cases)
    one.write_bytes(b"")
    (tmp_path / "file").write_bytes(b"")
    for place, said in ((one, "is there already"), (tmp_path / "file", "neither a folder nor")):
        with pytest.raises(UsageError, match=said):
            check_places(place, [(CASE, 0)])


def test_a_file_says_what_its_weights_are(workload):
    found = facts_of(
        CASE, workload_digest=workload.digest, steps=40, epochs=2, seed=5, began_with="ab" * 32
    )
    wanted = {"suite": "tiny", "workload": workload.digest, "backend": "torch", "seed": "5"}
    wanted |= {"steps": "40", "epochs": "2", "began_with": "ab" * 32}
    assert wanted.items() <= found.items()
    assert {"dlbench", "case"} == found.keys() - wanted.keys()


def test_every_suite_that_ships_reads_its_own_weights(tmp_path):
    for name in ("smoke", "lenet5"):
        workload = load_suite(name).workload
        write_weights(tmp_path / name, initial_weights(workload, 1), {})
        again = read_weights(tmp_path / name, workload)
        assert digest_of(initial_weights(workload, 1)) == digest_of(again)
