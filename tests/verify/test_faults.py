"""Planted faults, one at a time: each must be found, and by the check that is meant for it.

The table below says for every fault of `faulty.py` on which workload it is put to the test, and a
part of the name of the check that has to fail first. Where a probe guards the convention, the probe
must be off by a hundred tolerances at least.
"""

import pytest

pytest.importorskip("torch")

import small
from faulty import FaultyAdapter, known_faults
from probed_faults import DECAY_PROBE, EPS_PROBE, MISREADINGS, PROBES

from dlbench.verify.check import verify
from dlbench.verify.checks.probes import check_probes

TELLING = 100
"""How many tolerances a wrong reading must be off in its probe."""

# workload: fault: what the first failing check's name contains
BEFORE_TIMING = {
    "convolution": {
        "padding behind only": "logits, step 1",
        "padding of TensorFlow's SAME": "logits, step 1",
        "kernel flipped": "logits, step 1",
        "kernel transposed": "logits, step 1",
        "border replicated instead of zero": "logits, step 1",
        "flatten in height, width, channels order": "logits, step 1",
        "height and width transposed": "logits, step 1",
        "weights with ten bits of mantissa": "logits, step 1",
        "products through bfloat16": "logits, step 1",
        "inference through float16": "logits, step 1",
        "softmax in inference": "logits, step 1",
        "output rows reversed": "logits, step 1",
        "half of the batch, twice": "logits, step 1",
        "last sample is the one before it": "logits, step 1",
        "first output cached": "logits, step 2",
        "output of a batch cached": "logits",
        "labels off by one": "loss, step 1",
        "loss summed": "loss, step 1",
        "loss in base 2": "loss, step 1",
        "loss averaged over classes too": "loss, step 1",
        "labels smoothed by 1 %": "loss, step 1",
        "loss without the last sample": "loss, step 1",
        "softmax before the loss": "loss, step 1",
        "loss after the step": "loss, step 1",
        "bias gradient missing": "gradient of conv1.bias, step 1",
        "bias gradient halved": "gradient of linear1.bias, step 1",
        "one gradient element off by 1 %": "gradient of conv1.weight, step 1",
        "gradient of one output channel is another's": "gradient of conv1.weight, step 1",
        "gradients accumulate": "gradient of conv1.bias, step 2",
        "gradients of the step before": "gradient of conv1.bias, step 2",
        "gradients clipped to norm 1": "gradient of conv1.bias, step 1",
        "gradients through bfloat16": "gradient of conv1.bias, step 1",
        "weights are the initial ones": "gradient of conv1.bias, step 1",
        "weights are never updated": "gradient of conv1.bias, step 1",
        "third step skipped": "gradient of conv1.bias, step 3",
        "every second step skipped": "gradient of conv1.bias, step 2",
        "load always clears the optimizer's state": "after the step, step 2",
        "momentum forgotten": "after the step, step 2",
        "momentum forgotten above batch 4": "arithmetic of the optimizer",
        "momentum with dampening": "after the step, step 2",
        "velocity is an average": "after the step, step 1",
        "learning rate inside the velocity": "after the step, step 2",
        "Nesterov though not asked for": "after the step, step 1",
        "no weight decay": "after the step, step 1",
        "no weight decay on biases": "conv1.bias after the step, step 1",
        "weight decay of SGD decoupled": "after the step, step 2",
        "relu clipped at six": "large values through relu",
        "relu's derivative at zero is one": "relu",
        "gradients clipped to norm 10": "large values",
        "softmax without subtracting the maximum": "large values",
        "probabilities clipped at 1e-7": "large values",
        "the step modifies its batch": "logits after, step 1",
        "bias gradient missing above batch 4": "conv1.bias after the step, timed batch",
    },
    "dilated": {"dilation ignored": "logits, step 1"},
    "uneven stride": {"stride transposed": "logits, step 1"},
    "groups": {
        "weights of groups in reverse": "logits, step 1",
        "groups of every so many channels": "logits, step 1",
        "outputs of groups interleaved": "logits, step 1",
        "all groups read the first": "logits, step 1",
    },
    "norm": {
        "leaky slope of 0.2": "logits, step 1",
        "batch norm's momentum read the Keras way": "running_mean after the step, step 1",
        "running statistics are never updated": "running_mean after the step, step 1",
        "biased running variance": "running_variance after the step, step 1",
        "running standard deviation": "running_variance after the step, step 1",
        "eps enters the running variance": "running_variance after the step",
        "running statistics move twice a step": "running_mean after the step, step 1",
        "running variance never moves": "running_variance after the step, step 1",
        "running statistics are left out of weights": "running_",
        "running statistics move in inference too": "running_",
        "batch statistics in inference": "logits, step 1",
        "batch statistics are constants in backward": "gradient of conv1.weight, step 1",
        "statistics of each sample": "loss, step 1",
        "unbiased variance to normalise": "loss, step 1",
        "batch norm's eps is 1e-3": "logits, step 1",
        "batch norm's eps is 0": "step 1",
        "batch norm's eps outside the root": "step 1",
        "no weight decay on scales": "norm1.scale after the step, step 1",
    },
    "norm of features": {
        "features normalised within each sample": "logits, step 1",
        "all features share their statistics": "loss, step 1",
        "statistics of features over half of the batch": "loss, step 1",
        "biased running variance of features": "running_variance after the step, step 1",
    },
    "weights alone decay": {
        "biases decay all the same": "conv1.bias after the step, step 1",
        "norms decay all the same": "norm1.scale after the step, step 1",
        "weights do not decay either": "conv1.weight after the step, step 1",
    },
    "sigmoid": {"hard sigmoid": "logits, step 1"},
    "relu6": {
        "relu6 without its upper end": "large values through relu6",
        "relu6 with the gradient of relu": "large values through relu6",
    },
    "silu": {
        "silu of 1.702 x": "logits, step 1",
        "silu's gate is constant in backward": "gradient of conv1.bias, step 1",
    },
    "hard_sigmoid": {"hard_sigmoid with a slope of 0.2": "logits, step 1"},
    "hard_swish": {
        "hard_swish is the smooth one": "logits, step 1",
        "hard_swish divided by 5": "logits, step 1",
    },
    "gelu": {
        "gelu's tanh form for the exact one": "logits, step 1",
        "gelu by a sigmoid of 1.702 x": "logits, step 1",
    },
    "gelu by tanh": {"gelu's exact form for the one by tanh": "logits, step 1"},
    "max pool": {
        "max pool's padding is zeros": "logits, step 1",
        "max pool averages": "logits, step 1",
        "ties send the gradient to each maximum": "several equal maxima",
        "pooling stride is 1 off": "logits, step 1",
        "global average pooling sums": "logits, step 1",
    },
    "pool without padding": {"pooling in ceil mode": "logits, step 1"},
    "average pool": {"average pooling counts padding": "logits, step 1"},
    "uneven padding": {
        "padding before and behind exchanged": "logits, step 1",
        "padding of rows and columns exchanged": "logits, step 1",
        "padding evened out": "logits, step 1",
    },
    "uneven pool": {"a pool's padding before and behind exchanged": "logits, step 1"},
    "max pool in ceil mode": {"pooling never in ceil mode": "logits, step 1"},
    "average that counts padding": {
        "average pooling never counts padding": "logits, step 1",
        "what lies beyond the padding counts too": "logits, step 1",
    },
    "average without a last window": {
        "a last window that begins behind the input": "logits, step 1"
    },
    "option A": {
        "option A starts at pixel 1": "logits, step 1",
        "option A averages": "logits, step 1",
        "option A's zeros in front": "logits, step 1",
        "option A's zeros on both sides": "logits, step 1",
    },
    "residual": {
        "shortcut forgotten": "logits, step 1",
        "shortcut added twice": "logits, step 1",
        "shortcut has no gradient": "gradient of conv1.bias, step 1",
    },
    "concatenation": {
        "concatenation along height": "logits, step 1",
    },
    "bodies": {
        "bodies of a concatenation in reverse": "logits, step 1",
        "each body reads the one before it": "logits, step 1",
        "last body has no gradient": "gradient of conv1.bias, step 1",
    },
    "transposed": {
        "transposed padding on the other side": "logits, step 1",
        "transposed kernel flipped": "logits, step 1",
        "transposed weights read O×I": "logits, step 1",
        "output padding above and on the left": "logits, step 1",
    },
    "group norm": {
        "group norm over the batch too": "logits, step 1",
        "group norm of every so many channels": "logits, step 1",
        "group norm of each channel": "logits, step 1",
        "unbiased variance within a sample": "logits, step 1",
    },
    "layer norm": {
        "layer norm over the whole sample": "logits, step 1",
        "a sample's eps outside the root": "step 1",
        "a sample's eps is 1e-3": "logits, step 1",
    },
    "responses": {
        "alpha not divided by the size": "logits, step 1",
        "responses of half as many neighbours": "logits, step 1",
        "responses of pixels beside each other": "logits, step 1",
        "responses are constants in backward": "gradient of conv1",
        "k is 1": "logits, step 1",
    },
    "adaptive pool": {
        "adaptive windows begin one late": "logits, step 1",
        "adaptive windows end one early": "logits, step 1",
        "adaptive windows that never overlap": "logits, step 1",
        "adaptive windows sum": "logits, step 1",
    },
    "scaling": {
        "scaling without its last activation": "logits, step 1",
        "scaled by the sample before": "logits, step 1",
        "scaling is constant in backward": "gradient of conv1.bias, step 1",
        "scaling added": "logits, step 1",
        "scaling before the activation": "logits, step 1",
    },
    "dropout": {
        "dropout is not rescaled": "with dropout",
        "dropout is only a scale": "with dropout",
        "dropout's gradient is not masked": "gradient of conv1.weight, with dropout",
        "keep probability taken for the rate": "with dropout",
        "dropout of whole channels": "masks in",
        "dropout drops pairs": "masks in neighbours",
        "masks repeat every fourth step": "masks",
        "one mask for all steps": "masks in successive steps",
        "one mask for all samples": "lost by both samples",
        "both halves of a batch have one mask": "lost by both samples",
        "dropout in inference": "logits",
        "dropout rescales in inference": "logits",
    },
    "two dropouts": {"one mask for all dropout layers": "masks"},
    "squared error": {
        "squared error summed over features": "loss, step 1",
        "half of the squared error": "loss, step 1",
        "absolute error": "loss, step 1",
    },
    "clipped": {
        "gradients are not clipped": "after the step, step 1",
        "each gradient clipped by itself": "after the step, step 1",
        "elements clipped": "after the step, step 1",
        "clipped by the largest norm": "after the step, step 1",
    },
    "frozen": {
        "frozen layers are trained": "conv2.weight after the step, step 1",
        "frozen layers decay": "conv2.weight after the step, step 1",
        "every bias moves with its layer frozen": "conv2.bias after the step, step 1",
        "frozen running statistics move": "norm1.running_mean after the step, step 1",
        "a frozen norm uses its batch": "loss, step 1",
        "clipping counts frozen gradients": "after the step, step 1",
        "the first trained layer stands still": "gradient of conv1.weight, step 1",
    },
    "hardly clipped": {"scaled up to the norm too": "after the step, step 1"},
    "smoothed labels": {
        "labels smoothed over K − 1": "loss, step 1",
        "labels smoothed over all but not less of the own": "loss, step 1",
        "labels are not smoothed": "loss, step 1",
    },
    "Nesterov": {"Nesterov forgotten": "after the step, step 1"},
    "Adam": {
        "weights stop after the fifth step": "after the step, step 1 again",
        "learning rate is not settable": "after the step, step 2",
        "load keeps the optimizer's state": "step 1 again",
        "weight decay of Adam decoupled": "after the step, step 1",
        "no bias correction": "after the step, step 1",
        "bias correction of the first moment only": "after the step, step 1",
        "step count one behind in the bias correction": "after the step, step 2",
        "load keeps the step count": "step 1 again",
        "beta2 is 0.99": "after the step, step 2",
        "betas exchanged": "after the step, step 2",
        "AMSGrad": "after the step, step 2",
        "Adam's eps before the correction": "after the step, step 1",
        "Adam's eps inside the root": "after the step, step 1",
        "Adam's eps is 1e-7": "after the step, step 1",
    },
    "AdamW": {
        "weight decay of AdamW coupled": "after the step, step 1",
        "decoupled decay without the learning rate": "after the step, step 1",
        "decoupled decay after the update": "after the step, step 1",
    },
    "Adagrad": {
        "Adagrad's accumulator starts at 0.1": "after the step, step 1",
        "Adagrad's accumulator decays": "after the step, step 2",
        "Adagrad's accumulator one step late": "after the step, step 1",
        "Adagrad's eps inside the root": "after the step, step 1",
    },
    "RMSprop": {
        "RMSprop's eps inside the root": "after the step, step 1",
        "RMSprop's squares start at 1": "after the step, step 1",
        "RMSprop's rho exchanged with the rest": "after the step, step 1",
        "RMSprop centered": "after the step, step 1",
        "RMSprop corrected for its start": "after the step, step 1",
    },
    "RMSprop with momentum": {
        "RMSprop's momentum forgotten": "after the step, step 2",
        "RMSprop with Nesterov's momentum": "after the step, step 1",
        "learning rate inside RMSprop's velocity": "after the step, step 2",
    },
    "Adadelta": {
        "Adadelta's eps outside the roots": "after the step, step 1",
        "Adadelta's changes are never kept": "after the step, step 2",
        "Adadelta's changes without a root": "after the step, step 1",
        "learning rate inside Adadelta's changes": "after the step, step 3",
    },
}

