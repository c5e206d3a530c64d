"""Which layers are blamed for a difference, on profiles whose differences are known."""

import dataclasses
import itertools

import msgspec
import numpy as np
import pytest
from dlbench.reports.explanation.sections import sentences
from ladder_makers import Costs, Machine, made_up

from dlbench.errors import UsageError
from dlbench.profile.explanation import explain
from dlbench.record.facts import Primitive, Surroundings
from dlbench.spec.suite import load_suite

WORKLOAD = load_suite("cnn-mnist").workload
NAMES = [node.name for node in WORKLOAD.nodes]
# what NumPy took on a virtual machine with two cores, about (ms)
FORWARD = dict(zip(NAMES, (2.2, 0.4, 9.8, 0.4, 0.5, 0.2, 0.1, 0.6, 0.05, 0.05, 0.05), strict=True))
BACKWARD = dict(zip(NAMES, (2.4, 0.4, 15.0, 0.5, 0.6, 0.6, 0.1, 2.1, 0.1, 0.1, 0.1), strict=True))
COSTS = Costs(FORWARD, BACKWARD, error_a_value=1e-4)
STEP_MS = sum(FORWARD.values()) + sum(BACKWARD.values()) + 1.0
RESTLESS = Machine(rounds=20, scatter=0.03, hit=0.05, drift=0.01, between=0.01)
BOTH = WORKLOAD, WORKLOAD


def pair(seed, change=lambda costs: costs, machine=RESTLESS):
    """Two profiles that took turns, the first with a change."""
    machine = dataclasses.replace(machine, seed=seed)
    return [
        made_up(WORKLOAD, costs, "train", machine, process=process, backend=backend)
        for process, (costs, backend) in enumerate(((change(COSTS), "numpy"), (COSTS, "torch")))
    ]


def blamed(found):
    return [part.name for part in found.parts if part.is_told and part.time.mean_s > 0]


def test_nothing_is_blamed_in_comparisons_of_the_same_code():
    found = [explain(*pair(seed), BOTH) for seed in range(100)]
    assert all(each.takes_turns for each in found)
    # one of a thousand may be
    assert 1 >= sum(bool(blamed(each)) for each in found)


def test_a_delay_is_blamed_on_its_layer_and_lies_in_its_interval():
    random = np.random.default_rng(0)
    right, covered, trials = 0, 0, 100
    for seed in range(trials):
        layer, share = random.choice(NAMES), random.choice([0.05, 0.1, 0.2])
        delay = {str(random.choice(["forward_ms", "backward_ms"])): share * STEP_MS}
        found = explain(*pair(seed, lambda costs: costs.later(layer, **delay)), BOTH)  # noqa: B023
        [part] = [part for part in found.parts if part.name == layer]
        right += blamed(found) == [layer]
        covered += part.time.low_s <= share * STEP_MS * 1e-3 <= part.time.high_s
    assert right >= 0.95 * trials
    assert covered >= 0.95 * trials


def test_further_processes_tell_what_more_rounds_of_one_do_not():
    # what processes differ by is 0.37 of what rounds do
    machine = dataclasses.replace(RESTLESS, rounds=24, scatter=0.05, between=0.0185)
    shorter = dataclasses.replace(machine, rounds=8)
    several = dataclasses.replace(machine, processes=3)
    right, covered = dict.fromkeys((shorter, machine, several), 0), 0
    for seed, each in itertools.product(range(40), right):
        delayed = pair(seed, lambda costs: costs.later("conv2", 0.075 * STEP_MS), each)
        found = explain(*delayed, BOTH)
        right[each] += blamed(found) == ["conv2"]
        [part] = [part for part in found.parts if part.name == "conv2"]
        covered += part.time.low_s <= 0.075 * STEP_MS * 1e-3 <= part.time.high_s
    assert right[several] >= 36 > right[machine] + 3 > right[shorter] + 3
    assert covered >= 0.95 * 3 * 40


def test_of_the_same_code_nothing_is_blamed_in_several_processes():
    machine = dataclasses.replace(RESTLESS, rounds=24, processes=3)
    found = [explain(*pair(seed, machine=machine), BOTH) for seed in range(100)]
    assert 1 >= sum(bool(blamed(each)) for each in found)


def test_a_layer_is_not_blamed_for_less_than_is_worth_a_word():
    found = []
    for seed in range(30):
        one, two = pair(seed)
        # beyond chance, but a five-hundredth of the step
        rungs = tuple(
            dataclasses.replace(rung, blocks_ns=tuple(each + 70_000 for each in rung.blocks_ns))
            if (rung.kind, rung.name) == ("alone", "dropout2")
            else rung
            for rung in one.rungs
        )
        slow = msgspec.structs.replace(one, rungs=rungs)
        found.append(explain(slow, two, BOTH))
    [alone] = [part.alone for part in found[0].parts if part.name == "dropout2"]
    assert alone.low_s > 0
    assert [] == [each for each in found if "dropout2" in blamed(each)]


def test_profiles_that_took_no_turns_are_compared_by_their_means():
    one, two = pair(0, lambda costs: costs.later("conv1", 8.0))
    two = msgspec.structs.replace(two, round_ended_ns=tuple(10**9 + e for e in two.round_ended_ns))
    found = explain(one, two, BOTH)
    assert not found.takes_turns
    assert ["conv1"] == blamed(found)
    turned = explain(*pair(0, lambda costs: costs.later("conv1", 8.0)), BOTH)
    assert turned.whole.time.half_s < found.whole.time.half_s


