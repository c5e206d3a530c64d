"""The cache of the oracle's results: what its key covers, and what is let go."""

import os
import zipfile

import numpy as np
import pytest

from dlbench.oracle import cache

OWN, OTHER = "a" * 16, "b" * 16


@pytest.fixture
def keep(tmp_path):
    """Keeps an array of 8 kB, last used so many days ago."""

    def keep(name, days=0.0, source=OWN):
        path = cache.place(tmp_path, source, name.encode())
        cache.save_arrays(path, {"a": np.zeros(1000)})
        used_s = os.stat(path).st_mtime - 86_400 * days
        os.utime(path, (used_s, used_s))
        return path

    return keep


def test_what_was_used_least_recently_goes_when_the_cache_is_full(keep, monkeypatch):
    first, second, third = keep("first", 2), keep("second", 3), keep("third", 1)
    # to be read is to be used
    assert cache.load_arrays(second) is not None
    monkeypatch.setattr(cache, "MAX_BYTES", 30_000)
    last = keep("last")
    assert [False, True, True, True] == [p.exists() for p in (first, second, third, last)]


@pytest.mark.parametrize("header", [b"{'descr': (", b"(" * 500, b"x"])
def test_a_file_whose_headers_are_damaged_is_as_good_as_none(keep, header):
    path = keep("first")
    with zipfile.ZipFile(path, "w") as archive:
        length = len(header).to_bytes(2, "little")
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + length + header)
    assert cache.load_arrays(path) is None


def test_results_of_other_sources_go_when_nobody_used_them_for_a_while(keep):
    used, unused, own = keep("a", 1, OTHER), keep("b", 30, OTHER), keep("c", 30)
    keep("last")
    assert [True, False, True] == [path.exists() for path in (used, unused, own)]


def test_the_key_covers_the_draws_that_the_cached_batches_come_from():
    names = {"/".join(path.parts[-2:]) for path in cache.sources()}
    assert {
        "dlbench/rng.py",
        "timed/replay.py",
        "oracle/layers.py",
        "spec/workload.py",
    } <= names
