"""Every barrier and every check of a place is needed: without it, some launch shows that it is gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sanitized
from recorded import FILES, KERNELS

HERE = Path(__file__).parent

# file, line of code, and what may be taken away from it unseen: why that is so
HARMLESS = {
    ("gemm.cu", "bool more = k + BK < end;", "k + BK < end"): (
        "saves the last step's loads, which would be zeros: every source checks its own end"
    ),
    (
        "norm.cu",
        "if (threadIdx.x < CT && channel < channels) {",
        "threadIdx.x < CT",
    ): "the other threads of a channel hold the same sums and would write them again",
    (
        "norm.cu",
        "if (blockIdx.x == 0 && threadIdx.x < CT) {",
        "threadIdx.x < CT",
    ): "the other threads of a channel hold the same sums and would write them again",
    (
        "weight_gradient.cu",
        "bool there = index < KH * KW * shape.channels;",
        "index < KH * KW * shape.channels",
    ): "saves loads of rows that are not stored; whether they lie in the image is checked again",
}


@pytest.mark.skipif(not sanitized.libraries(), reason="the compiler has no sanitizers")
@pytest.mark.skipif(sanitized.ACTIVE, reason="starts a sanitized process of its own")
def test_no_barrier_and_no_check_can_be_taken_away_unseen():
    result = sanitized.run([str(HERE / "mutants.py")], 500)
    assert 0 == result.returncode, sanitized.shortened(result.stderr)
    unseen = {tuple(place) for place in json.loads(result.stdout)}
    assert set() == unseen - HARMLESS.keys()


def test_what_is_harmless_is_still_there():
    texts = {file: (KERNELS / file).read_text("utf-8") for file in FILES}
    assert [] == [place for place in HARMLESS if place[1] not in texts.get(place[0], "")]
