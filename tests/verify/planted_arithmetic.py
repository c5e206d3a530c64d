"""Which fault of arithmetic is put to the test in which precision, and the check that has to fail first."""

import re
from pathlib import Path

LINEAR, CONV = "arithmetic of linear: ", "arithmetic of conv2d: "
NORM, OPTIMIZER = "arithmetic of batch_norm: ", "arithmetic of the optimizer: "
FORWARD, BEFORE, WEIGHT = "logits", "gradient of before.weight", "gradient of probed.weight"

# precision: fault: what the first failing check's name contains
PLANTED = {
    "fp32": {
        "autocast left on in float32": LINEAR + "logits is computed with factors bf16, stored bf16",
        "half precision left on in float32": LINEAR + "logits is computed with factors tf32",
        "tf32 in float32": LINEAR + "logits is computed with factors tf32, stored fp32",
        "tf32 backward alone": LINEAR + BEFORE,
        "bfloat16 backward alone": LINEAR + BEFORE,
        "convolutions alone in bfloat16": CONV + "logits is computed with factors bf16",
        "gradients through bfloat16 in float32": LINEAR + BEFORE,
        "weight gradients in bfloat16": LINEAR + BEFORE,
        "activations are kept in eight bits": LINEAR + FORWARD,
        "bias in eight bits": "logits, step 1",
    },
    "bf16": {
        "float32 under a short label": LINEAR + "logits is computed with factors fp32, stored fp32",
        "the other short format": LINEAR + "logits is computed with factors tf32",
        "convolutions alone in float32": CONV + "logits is computed with factors fp32",
        "inference alone in float32": LINEAR + "logits is computed with factors fp32",
        "activations stay in float32": LINEAR + FORWARD,
        "gradients between layers stay in float32": LINEAR + WEIGHT,
        "weight gradients stay in float32": LINEAR + "gradient of probed.weight is computed with",
        "weights are not rounded": LINEAR + "logits is computed with factors fp32, stored bf16",
        "weights are truncated": LINEAR + FORWARD,
        "weights rounded once and never again": "logits after, step 1",
        "rounding by truncation": LINEAR + "logits is computed with rounding by truncation",
        "ties away from zero": "ties rounded away from zero",
        "stochastic rounding": LINEAR + "the same batch gives other bits again",
        "rounded twice": LINEAR + FORWARD,
        "short sums forward": LINEAR + FORWARD,
        "short sums of blocks of 16": LINEAR + FORWARD,
        "short sums of weight gradients": LINEAR + WEIGHT,
        "short sums of input gradients": LINEAR + BEFORE,
        "short sums of convolutions": CONV + FORWARD,
        "sums of pools are short": "arithmetic of avg_pool: logits",
        "pools hand back short sums": "arithmetic of avg_pool: gradient of before.weight",
        "global means are short": "arithmetic of global_avg_pool: logits",
        "batch statistics are short": NORM + "running_mean after a step, statistics in float32",
        "running statistics are short": NORM + "running_mean after a step, statistics in float32",
        "inference normalises in short numbers": NORM + "output in inference",
        "gradients of scale and shift are short": NORM + "gradient of scale",
        "scale and shift are short": NORM + "gradient of scale",
        "softmax is short": "arithmetic of cross_entropy: loss",
        "the loss is short": LINEAR + "loss",
        "the squared error is short": LINEAR + "loss",
        "master weights are short": LINEAR + BEFORE,
        "the update is computed in short numbers": LINEAR + BEFORE,
        "weights are given as they are rounded": LINEAR + BEFORE,
        "the optimizer's state is short": OPTIMIZER,
        "the state of convolutions is short": OPTIMIZER,
        "second moments alone are short": OPTIMIZER,
    },
    "fp16": {
        "float16 through bfloat16": LINEAR + "logits is computed with factors bf16, stored bf16",
        "clipped at the end of float16": LINEAR + "what is beyond 65504 is clipped",
        "subnormal numbers are flushed": LINEAR + BEFORE,
        "no loss scale": LINEAR + "gradient of before.weight is computed with a loss scale of 1 ",
        "a loss scale of 2^15": LINEAR + BEFORE,
        "the loss is told with its scale": LINEAR + "loss",
        "the loss scale is not taken off": LINEAR + BEFORE,
        "the loss scale is taken off twice": LINEAR + BEFORE,
        "the loss scale is taken off after weight decay": OPTIMIZER,
        "the loss scale is taken off in float16": LINEAR + BEFORE,
    },
}

IN_STEPS = ("weights rounded once and never again", "bias in eight bits")
"""What no probe of arithmetic sees, and the ordinary steps do."""


def known_faults():
    """Every fault that the spoilt backend can have."""
    text = Path(__file__).with_name("spoilt_arithmetic.py").read_text("utf-8")
    named = re.findall(r'self\.fault == "([^"]+)"', text)
    listed = re.findall(r'^ +"([^"]+)",$', text, re.MULTILINE)
    return sorted({*named, *listed})
