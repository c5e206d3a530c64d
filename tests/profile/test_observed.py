"""What spans say of a step beside the ladder, of made-up steps whose spans are known."""

import dataclasses

import msgspec
import pytest
from ladder_makers import Costs, made_up

from dlbench.contract import Span
from dlbench.profile.explanation import explain
from dlbench.profile.layer_times import layer_times
from dlbench.profile.observed import observed
from dlbench.record.door import check
from dlbench.record.facts import SpanTimes, StepSpans
from dlbench.spec.workload import read_workload

WORKLOAD = read_workload(
    {
        "input_shape": [1, 8, 8],
        "layers": [
            {"type": "conv2d", "name": "first", "out_channels": 2, "kernel": 3},
            {"type": "relu", "name": "bend"},
            {
                "type": "residual",
                "name": "block",
                "body": [
                    {
                        "type": "conv2d",
                        "name": "within",
                        "out_channels": 2,
                        "kernel": 3,
                        "padding": 1,
                    }
                ],
            },
            {"type": "flatten", "name": "flat"},
            {"type": "linear", "name": "last", "out_features": 3},
        ],
        "loss": "cross_entropy",
        "optimizer": {"type": "adam", "learning_rate": 0.001},
    }
)
COSTS = Costs(
    {"first": 4.0, "bend": 1.0, "block": 2.0, "flat": 0.1, "last": 0.5},
    {"first": 6.0, "bend": 1.0, "block": 3.0, "flat": 0.1, "last": 0.7},
)
SPANS_MS = {
    (("first", "bend"), "forward", ""): 5.0,
    (("bend",), "backward", ""): 1.0,
    (("first",), "backward", ""): 6.0,
    (("block",), "forward", ""): 0.5,
    (("within",), "forward", ""): 1.5,
    (("within",), "backward", ""): 3.0,
    (("last",), "forward", ""): 0.5,
    (("last",), "backward", ""): 0.7,
    ((), "forward", "loss"): 0.2,
    ((), "update", "optimizer"): 0.5,
    ((), "backward", "waiting"): 1.0,
}


def profiled(spans_ms=SPANS_MS, longer=1.0):
    """A profile with the spans of steps of 20 ms that are so many times as long as plain ones."""
    times = tuple(
        SpanTimes(layers=layers, track=track, name=name, blocks_ns=(round(1e6 * took),) * 4)
        for (layers, track, name), took in spans_ms.items()
    )
    plain = tuple(round(20e6 / longer) + each for each in (-1000, 0, 1000, 0))
    spans = StepSpans(plain_ns=plain, observed_ns=(20_000_000,) * 4, times=times)
    return _with(made_up(WORKLOAD, COSTS), spans)


def _with(profile, spans):
    return msgspec.structs.replace(profile, spans=spans)


def seen_of(profile):
    return observed(profile, WORKLOAD, layer_times(profile, WORKLOAD))


def test_what_served_two_layers_is_one_group_and_is_not_split():
    seen = seen_of(profiled())
    groups = {group.label: group for group in seen.groups}
    assert list(groups) == ["first+bend", "block", "last", "loss", "optimizer"]
    first = groups["first+bend"]
    assert pytest.approx(12e-3) == first.time.mean_s
    assert pytest.approx(5e-3) == first.forward.mean_s
    assert pytest.approx(7e-3) == first.backward.mean_s
    assert pytest.approx(0.6) == first.share


def test_spans_within_a_block_are_the_blocks_where_that_is_one_part():
    groups = {group.label: group for group in seen_of(profiled()).groups}
    assert pytest.approx(5e-3) == groups["block"].time.mean_s
    assert "within" not in groups


def test_what_lies_in_no_span_and_what_serves_no_part_are_told():
    seen = seen_of(profiled())
    assert {"waiting": pytest.approx(0.05)} == seen.others
    assert pytest.approx((20 - sum(SPANS_MS.values())) / 20) == seen.between


@pytest.mark.parametrize(("longer", "only_shares"), [(1.0, False), (1.04, False), (1.06, True)])
def test_stamps_that_take_more_than_a_twentieth_leave_shares_alone(longer, only_shares):
    seen = seen_of(profiled(longer=longer))
    assert pytest.approx(longer - 1, abs=1e-3) == seen.effect.mean
    assert only_shares == seen.only_shares


def test_one_pair_of_blocks_leaves_shares_alone():
    whole = profiled()
    spans = whole.spans
    times = tuple(dataclasses.replace(each, blocks_ns=each.blocks_ns[:1]) for each in spans.times)
    few = dataclasses.replace(
        spans, times=times, plain_ns=spans.plain_ns[:1], observed_ns=spans.observed_ns[:1]
    )
    assert seen_of(_with(whole, few)).only_shares


def test_an_order_that_differs_is_told():
    assert not seen_of(profiled()).agreement.turned
    other = SPANS_MS | {(("within",), "backward", ""): 12.0}
    [turned] = seen_of(profiled(other)).agreement.turned
    assert ("first+bend", "block") == (turned.first.name, turned.second.name)
    beyond = turned.second.beyond
    assert pytest.approx(5e-3 - 14e-3, rel=0.05) == beyond.mean_s


def test_no_spans_are_none():
    assert seen_of(made_up(WORKLOAD, COSTS)) is None
    assert seen_of(profiled({})).groups == ()
    assert seen_of(_with(profiled(), StepSpans(reason="a mode without"))) is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"plain_ns": (1, 2)}, "of other blocks"),
        ({"plain_ns": (1, 2, 3, 0)}, "a step of no time"),
        ({"sample": (Span(("last",), "forward", "", 0, -1, 5),)}, "less than no time"),
    ],
)
def test_spans_of_a_record_that_cannot_be_are_refused(change, told):
    with pytest.raises(ValueError, match=told):
        check(dataclasses.replace(profiled().spans, **change))


def test_spans_are_evidence_where_both_rows_have_them():
    slower = dataclasses.replace(COSTS, backward=COSTS.backward | {"last": 4.7})
    first = _with(
        made_up(WORKLOAD, slower, process=1, backend="other"),
        profiled(SPANS_MS | {(("last",), "backward", ""): 4.7}).spans,
    )
    found = explain(first, profiled(), (WORKLOAD, WORKLOAD))
    evidence = {part.name: part.evidence for part in found.parts}
    assert "spans 5.20 ms against 1.20 ms" in evidence["last"]
    assert evidence["last"].count("spans") == 1
    # neither tells the two apart
    assert "spans 12.0 ms against 12.0 ms with bend" in evidence["first"]


def test_a_row_without_spans_leaves_no_evidence_of_them():
    found = explain(made_up(WORKLOAD, COSTS, process=1), profiled(), (WORKLOAD, WORKLOAD))
    assert not any("spans" in part.evidence for part in found.parts)


def test_shares_are_the_evidence_where_stamps_take_long():
    found = explain(profiled(longer=1.1), profiled(), (WORKLOAD, WORKLOAD))
    evidence = {part.name: part.evidence for part in found.parts}
    assert "spans 60 % against 60 % of the step with bend" in evidence["first"]
