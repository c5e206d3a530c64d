"""torchvision's names are those of the suites' layers, in whichever order a file has them."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("safetensors")

import torch
from dlbench.backends.torch.adapter import Adapter
from published_models import NAMES, canonical, model
from safetensors.torch import save_file

from dlbench.contract import Plan
from dlbench.errors import UsageError
from dlbench.spec.suite import load_suite
from dlbench.weights.published_names import canonical_names
from dlbench.weights.tensors import read_weights


@pytest.mark.parametrize("name", NAMES)
def test_each_published_name_has_its_array(name):
    workload = load_suite(name).workload
    with torch.device("meta"):
        state = model(name).state_dict()
    own = [key for key in state if not key.endswith("num_batches_tracked")]
    wanted = dict(zip((each.name for each in workload.parameters), own, strict=True))
    assert wanted == canonical_names(workload, sorted(state))


def test_names_of_another_network_are_nobodys():
    workload = load_suite("resnet18").workload
    with torch.device("meta"):
        other = model("resnet50").state_dict()
    assert {} == canonical_names(workload, other)
    assert {} == canonical_names(workload, {each.name: () for each in workload.parameters})


@pytest.mark.parametrize("name", ["resnet18", "mobilenet-v2"])
def test_logits_are_those_of_torchvisions_own_forward(name, tmp_path):
    torch.manual_seed(4)
    other = model(name)
    with torch.no_grad():
        # so that running statistics are not those that it begins with
        other.train()(torch.randn(2, 3, 64, 64))
    other.eval()
    save_file(other.state_dict(), tmp_path / "w.safetensors")
    workload = load_suite(name).workload
    weights = read_weights(tmp_path / "w.safetensors", workload)
    for key, value in canonical(workload, other).items():
        np.testing.assert_array_equal(value, weights[key])
    small = workload.at((3, 64, 64))
    inputs = np.random.default_rng(5).standard_normal((2, 3, 64, 64), np.float32)
    session = Adapter().open(Plan("torch", "cpu", 2, 1, scenario="infer"), small, weights)
    got = session.download(session.infer(session.upload(inputs, np.zeros(2, np.int64))))
    with torch.no_grad():
        wanted = other(torch.tensor(inputs)).numpy()
    assert wanted.std() > 0
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def test_a_published_file_that_does_not_fit_is_refused_with_both_names(tmp_path):
    state = {key: value.contiguous() for key, value in model("resnet18").state_dict().items()}
    state["layer2.0.downsample.0.weight"] = torch.zeros(128, 64, 3, 3)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(UsageError) as error:
        read_weights(tmp_path / "w.safetensors", load_suite("resnet18").workload)
    assert (
        "layer2.0.downsample.0.weight (conv8.weight) is 128 × 64 × 3 × 3 there, 128 × 64 × 1 × 1 is needed"
        in str(error.value)
    )
