"""What a worker answers may be well formed and yet mean nothing: then it costs that worker its row."""

import math

import pytest

from dlbench.record.facts import OpenResult, TimerResult, VerifyResult, WarmUpResult
from dlbench.worker.decoding import decode
from dlbench.worker.protocol import ProtocolError

OPENED = {"facts": {"threads": 2, "device": "cpu"}, "seconds": {"open": 0.1}}
DEEP = []
for _ in range(950):
    DEEP = [DEEP]


def test_a_result_of_its_type_is_decoded():
    assert {"threads": 2, "device": "cpu"} == decode(OPENED, OpenResult).facts


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"facts": {"threads": -5}}, "the fact threads is -5, should be 1 or more"),
        ({"facts": {"threads": 0}}, "the fact threads is 0"),
        ({"facts": {"threads": "nan"}}, "the fact threads is 'nan'"),
        ({"facts": {"threads": math.nan}}, "nan where a number should be"),
        ({"facts": {"peak_device_memory_bytes": -1}}, "the fact peak_device_memory_bytes is -1"),
        ({"facts": {f"fact {i}": "x" for i in range(300)}}, "300 facts, where 256 are the most"),
        ({"facts": {"story": "x" * 10**6}}, "a text of 1,000,000 characters"),
        ({"facts": {"x" * 10**6: 1}}, "a text of 1,000,000 characters"),
        ({"facts": {"number": 2**64}}, "an integer of more than 63 bits"),
        ({"facts": [1]}, "not a OpenResult"),
        ({"facts": None}, "not a OpenResult"),
        ({"facts": {"deep": DEEP}}, "OpenResult"),
        ({"seconds": {"open": -1e308}}, "seconds is -1e+308"),
        ({"seconds": {"open": 1e12}}, "seconds is 1e+12"),
        ({"seconds": {"open": math.inf}}, "inf where a number should be"),
        ({"seconds": -1}, "seconds is -1"),
    ],
)
def test_a_result_that_means_nothing_is_refused(change, said):
    with pytest.raises(ProtocolError) as error:
        decode(OPENED | change, OpenResult)
    assert said in str(error.value)


@pytest.mark.parametrize("kind", [OpenResult, VerifyResult, TimerResult, WarmUpResult])
def test_a_result_with_nothing_in_it_is_refused(kind):
    with pytest.raises(ProtocolError, match="missing required"):
        decode({}, kind)


def test_a_time_below_0_or_beyond_any_machines_life_is_refused():
    for figure in (-1.0, 4.6e18):
        with pytest.raises(ProtocolError, match="null_timing_ns is "):
            decode({"null_timing_ns": figure, "seconds": {}}, TimerResult)
    assert 40.0 == decode({"null_timing_ns": 40.0, "seconds": {}}, TimerResult).null_timing_ns
