"""What a ladder says of the layers, on ladders whose parts are known."""

import dataclasses

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ladder_makers import Costs, Machine, made_up

from dlbench.profile.agreement import agreement
from dlbench.profile.layer_times import layer_times
from dlbench.profile.roofline import Rate, place, roofs
from dlbench.profile.triad import Triad
from dlbench.record.schema import Profile
from dlbench.spec.network import walk
from dlbench.spec.workload import read_workload

LAYERS = [
    {"type": "flatten"},
    {"type": "linear", "out_features": 6},
    {"type": "relu"},
    {"type": "linear", "out_features": 3},
]
WORKLOAD = read_workload(
    {
        "input_shape": [1, 2, 2],
        "layers": LAYERS,
        "loss": "cross_entropy",
        "optimizer": {"type": "adam", "learning_rate": 0.1},
    }
)
NAMES = [node.name for node in WORKLOAD.nodes]
FORWARD = dict(zip(NAMES, (5.0, 70.0, 8.0, 40.0), strict=True))
BACKWARD = dict(zip(NAMES, (0.0, 90.0, 9.0, 60.0), strict=True))
COSTS = Costs(
    *(FORWARD, BACKWARD),
    call=10.0,
    training_call=30.0,
    loss=12.0,
    optimizer=25.0,
    error_a_value=2.0,
)


def test_the_parts_of_inference_are_what_each_layer_adds():
    found = layer_times(made_up(WORKLOAD, COSTS, "infer"), WORKLOAD)
    seen = {part.name or part.kind: part.time.mean_s * 1e3 for part in found.parts}
    assert pytest.approx({"call": COSTS.call, **FORWARD}) == seen
    assert pytest.approx(sum(seen.values())) == found.whole.mean_s * 1e3
    assert found.interaction is not None
    assert pytest.approx(0.0) == found.interaction.mean_s
    assert all(part.backward is None for part in found.parts)


def test_the_parts_of_training_are_without_what_the_ladder_itself_costs():
    found = layer_times(made_up(WORKLOAD, COSTS), WORKLOAD)
    seen = {part.name or part.kind: part.time.mean_s * 1e3 for part in found.parts}
    layers = {name: FORWARD[name] + BACKWARD[name] for name in NAMES}
    # the error of one value belongs to the call
    wanted = {
        "call": COSTS.training_call,
        **layers,
        "loss": COSTS.loss,
        "optimizer": COSTS.optimizer,
    }
    assert pytest.approx(wanted, abs=0.1 + COSTS.error_a_value) == seen
    by_name = {part.name: part for part in found.parts}
    for name in NAMES:
        assert pytest.approx(FORWARD[name]) == by_name[name].forward.mean_s * 1e3


@pytest.mark.parametrize("scenario", ["train", "infer"])
@given(
    machine=st.builds(
        Machine,
        rounds=st.integers(2, 40),
        scatter=st.floats(0, 0.2),
        hit=st.floats(0, 0.3),
        drift=st.floats(0, 0.01),
        seed=st.integers(0, 2**32 - 1),
    )
)
def test_parts_add_up_to_the_step_whatever_the_machine_does(scenario, machine):
    found = layer_times(made_up(WORKLOAD, COSTS, scenario, machine), WORKLOAD)
    total = sum(part.rounds_ns for part in found.parts)
    assert pytest.approx(found.whole.mean_s) == np.mean(total) * 1e-9


def test_intervals_cover_what_is_true():
    hits = [
        part.time.low_s * 1e3 <= FORWARD[part.name] <= part.time.high_s * 1e3
        for seed in range(100)
        for part in layer_times(
            made_up(WORKLOAD, COSTS, "infer", Machine(scatter=0.02, seed=seed)), WORKLOAD
        ).parts
        if part.kind == "layer"
    ]
    # 95 % of 400, of which neighbours share a network; blocks that are drawn in cost a little
    assert 0.9 <= np.mean(hits) <= 0.99


def test_a_block_that_something_else_hit_moves_little():
    profile = made_up(WORKLOAD, COSTS, "infer", Machine(scatter=0.01))
    first, *others = profile.rungs
    hit = dataclasses.replace(first, blocks_ns=(10**10, *first.blocks_ns[1:]))
    changed = Profile(profile.case, "ok", "", (hit, *others), profile.round_ended_ns)
    part = layer_times(changed, WORKLOAD).parts[0]
    assert COSTS.call == pytest.approx(part.time.mean_s * 1e3, abs=1.0)


