import numpy as np
import pytest
import small
from faulty import FaultyAdapter

from dlbench.verify.checks.probes import check_probes, prepare_probes
from dlbench.verify.expected import reference
from dlbench.verify.expected.reference import load_reference, prepare_reference


@pytest.fixture
def workload():
    return small.workload("norm")


def same(one, other):
    for a, b in zip((*one.small, one.timed), (*other.small, other.timed), strict=True):
        assert a.factor == b.factor
        assert a.point.ambiguous == b.point.ambiguous
        for field in ("inputs", "targets", "order"):
            np.testing.assert_array_equal(getattr(a.point, field), getattr(b.point, field))
        assert set(a.expected) == set(b.expected)
        for name, wanted in a.expected.items():
            assert wanted.scale == b.expected[name].scale
            np.testing.assert_array_equal(wanted.value, b.expected[name].value)
            np.testing.assert_array_equal(wanted.tolerance, b.expected[name].tolerance)
        for name, value in a.point.weights.items():
            np.testing.assert_array_equal(value, b.point.weights[name])
    return True


@pytest.fixture
def no_oracle(monkeypatch):
    """Calling it forbids to compute anything from then on."""

    def compute(*_):
        raise AssertionError("the oracle was asked again")

    return lambda: monkeypatch.setattr(reference, "expect", compute)


def test_a_second_load_is_the_same_and_computes_nothing(workload, tmp_path, no_oracle):
    first = load_reference(workload, 6, tmp_path)
    no_oracle()
    assert same(first, load_reference(workload, 6, tmp_path))


def test_preparing_fills_the_cache_that_loading_reads(workload, tmp_path, no_oracle):
    prepare_reference(workload, 6, tmp_path)
    no_oracle()
    assert load_reference(workload, 6, tmp_path).small


def test_what_the_probes_need_is_prepared_too(workload, tmp_path, no_oracle):
    prepare_probes(workload, tmp_path)
    no_oracle()
    assert check_probes(FaultyAdapter(None), small.plan(), workload, tmp_path)


@pytest.mark.parametrize("change", ["batch", "precision", "workload", "source"])
def test_another_question_is_not_answered_from_the_cache(
    change, workload, tmp_path, no_oracle, monkeypatch
):
    prepare_reference(workload, 6, tmp_path)
    no_oracle()
    batch = 7 if change == "batch" else 6
    precision = "tf32" if change == "precision" else "fp32"
    if change == "workload":
        workload = small.workload("sigmoid")
    if change == "source":
        monkeypatch.setattr(reference, "source_hash", lambda: "another")
    with pytest.raises(AssertionError, match="asked again"):
        load_reference(workload, batch, tmp_path, precision)


def _shorten(data):
    return data[: len(data) // 2]


DAMAGE = {
    "empty": lambda data: b"",
    "cut in half": _shorten,
    "without its end": lambda data: data[:-30],
    "no archive": lambda data: b"no archive at all",
    "a flipped byte in the middle": lambda data: (
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 255]) + data[len(data) // 2 + 1 :]
    ),
    "another archive": None,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_in_the_cache_is_computed_again(damage, workload, tmp_path, no_oracle):
    first = load_reference(workload, 6, tmp_path)
    files = list((tmp_path / "oracle").iterdir())
    assert files
    for file in files:
        if DAMAGE[damage] is None:
            np.savez(file, other=np.ones(3))
        else:
            file.write_bytes(DAMAGE[damage](file.read_bytes()))
    assert same(first, load_reference(workload, 6, tmp_path))
    no_oracle()
    assert same(first, load_reference(workload, 6, tmp_path))


def test_nothing_but_results_is_left_in_the_cache(workload, tmp_path):
    load_reference(workload, 6, tmp_path)
    names = sorted(path.name for path in (tmp_path / "oracle").iterdir())
    assert len(names) == 2
    assert all(len(name) == 32 + len(".npz") and name.endswith(".npz") for name in names)


def test_dropout_does_not_change_the_reference(tmp_path, no_oracle):
    workload = small.workload("dropout")
    first = load_reference(workload, 6, tmp_path)
    no_oracle()
    assert same(first, load_reference(workload.without_dropout(), 6, tmp_path))


def test_a_file_that_cannot_be_written_leaves_no_part_of_it(tmp_path):
    class Unsavable:
        def __array__(self, *_, **__):
            raise RuntimeError("cannot be saved")

    with pytest.raises(RuntimeError):
        reference.save_arrays(tmp_path / "oracle" / "a.npz", {"a": Unsavable()})
    assert list((tmp_path / "oracle").iterdir()) == []