# what a session only does wrong once it is being timed: (workload, part of the check's name)
AFTER_TIMING = {
    "weights stop after the twelfth step": ("convolution", "after the timed loop"),
    "frozen layers drift after the fortieth step": ("frozen", "frozen, after the timed loop"),
    "output zeroed after 40 steps": ("convolution", "logits after timing"),
}


def _rows(table):
    return [(fault, name, part) for name, faults in table.items() for fault, part in faults.items()]


def _probe_rows():
    rows = [(f, name, part) for part, (name, faults) in PROBES.items() for f in faults]
    for part, table in (("near the optimizer's eps", EPS_PROBE), ("smooth network", DECAY_PROBE)):
        rows += [(fault, name, part) for name, faults in table.items() for fault in faults]
    return rows


def _ids(row):
    return row[0]


@pytest.mark.parametrize("row", _rows(BEFORE_TIMING), ids=_ids)
def test_a_planted_fault_is_found_by_the_check_meant_for_it(row, cache_dir):
    fault, name, part = row
    outcome = verify(FaultyAdapter(fault), small.plan(), small.workload(name), cache_dir)
    assert outcome.reason
    assert part in small.failing(outcome.checks)[0]


@pytest.mark.parametrize("fault", AFTER_TIMING)
def test_what_goes_wrong_only_while_timed_is_found_afterwards(fault, cache_dir):
    name, part = AFTER_TIMING[fault]
    of, adapter = small.workload(name), FaultyAdapter(fault)
    assert not verify(adapter, small.plan(), of, cache_dir).reason
    found = small.failing(small.check_after_timing(adapter, of, cache_dir, steps=48))
    assert found
    assert part in found[0]


