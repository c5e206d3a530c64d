"""What a ladder says of the layers, on ladders whose parts are known."""

import dataclasses
import math

import msgspec
import numpy as np
import pytest
from dlbench.reports.explanation.sections import sentences
from hypothesis import given
from hypothesis import strategies as st
from record_makers import make_case

from dlbench.errors import UsageError
from dlbench.profile.explanation import explain
from dlbench.profile.ladder import inference_rungs, training_rungs
from dlbench.profile.layer_times import layer_times
from dlbench.profile.roofline import place, roofs
from dlbench.record.facts import RungTimes, Surroundings
from dlbench.record.schema import Profile
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
CALL, TRAINING_CALL, LOSS, OPTIMIZER = 10.0, 30.0, 12.0, 25.0
ERROR_A_VALUE = 2.0
SCALE = 1_000_000


def made_up(scenario, rounds=20, noise=0.0, seed=0, **changes):
    """A profile whose networks take what their parts add up to, in units of a millisecond."""
    random = np.random.default_rng(seed)
    forward, backward = FORWARD | changes.get("forward", {}), BACKWARD | changes.get("backward", {})
    optimizer = changes.get("optimizer", OPTIMIZER)

    def takes(rung, step):
        elements = math.prod(rung.workload.output_shape)
        if rung.kind == "ceiling":
            return 1.0 if rung.name != "product" else 50.0
        if rung.kind == "empty":
            return TRAINING_CALL if step == "train" else CALL
        nodes = [node.name for node in rung.workload.nodes if node.name in forward]
        front = 3.0 * any(node.name == "front_of_profile" for node in rung.workload.nodes)
        front *= elements if rung.kind in ("closing", "front") else 1
        total = front + sum(forward[name] for name in nodes)
        if step == "infer":
            return CALL + total
        total += sum(backward[name] for name in nodes)
        if rung.kind in ("plain", "whole"):
            return TRAINING_CALL + total + LOSS + (optimizer if rung.kind == "whole" else 0.0)
        return TRAINING_CALL + total + ERROR_A_VALUE * (elements - 1)

    def times(rung, step):
        steps = takes(rung, step) + noise * random.standard_normal(rounds)
        return RungTimes(
            rung.kind, rung.name, step, rung.front, tuple(int(s * SCALE) for s in steps)
        )

    if scenario == "infer":
        timed = [times(rung, "infer") for rung in inference_rungs(WORKLOAD)]
    else:
        timed = []
        for rung in training_rungs(WORKLOAD):
            trained = any(p.trainable for p in rung.workload.parameters)
            if trained and rung.kind != "ceiling":
                timed.append(times(rung, "train"))
            timed.append(times(rung, "infer"))
    case = make_case(scenario=scenario, backend=changes.get("backend", "numpy"))
    return Profile(case, "ok", "", tuple(timed), rounds)


def test_the_parts_of_inference_are_what_each_layer_adds():
    found = layer_times(made_up("infer"), WORKLOAD)
    seen = {part.name or part.kind: part.time.mean_s * 1e3 for part in found.parts}
    assert pytest.approx({"call": CALL, **FORWARD}) == seen
    assert pytest.approx(sum(seen.values())) == found.whole.mean_s * 1e3
    assert found.interaction is not None
    assert pytest.approx(0.0) == found.interaction.mean_s
    assert all(part.backward is None for part in found.parts)


def test_the_parts_of_training_are_without_what_the_ladder_itself_costs():
    found = layer_times(made_up("train"), WORKLOAD)
    seen = {part.name or part.kind: part.time.mean_s * 1e3 for part in found.parts}
    layers = {name: FORWARD[name] + BACKWARD[name] for name in NAMES}
    # the error of one value belongs to the call
    wanted = {"call": TRAINING_CALL, **layers, "loss": LOSS, "optimizer": OPTIMIZER}
    assert pytest.approx(wanted, abs=0.1 + ERROR_A_VALUE) == seen
    by_name = {part.name: part for part in found.parts}
    for name in NAMES:
        assert pytest.approx(FORWARD[name]) == by_name[name].forward.mean_s * 1e3


@pytest.mark.parametrize("scenario", ["train", "infer"])
@given(seed=st.integers(0, 2**32 - 1), noise=st.floats(0, 5))
def test_parts_add_up_to_the_step_whatever_the_noise(scenario, seed, noise):
    found = layer_times(made_up(scenario, noise=noise, seed=seed), WORKLOAD)
    total = sum(part.rounds_ns for part in found.parts)
    assert pytest.approx(found.whole.mean_s) == np.mean(total) * 1e-9