def test_a_profile_of_another_network_is_refused():
    other = dataclasses.replace(WORKLOAD, nodes=WORKLOAD.nodes[:2])
    profile = made_up(WORKLOAD, COSTS, "infer")
    rungs = [rung for rung in profile.rungs if rung.name != other.nodes[-1].name]
    changed = Profile(profile.case, "ok", "", tuple(rungs), profile.round_ended_ns)
    with pytest.raises(ValueError, match="has no step infer of beginning linear1"):
        layer_times(changed, other)


def test_a_layer_stands_under_the_roof_that_binds_it():
    profile = made_up(WORKLOAD, COSTS, "infer")
    under = roofs(profile)
    assert under is not None
    assert 2 * 1024**3 / 40e-3 == pytest.approx(under.flops_per_s.middle)
    node = WORKLOAD.nodes[1]
    time = layer_times(profile, WORKLOAD).parts[2].time
    found = place(node, 64, time, trains=False, under=under)
    assert 2 * 64 * 4 * 6 == found.flops
    assert 4 * (64 * 10 + 30) == found.moved_bytes
    assert found.low <= found.share <= found.high
    # what is not known of the roof is not known of the share
    rate = under.bytes_per_s(found.moved_bytes).middle
    sure, unsure = (
        dataclasses.replace(under, copies=(((found.moved_bytes, each),),))
        for each in (Rate(rate, rate, rate), Rate(rate, rate / 2, rate * 2))
    )
    ends = [place(node, 64, time, trains=False, under=each) for each in (sure, unsure)]
    assert pytest.approx(2 * ends[0].high) == ends[1].high
    assert pytest.approx(ends[0].low / 2) == ends[1].low
    flatten = layer_times(profile, WORKLOAD).parts[1].time
    assert place(WORKLOAD.nodes[0], 64, flatten, trains=False, under=under) is None