@pytest.mark.parametrize("row", _probe_rows(), ids=_ids)
def test_a_wrong_reading_is_off_by_a_hundred_tolerances_in_its_probe(row, cache_dir):
    fault, name, part = row
    checks = check_probes(FaultyAdapter(fault), small.plan(), small.workload(name), cache_dir)
    ours = [check for check in checks if part in check.name]
    assert ours
    assert small.strongest(ours) >= TELLING


@pytest.mark.parametrize("name", small.TABLES)
def test_the_adapter_without_a_fault_is_verified_before_and_after_timing(name, cache_dir):
    of, adapter = small.workload(name), FaultyAdapter(None)
    outcome = verify(adapter, small.plan(), of, cache_dir)
    assert outcome.reason == ""
    assert small.failing(small.check_after_timing(adapter, of, cache_dir)) == []


@pytest.mark.parametrize("row", _rows(MISREADINGS), ids=_ids)
def test_the_reason_says_what_the_optimizers_rule_was_taken_for(row, cache_dir):
    fault, name, words = row
    reason = verify(FaultyAdapter(fault), small.plan(), small.workload(name), cache_dir).reason
    assert reason.partition("; the optimizer steps as with ")[2] == words


def test_every_fault_of_the_adapter_is_put_to_the_test_once():
    tested = [fault for fault, _, _ in _rows(BEFORE_TIMING)] + list(AFTER_TIMING)
    assert sorted(tested) == sorted(known_faults())
