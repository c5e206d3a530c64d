"""How many planted faults the rules of the field let pass: prints the table of ``docs/precision.md``.

PyTorch's own benchmark suite accepts a result that is close to a reference's, or whose root-mean-square error against
float64 is at most a multiple of the reference's plus a tenth of the tolerance (``same()`` in ``torch._dynamo.utils``,
with 2 or, for short types and for arrays below 1000 elements, 3); some of its models are held to a cosine of 0.99
instead. Here the reference is the right adapter, and the multiple the larger one. All arrays of a fault have to be
accepted: logits, loss, gradients, and the weights after a step of the optimizer. What dlbench lets pass the tests of
the faults say: none, and every backend without a fault.

    python tests/verify/field_rule.py
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import small
from emulated import EmulatedAdapter
from faulty import FaultyAdapter
from planted_arithmetic import IN_STEPS, PLANTED
from spoilt_arithmetic import SpoiltAdapter
from test_arithmetic import EVERYTHING
from test_faults import BEFORE_TIMING

from dlbench.oracle.layers import Pass
from dlbench.oracle.network import forward, forward_backward
from dlbench.oracle.optimizers import Update
from dlbench.spec.training import Sgd
from dlbench.verify.checks.steps import GRADIENT_RATE
from dlbench.verify.expected.evaluation_points import (
    draw_point,
    oracle_inputs,
    oracle_weights,
)

BATCH = 6
MULTIPLE = 3.0
TOLERANCES = {"fp32": 1e-3, "bf16": 1e-2, "fp16": 1e-2}


def float64(workload, point):
    """What the oracle gives at a point."""
    weights, inputs = oracle_weights(point.weights), oracle_inputs(point.inputs)
    logits = forward(workload.nodes, weights, inputs, Pass(False, point.counts))
    run = Pass(True, point.counts)
    _, loss = forward_backward(workload.nodes, workload.loss, weights, inputs, point.targets, run)
    rate = workload.optimizer.learning_rate
    after = Update(workload.optimizer).step(weights, run.gradients, rate) | run.state
    gradients = {f"gradient of {name}": value for name, value in run.gradients.items()}
    return {"logits": logits, "loss": np.asarray(loss), **gradients, **after}


def given(adapter, workload, point, precision):
    """What a backend gives there."""
    plan = dataclasses.replace(small.plan(), batch=BATCH, precision=precision)
    found = {}
    for optimizer in (Sgd(learning_rate=GRADIENT_RATE), workload.optimizer):
        session = adapter.open(
            plan, dataclasses.replace(workload, optimizer=optimizer), point.weights
        )
        batch = session.upload(*point.batch())
        if optimizer == workload.optimizer:
            session.train_step(batch)
            found |= session.weights()
            break
        found["logits"] = session.download(session.infer(batch))
        found["loss"] = session.download(session.train_step(batch))
        after = session.weights()
        for p in workload.parameters:
            if p.trainable:
                moved = point.weights[p.name].astype(np.float64) - after[p.name]
                found[f"gradient of {p.name}"] = moved / GRADIENT_RATE
    return {name: np.asarray(value, np.float64) for name, value in found.items()}


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def accepts_rms(got, reference, exact, tolerance):
    if np.allclose(got, reference, tolerance, tolerance):
        return True
    return rms(got - exact) <= MULTIPLE * rms(reference - exact) + tolerance / 10


def accepts_cosine(got, reference, exact, tolerance):
    size = np.linalg.norm(got) * np.linalg.norm(reference)
    return size == 0 or float(np.vdot(got, reference)) / size >= 0.99


def accepts_close(got, reference, exact, tolerance):
    return np.allclose(got, exact, 1e-2, 1e-2)


RULES = {
    "root-mean-square error": accepts_rms,
    "cosine of 0.99": accepts_cosine,
    "`allclose` of 1e-2": accepts_close,
}


def let_pass(adapter, right, workload, precision):
    """The rules that accept a faulty adapter."""
    point = draw_point(workload, BATCH, "field", precision)
    exact = float64(workload, point)
    reference = given(right, workload, point, precision)
    try:
        got = given(adapter, workload, point, precision)
    except (RuntimeError, KeyError):
        return []
    same = got.keys() == exact.keys() and all(got[k].shape == exact[k].shape for k in got)
    with np.errstate(all="ignore"):
        return [
            word
            for word, accepts in RULES.items()
            if same
            and all(accepts(got[k], reference[k], exact[k], TOLERANCES[precision]) for k in exact)
        ]


def rows():
    """Kind of fault, and the rules that accept it, for each that one step can show."""
    for precision, table in PLANTED.items():
        found = let_pass(SpoiltAdapter(), EmulatedAdapter(), EVERYTHING, precision)
        yield f"none, {precision}", "", found
        for fault in table:
            workload = small.workload("convolution") if fault in IN_STEPS else EVERYTHING
            found = let_pass(SpoiltAdapter(fault), EmulatedAdapter(), workload, precision)
            yield f"of arithmetic, {precision}", fault, found
    for name, faults in BEFORE_TIMING.items():
        workload = small.workload(name)
        if workload.has_dropout:
            # masks differ from backend to backend: no rule for one result fits
            continue
        for fault in faults:
            yield (
                "of meaning",
                fault,
                let_pass(FaultyAdapter(fault), FaultyAdapter(), workload, "fp32"),
            )


def table():
    """The lines of the table: faults of each kind, and how many of them each rule lets pass."""
    counts = {}
    for kind, _, accepted in rows():
        total = counts.setdefault(kind, dict.fromkeys(("all", *RULES), 0))
        for word in ("all", *accepted):
            total[word] += 1
    yield f"| planted faults | all | {' | '.join(RULES)} | dlbench |"
    yield f"|---|{'---|' * (len(RULES) + 2)}"
    for kind, total in counts.items():
        ours = total["all"] if kind.startswith("none") else 0
        yield f"| {kind} | {' | '.join(str(count) for count in total.values())} | {ours} |"


if __name__ == "__main__":
    sys.stdout.write("\n".join([*table(), ""]))