BLOCKS = read_workload(
    {
        "input_shape": [2, 4, 4],
        "layers": [
            {"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1},
            {
                "type": "residual",
                "shortcut": "identity",
                "body": [
                    {"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1},
                    {"type": "relu"},
                ],
            },
            {"type": "concat", "bodies": [[{"type": "relu"}], [{"type": "max_pool", "kernel": 1}]]},
            {"type": "flatten"},
            {"type": "linear", "out_features": 3},
        ],
        "loss": "cross_entropy",
        "optimizer": {"type": "sgd", "learning_rate": 0.1},
    }
)


@pytest.mark.parametrize("scenario", ["train", "infer"])
def test_what_blocks_hold_are_parts_of_their_own_where_they_are_opened(scenario):
    names = [node.name for node in walk(BLOCKS.nodes)]
    forward = {name: 2.0 + number for number, name in enumerate(names)}
    costs = Costs(forward, {name: 3 * cost for name, cost in forward.items()})
    closed = layer_times(made_up(BLOCKS, costs, scenario), BLOCKS)
    opened = layer_times(made_up(BLOCKS, costs, scenario, inside=True), BLOCKS)
    assert [node.name for node in BLOCKS.nodes] == [p.name for p in closed.parts if p.name]
    assert names == [part.name for part in opened.parts if part.name]
    factor = 4 if scenario == "train" else 1
    seen = {part.name: part.time.mean_s * 1e3 for part in opened.parts if part.name}
    assert pytest.approx({n: factor * cost for n, cost in forward.items()}, abs=0.01) == seen
    assert {"residual1", "concat1"} == {part.name for part in opened.parts if part.joins}
    assert all(part.alone is None for part in opened.parts if part.joins)
    for each in (closed, opened):
        assert pytest.approx(each.whole.mean_s) == sum(part.time.mean_s for part in each.parts)


def order(costs):
    return agreement(
        layer_times(made_up(WORKLOAD, costs, "infer", Machine(scatter=0.01)), WORKLOAD).parts
    )


def test_layers_that_stand_in_the_same_order_alone_agree():
    found = order(COSTS)
    assert ("linear1", "linear2") == found.layers
    assert () == found.turned


def test_layers_that_stand_in_another_order_alone_are_told_with_the_reason():
    [turned] = order(dataclasses.replace(COSTS, saved={"linear1": 45.0})).turned
    assert ("linear2", "linear1") == (turned.first.name, turned.second.name)
    assert pytest.approx(0.0, abs=2e-3) == turned.first.beyond.mean_s
    assert pytest.approx(-45e-3, abs=2e-3) == turned.second.beyond.mean_s


def test_a_neighbour_that_makes_up_for_a_layer_is_named():
    saved = {"linear1": 45.0, "relu1": -45.0}
    turned = order(dataclasses.replace(COSTS, saved=saved)).turned
    shifts = {shift.name: shift for pair in turned for shift in (pair.first, pair.second)}
    assert ("relu1", "linear1") == (shifts["linear1"].neighbour, shifts["relu1"].neighbour)
    assert pytest.approx(0.0, abs=2e-3) == shifts["linear1"].together.mean_s
    assert "" == shifts["linear2"].neighbour


def test_layers_in_another_order_that_chance_may_have_made_are_told_as_such():
    forward = FORWARD | {"linear1": 40.2}
    found = order(dataclasses.replace(COSTS, forward=forward, saved={"linear1": 0.4}))
    assert () == found.turned
    [pair] = found.unclear
    assert ("linear2", "linear1") == (pair.first.name, pair.second.name)
    assert not pair.is_told


def test_a_layer_that_is_none_of_the_longest_may_be_the_longest_alone():
    found = order(
        dataclasses.replace(COSTS, forward=FORWARD | {"relu1": 60.0}, saved={"relu1": 58.0})
    )
    assert ("linear1", "linear2") == found.layers
    assert [("linear2", "relu1")] == [(each.first.name, each.second.name) for each in found.turned]


def test_the_faster_way_to_copy_is_the_roof():
    slow, fast = (Rate(rate, rate, rate) for rate in (1e9, 3e9))
    ways = (((1e3, slow), (1e6, fast)), ((1e3, fast), (1e6, slow)))
    under = dataclasses.replace(roofs(made_up(WORKLOAD, COSTS, "infer")), copies=ways)
    assert fast == under.bytes_per_s(1e2)
    assert fast == under.bytes_per_s(1e7)
    assert 2e9 == pytest.approx(under.bytes_per_s(1e3**1.5).middle)


def test_roofs_of_earlier_records_are_read_and_what_is_no_roof_is_left_out():
    profile = made_up(WORKLOAD, COSTS, "infer")
    renamed = tuple(
        dataclasses.replace(rung, name=rung.name.removeprefix("copy "))
        for rung in profile.rungs
        if not rung.name.startswith("triad")
    )
    earlier = roofs(msgspec.structs.replace(profile, rungs=renamed))
    assert earlier.flops_per_s == roofs(profile).flops_per_s
    assert len(renamed) > 2
    wrong = [
        dataclasses.replace(renamed[-1], kind="ceiling", name=n) for n in ("x y", "copy -1", "")
    ]
    more = msgspec.structs.replace(profile, rungs=(*renamed, *wrong))
    assert earlier == roofs(more)


def test_a_product_has_nothing_of_what_a_session_does_besides():
    profile = made_up(WORKLOAD, COSTS, "infer")
    slower = tuple(
        dataclasses.replace(rung, blocks_ns=tuple(2_000_000 + each for each in rung.blocks_ns))
        if rung.name in ("product", "products")
        else rung
        for rung in profile.rungs
    )
    changed = roofs(msgspec.structs.replace(profile, rungs=slower))
    assert pytest.approx(roofs(profile).flops_per_s.middle) == changed.flops_per_s.middle
    alone = tuple(rung for rung in profile.rungs if rung.name != "products")
    earlier = roofs(msgspec.structs.replace(profile, rungs=alone))
    assert pytest.approx(2 * 1024**3 / 40e-3) == earlier.flops_per_s.middle


def test_triads_of_a_step_are_as_many_as_it_says():
    profile = made_up(WORKLOAD, COSTS, "infer")
    copy = next(rung for rung in profile.rungs if rung.name.startswith("copy"))
    blocks = (4_000_000,) * len(copy.blocks_ns)
    triads = dataclasses.replace(copy, name="triads 16384", blocks_ns=blocks)
    under = roofs(msgspec.structs.replace(profile, rungs=(*profile.rungs, triads)))
    times = Triad(16384, 2).times
    assert 1024 == times
    assert pytest.approx(4 * 5 * 16384 * times / 4e-3) == under.bytes_per_s(4 * 5 * 16384).middle