def test_intervals_cover_what_is_true():
    hits = [
        part.time.low_s * 1e3 <= FORWARD[part.name] <= part.time.high_s * 1e3
        for seed in range(100)
        for part in layer_times(made_up("infer", noise=1.0, seed=seed), WORKLOAD).parts
        if part.kind == "layer"
    ]
    # 95 % of 400, of which neighbours share a network; blocks that are drawn in cost a little
    assert 0.9 <= np.mean(hits) <= 0.99


def test_a_block_that_something_else_hit_moves_little():
    profile = made_up("infer", noise=0.5)
    first, *others = profile.rungs
    hit = dataclasses.replace(first, blocks_ns=(10**10, *first.blocks_ns[1:]))
    changed = Profile(profile.case, "ok", "", (hit, *others), profile.rounds)
    part = layer_times(changed, WORKLOAD).parts[0]
    assert CALL == pytest.approx(part.time.mean_s * 1e3, abs=1.0)


def test_a_profile_of_another_network_is_refused():
    other = dataclasses.replace(WORKLOAD, nodes=WORKLOAD.nodes[:2])
    profile = made_up("infer")
    rungs = [rung for rung in profile.rungs if rung.name != other.nodes[-1].name]
    changed = Profile(profile.case, "ok", "", tuple(rungs), profile.rounds)
    with pytest.raises(ValueError, match="has no step infer of beginning linear1"):
        layer_times(changed, other)


def test_an_explanation_adds_up_and_its_mirror_image_is_the_other_way_round():
    one = made_up("train", noise=0.3, forward={"linear1": 200.0}, optimizer=10.0)
    two = made_up("train", noise=0.3, seed=1, backend="torch")
    there, back = (explain(*pair, (WORKLOAD, WORKLOAD)) for pair in ((one, two), (two, one)))
    assert "linear1" == there.parts[0].name
    assert there.parts[0].is_told
    for each in (there.parts, there.causes):
        assert pytest.approx(there.whole.time.mean_s) == sum(part.time.mean_s for part in each)
    mirrored = {part.name: -part.time.mean_s for part in back.parts}
    assert pytest.approx(mirrored) == {part.name: part.time.mean_s for part in there.parts}
    assert "optimizer" in {part.name for part in there.parts if part.time.mean_s < 0}


def test_nothing_is_concluded_from_a_disturbed_profile():
    calm, other = made_up("infer"), made_up("infer", backend="torch", forward={"linear1": 300.0})
    told = list(sentences(explain(calm, other, (WORKLOAD, WORKLOAD))))
    assert told[0].startswith("numpy:cpu is")
    assert "lies above all in linear1" in told[1]
    unknown = dict.fromkeys(field.name for field in dataclasses.fields(Surroundings))
    during = Surroundings(**unknown | {"window_s": 10.0, "other_cores": 1.0})
    disturbed = msgspec.structs.replace(other, during=during)
    [said] = sentences(explain(calm, disturbed, (WORKLOAD, WORKLOAD)))
    assert said.startswith("Nothing is concluded, since the profile of torch:cpu")
    assert "other processes had 1 core" in said


def test_different_work_is_not_explained():
    with pytest.raises(UsageError, match="steps of different work"):
        explain(made_up("train"), made_up("infer"), (WORKLOAD, WORKLOAD))
    other = dataclasses.replace(WORKLOAD, nodes=WORKLOAD.nodes[:2])
    with pytest.raises(UsageError, match="different workloads"):
        explain(made_up("infer"), made_up("infer"), (WORKLOAD, other))


def test_a_layer_stands_under_the_roof_that_binds_it():
    profile = made_up("infer")
    under = roofs(profile)
    assert under is not None
    assert 2 * 1024**3 / 40e-3 == pytest.approx(under.flops_per_s[0])
    node = WORKLOAD.nodes[1]
    time = layer_times(profile, WORKLOAD).parts[2].time
    found = place(node, 64, time, trains=False, under=under)
    assert 2 * 64 * 4 * 6 == found.flops
    assert 4 * (64 * 10 + 30) == found.moved_bytes
    assert found.low <= found.share <= found.high
    flatten = layer_times(profile, WORKLOAD).parts[1].time
    assert place(WORKLOAD.nodes[0], 64, flatten, trains=False, under=under) is None
