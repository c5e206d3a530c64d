import json
import math
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlbench.worker import protocol

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values))
def test_a_message_survives_the_way(message):
    line = protocol.encode(message)
    assert line.endswith(b"\n")
    assert b"\n" not in line[:-1]
    assert message == protocol.decode(line[:-1])


def test_numbers_that_are_not_finite_survive_the_way():
    assert math.isnan(protocol.decode(protocol.encode({"loss": math.nan}))["loss"])


@given(st.lists(st.binary().filter(lambda b: b"\n" not in b)), st.lists(st.integers(1, 9)))
def test_lines_are_found_however_the_stream_is_cut(lines, sizes):
    stream = b"".join(line + b"\n" for line in lines) + b"rest"
    cutter, found = protocol.Lines(), []
    for size in [*sizes, len(stream)]:
        found += cutter.feed(stream[:size])
        stream = stream[size:]
    assert lines == found
    assert b"rest" == cutter.rest


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_no_rubbish_is_taken_for_an_event_or_raises_anything_unforeseen(line):
    with pytest.raises(protocol.ProtocolError):
        protocol.decode_event(line)


def _error(**changes):
    texts = dict.fromkeys(protocol.ERROR_TEXTS, "")
    return {"event": "error", "kind": "failed", **texts, **changes}


def test_an_error_with_all_its_texts_is_an_event():
    assert protocol.decode_event(json.dumps(_error(reason="it broke")).encode())


@pytest.mark.parametrize(
    "event",
    [
        {"event": "phase"},
        {"event": "phase", "phase": 3},
        {"event": "result", "result": None},
        {"event": "error", "kind": "failed", "reason": "no trace"},
        {"event": "error", "kind": "ok", "reason": "", "remedy": "", "missing": "", "trace": ""},
        {"event": "other"},
        {"event": "phase", "phase": "x" * 10**6},
        {"event": "phase", "phase": "verify\x1b]0;title\x07"},
        _error(reason="x" * 10**6),
        _error(trace="x" * 10**6),
    ],
)
def test_an_event_that_lacks_something_is_refused(event):
    with pytest.raises(protocol.ProtocolError):
        protocol.decode_event(json.dumps(event).encode())


def test_a_deeply_nested_line_is_refused():
    with pytest.raises(protocol.ProtocolError):
        protocol.decode(b"[" * 100_000)


def test_an_endless_line_is_refused(monkeypatch):
    monkeypatch.setattr(protocol, "MAX_LINE_BYTES", 100)
    with pytest.raises(protocol.ProtocolError):
        list(protocol.Lines().feed(b"x" * 101))


def test_jobs_are_received_whole_until_the_other_side_is_gone():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        received = protocol.messages(theirs.fileno())
        os.write(ours.fileno(), b'{"job":')
        os.write(ours.fileno(), b'"look"}\n{"job":"open"}\n{"job":')
        assert {"job": "look"} == next(received)
        assert {"job": "open"} == next(received)
        ours.close()
        # what was cut off is no job
        assert [] == list(received)


def test_what_is_no_message_is_no_job():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        os.write(ours.fileno(), b"rubbish\n")
        with pytest.raises(protocol.ProtocolError):
            next(protocol.messages(theirs.fileno()))
