"""Suites of published networks: parameters as published, operations and outputs as those of torchvision's models."""

import numpy as np
import pytest
from published_models import NAMES, canonical, model

from dlbench.contract import Plan
from dlbench.spec.suite import load_suite

PUBLISHED = {
    "lenet5": 61_706,
    "alexnet": 61_100_840,
    "vgg16": 138_357_544,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "mobilenet-v2": 3_504_872,
    "densenet121": 7_978_856,
    "efficientnet-b0": 5_288_548,
    "resnet50-keras": 25_583_592,
    "mobilenet-v2-keras": 3_504_872,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_network_has_the_parameters_that_were_published(name):
    assert PUBLISHED[name] == load_suite(name).workload.parameter_count


# PyTorch 2.13 counts the gradients of a convolution in groups as those of one without
COUNTED = [(name, training) for name in NAMES for training in (False, True)]
COUNTED.remove(("mobilenet-v2", True))
COUNTED.remove(("efficientnet-b0", True))


@pytest.mark.parametrize(("name", "training"), COUNTED)
def test_operations_are_those_that_pytorch_counts_of_torchvisions_model(name, training):
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        other = model(name).train(training)
    workload = load_suite(name).workload
    with FlopCounterMode(display=False) as counter:
        output = other(torch.empty((2, *workload.input_shape), device="meta"))
        if training:
            output.sum().backward()
    counted = workload.training_flops if training else workload.forward_flops
    assert 2 * counted == counter.get_total_flops()


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_torchvisions_model_with_the_same_weights(name):
    torch = pytest.importorskip("torch")
    from dlbench.backends.torch.adapter import Adapter

    torch.manual_seed(1)
    other, workload = model(name).eval(), load_suite(name).workload
    inputs = np.random.default_rng(2).standard_normal((2, *workload.input_shape), np.float32)
    plan = Plan("torch", "cpu", batch=2, threads=1, scenario="infer")
    session = Adapter().open(plan, workload, canonical(workload, other))
    batch = session.upload(inputs, np.zeros(2, np.int64))
    got = session.download(session.infer(batch))
    with torch.no_grad():
        wanted = other(torch.tensor(inputs)).numpy()
    assert wanted.std() > 0
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