def test_an_explanation_adds_up_and_its_mirror_image_is_the_other_way_round():
    one, two = pair(
        0, lambda costs: dataclasses.replace(costs.later("linear1", 9.0), optimizer=0.1)
    )
    there, back = explain(one, two, BOTH), explain(two, one, BOTH)
    assert "linear1" == there.parts[0].name
    assert there.parts[0].is_told
    for each in (there.parts, there.causes):
        assert pytest.approx(there.whole.time.mean_s) == sum(part.time.mean_s for part in each)
    mirrored = {part.name: part for part in back.parts}
    for part in there.parts:
        other = mirrored[part.name]
        assert pytest.approx(part.time.mean_s) == -other.time.mean_s
        assert part.is_told == other.is_told


def test_a_layer_of_a_long_network_is_known_better_than_its_two_networks_are():
    one, two = pair(0, lambda costs: costs.later("dropout2", 0.05 * STEP_MS))
    [part] = [part for part in explain(one, two, BOTH).parts if part.name == "dropout2"]
    assert part.is_told
    assert part.time.half_s < 0.01 * STEP_MS * 1e-3


def test_a_layer_that_differs_in_the_network_alone_is_taken_as_the_ladder_has_it():
    # the first row saves 12 ms of a layer where others stand around it
    one, two = pair(0, lambda costs: dataclasses.replace(costs, saved={"linear1": 12.0}))
    [part] = [part for part in explain(one, two, BOTH).parts if part.name == "linear1"]
    assert part.time.low_s <= -12e-3 <= part.time.high_s
    assert part.alone.low_s <= 0 <= part.alone.high_s


def test_profiles_whose_blocks_are_all_alike_differ_by_what_they_say():
    one, two = (made_up(WORKLOAD, costs) for costs in (COSTS.later("conv2", 4.0), COSTS))
    [part] = [part for part in explain(one, two, BOTH).parts if part.name == "conv2"]
    assert pytest.approx(4e-3, rel=1e-3) == part.time.mean_s
    assert ["conv2"] == blamed(explain(one, two, BOTH))


def test_nothing_is_concluded_from_a_disturbed_profile():
    slow, other = pair(0, lambda costs: costs.later("linear1", 30.0))
    told = list(sentences(explain(slow, other, BOTH)))
    assert told[0].startswith("torch:cpu/eager is")
    assert "lies above all in linear1" in told[1]
    unknown = dict.fromkeys(field.name for field in dataclasses.fields(Surroundings))
    during = Surroundings(**unknown | {"window_s": 10.0, "other_cores": 1.0})
    disturbed = msgspec.structs.replace(other, during=during)
    [said] = sentences(explain(slow, disturbed, BOTH))
    assert said.startswith("Nothing is concluded, since the profile of torch:cpu/eager")
    assert "other processes had 1 core" in said


def test_different_work_is_not_explained():
    one, two = pair(0)
    inference = made_up(WORKLOAD, COSTS, "infer")
    with pytest.raises(UsageError, match="steps of different work"):
        explain(one, inference, BOTH)
    other = dataclasses.replace(WORKLOAD, nodes=WORKLOAD.nodes[:2])
    with pytest.raises(UsageError, match="different workloads"):
        explain(one, two, (WORKLOAD, other))


def test_sentences_name_who_lays_tensors_out_anew():
    one, two = pair(0, lambda costs: costs.later("conv2", 20.0))
    reorder = Primitive(
        kind="reorder",
        implementation="jit:blk",
        direction="",
        formats="src:abcd dst:aBcd16b",
        fused="",
        problem="64x32x26x26",
        calls=3,
        total_s=0.004,
    )
    other = dataclasses.replace(reorder, problem="64x64x24x24", calls=2, total_s=0.002)
    found = explain(msgspec.structs.replace(one, primitives=(reorder, other)), two, BOTH)
    told = " ".join(sentences(found))
    assert "numpy:cpu has oneDNN lay out tensors anew 5 times a step (6.00 ms" in told
    assert "torch:cpu/eager has oneDNN" not in told
    assert ["reorder"] * 2 == [each.part for each in found.seen]


def test_parts_that_differ_are_named_where_the_steps_cannot_be_told_apart():
    one, two = pair(1, lambda costs: costs.later("dropout2", 2.0).later("conv2", -2.0))
    found = explain(one, two, BOTH)
    assert not found.whole.is_told
    assert "dropout2" in [part.name for part in found.parts if part.is_told]
    told = list(sentences(found))
    assert "cannot be told apart" in told[0]
    assert "needs another time than torch:cpu/eager in dropout2" in told[1]


def test_where_something_was_not_told_a_longer_budget_is_named_that_has_further_processes():
    assert "--budget 27" in list(sentences(explain(*pair(0), BOTH)))[-1]
    several = dataclasses.replace(RESTLESS, rounds=60, processes=3)
    told = list(sentences(explain(*pair(0, machine=several), BOTH)))
    assert "cannot be told apart from none" in told[-1]
    assert "--budget" not in told[-1]
