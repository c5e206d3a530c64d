"""Modules of PyTorch as suites: the same network, or the operation that stands in the way."""

import numpy as np
import pytest

pytest.importorskip("torch")

import published_models
import torch
from dlbench.backends.torch import exported
from dlbench.backends.torch.adapter import Adapter
from dlbench.backends.torch.exported import import_module
from torch import nn
from torch.nn import functional as F

from dlbench.api.importing import suite_from
from dlbench.contract import Plan
from dlbench.errors import UsageError
from dlbench.spec.network import walk
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import read_workload

IMAGE = (3, 12, 16)
IMPORTER = "dlbench.backends.torch.exported:import_module"
SGD = {"type": "sgd", "learning_rate": 0.1}


class Block(nn.Module):
    """A residual block whose shortcut is a convolution where the shape changes."""

    def __init__(self, channels, outputs, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, outputs, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.2)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, "same")
        other = channels != outputs or stride > 1
        self.shortcut = nn.Conv2d(channels, outputs, 1, stride) if other else nn.Identity()

    def forward(self, x):
        y = self.conv2(F.relu(self.norm(self.conv1(x)), inplace=True))
        y += self.shortcut(x)
        return F.leaky_relu(y, 0.2)


class Dense(nn.Module):
    """Layers that each read the features of all before them, kept in a list."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3 + 2 * n, 2, 3, padding=1) for n in range(3))
        self.last = nn.Linear(9, 4)

    def forward(self, x):
        features = [x]
        for layer in self.layers:
            features.append(torch.tanh(layer(torch.cat(features, 1))))
        return self.last(torch.cat(features, 1).mean((2, 3)))


class Branches(nn.Module):
    """An Inception block."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 4, 1)
        self.two = nn.Sequential(
            nn.Conv2d(3, 2, 1), nn.Sigmoid(), nn.Conv2d(2, 5, (3, 5), 1, (1, 2))
        )

    def forward(self, x):
        pooled = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return F.adaptive_avg_pool2d(torch.cat([self.one(x), pooled, self.two(x)], dim=1), (3, 4))


class InPlace(nn.Module):
    """A value that is read under its name after it was changed in place."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        y = self.conv(x)
        z = F.relu_(y)
        return torch.cat([y, torch.tanh(z)], 1)


def plain():
    return nn.Sequential(
        nn.Conv2d(3, 6, (3, 2), (2, 1), (1, 0), dilation=(1, 2)),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.Dropout(0.3),
        nn.AvgPool2d(2, padding=1),
        nn.Flatten(),
        nn.LazyLinear(7),
        nn.Tanh(),
        nn.Linear(7, 5, bias=False),
    )


MODULES = {
    "plain": plain,
    "residual": lambda: nn.Sequential(
        Block(3, 3), Block(3, 6, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    ),
    "dense": Dense,
    "branches": Branches,
    "in place": InPlace,
    "features": lambda: nn.Sequential(
        nn.Linear(10, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1)
    ),
}


def made(name):
    """A module whose running statistics are not those that it begins with."""
    torch.manual_seed(3)
    module, shape = MODULES[name](), (10,) if name == "features" else IMAGE
    module.train()
    with torch.no_grad():
        for _ in range(3):
            module(torch.randn(8, *shape) + 0.5)
    return module.eval(), shape


def logits(workload, found, module, inputs):
    """What the torch backend computes of an imported network with the module's own weights."""
    state = module.state_dict()
    weights = {name: state[own].numpy() for name, own in found.arrays.items()}
    plan = Plan("torch", "cpu", batch=len(inputs), threads=1, scenario="infer")
    session = Adapter().open(plan, workload, weights)
    targets = np.zeros((len(inputs), *workload.output_shape), np.float32)
    return session.download(session.infer(session.upload(inputs, targets)))


@pytest.mark.parametrize("name", MODULES)
def test_an_imported_network_computes_what_the_module_does(name):
    module, shape = made(name)
    found = import_module(module, shape)
    table = {"input_shape": shape, "layers": found.layers, "optimizer": SGD}
    workload = read_workload(table | {"loss": "mean_squared_error"})
    assert workload.parameter_count == sum(p.numel() for p in module.parameters())
    assert {p.name for p in workload.parameters} == found.arrays.keys()
    inputs = np.random.default_rng(5).standard_normal((3, *shape), np.float32)
    with torch.no_grad():
        wanted = module(torch.tensor(inputs)).numpy()
    assert wanted.std() > 0
    np.testing.assert_allclose(logits(workload, found, module, inputs), wanted, 1e-4, 1e-5)


def test_what_a_module_was_before_it_is_again():
    module, shape = made("residual")
    module[0].train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    import_module(module, shape)
    assert [True, False] == [module[0].training, module[1].training]
    for name, value in module.state_dict().items():
        assert torch.equal(before[name], value)


@pytest.mark.parametrize("name", published_models.NAMES)
def test_torchvisions_models_are_the_suites_that_are_written_by_hand(name):
    suite, notes = suite_from(IMPORTER, published_models.model(name), (3, 224, 224), name)
    assert () == notes
    # without the sizes that are written down
    own = load_suite(name).workload.at((3, 224, 224))
    assert own.nodes == suite.workload.nodes
    assert own.parameter_count == suite.workload.parameter_count
    # the cheapest of them are not dear enough to be verified at a smaller input unless somebody says so
    assert (suite.verification is None) == (name in ("mobilenet-v2", "efficientnet-b0"))


def test_torchvisions_weights_give_the_same_logits_by_the_names_that_were_found():
    module = published_models.model("resnet18").eval()
    found, workload = import_module(module, (3, 224, 224)), load_suite("resnet18").workload
    inputs = np.random.default_rng(5).standard_normal((2, 3, 224, 224), np.float32)
    with torch.no_grad():
        wanted = module(torch.tensor(inputs)).numpy()
    got = logits(workload, found, module, inputs)
    np.testing.assert_allclose(got, wanted, 1e-4, 1e-5 * np.abs(wanted).max())


def test_a_softmax_at_the_end_is_left_to_the_loss_and_told():
    suite, notes = suite_from(
        IMPORTER, nn.Sequential(nn.Flatten(), nn.Linear(576, 4), nn.LogSoftmax(1)), IMAGE
    )
    assert ["flatten", "linear"] == [layer["type"] for layer in suite.workload.to_table()["layers"]]
    (note,) = notes
    assert note.startswith("log_softmax at the end is left out")


class Of(nn.Module):
    """A module that computes what a function says, with some layers."""

    def __init__(self, compute, **layers):
        super().__init__()
        self.compute = compute
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.compute(self, x)


def conv(outputs=3):
    return nn.Conv2d(3, outputs, 3, padding=1)


def crosswise(self, x):
    a, b, c = self.a(x), self.b(x), self.c(x)
    return torch.cat([a + b, b + c], 1)


REFUSED = {
    "normalisation of layers": (
        lambda: nn.Sequential(conv(), nn.LayerNorm([12, 16])),
        "1 .*aten.layer_norm.default has no counterpart in dlbench; put batch_norm in its place",
    ),
    "a constant": (
        lambda: Of(lambda self, x: self.a(x) + 1, a=conv()),
        "test_torch_import.py, line .*aten.add.Tensor has no counterpart.*no constants",
    ),
    "a parameter that is added": (
        lambda: Of(lambda self, x: self.a(x) + self.b, a=conv(), b=nn.Parameter(torch.ones(1))),
        "aten.add.Tensor has no counterpart",
    ),
    "another sum": (
        lambda: Of(lambda self, x: torch.add(self.a(x), x, alpha=2), a=conv()),
        "a sum with alpha",
    ),
    "a sum that is spread out": (
        lambda: Of(lambda self, x: self.a(x) + self.a(x).mean((2, 3), keepdim=True), a=conv()),
        "used more than once|a sum of values of other shapes, 3 × 12 × 16 and 3 × 1 × 1",
    ),
    "weights that are shared": (
        lambda: Of(lambda self, x: self.a(self.a(x)), a=conv()),
        "a.weight is used more than once; dlbench has no weights that layers share",
    ),
    "crosswise": (
        lambda: Of(crosswise, a=conv(), b=conv(), c=conv()),
        "b .*used crosswise, in two branches",
    ),
    "rows side by side": (
        lambda: Of(lambda self, x: torch.cat([self.a(x), x], 2), a=conv()),
        "torch.cat of 4 axes along axis 2",
    ),
    "another reshape": (
        lambda: Of(lambda self, x: self.a(x).view(-1, 4, 12, 12), a=conv()),
        "a reshape to 4 × 12 × 12|a reshape",
    ),
    "a linear layer on an image": (lambda: nn.Linear(16, 4), "put a flatten before it"),
    "a pool to sizes that do not divide": (
        lambda: nn.AdaptiveMaxPool2d((5, 5)),
        "adaptive_max_pool2d.default has no counterpart in dlbench; put a max_pool",
    ),
    "normalisation without statistics": (
        lambda: nn.BatchNorm2d(3, track_running_stats=False),
        "without running statistics|batch normalisation without",
    ),
    "two outputs": (
        lambda: Of(lambda self, x: (self.a(x), x), a=conv()),
        "the module gives 2 values",
    ),
    "nothing of the input": (
        lambda: Of(lambda self, x: torch.ones(2, 3), a=conv()),
        "does not depend on its input|gives",
    ),
    "something else in training": (
        lambda: Of(lambda self, x: self.a(x) if self.training else x, a=conv()),
        "one thing in inference and another in training",
    ),
    "what cannot be exported": (
        lambda: Of(lambda self, x: self.a(x) if x.sum() > 0 else x, a=conv()),
        "the module's way depends on the values of its input",
    ),
    "another shape": (lambda: nn.Conv2d(4, 3, 3), r"does not take inputs of \[2, 3, 12, 16\]: "),
    "attention": (
        lambda: Of(lambda self, x: F.scaled_dot_product_attention(x, x, x), a=conv()),
        "no attention",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_operation_without_a_counterpart_is_refused_with_its_place(case):
    make, message = REFUSED[case]
    with pytest.raises(UsageError, match=message):
        import_module(make(), IMAGE)


def test_the_place_is_the_part_of_the_module_and_the_line():
    inner = nn.Sequential(conv(), nn.Sequential(nn.ReLU(), nn.Mish()))
    with pytest.raises(UsageError, match=r"^1\.1 .*aten\.mish\.default has no counterpart"):
        import_module(inner, IMAGE)


def frozen(module, *names):
    """The module with these parts not trained."""
    for name in names:
        module.get_submodule(name).requires_grad_(False)
    return module


def test_layers_of_which_nothing_is_trained_are_frozen():
    net = nn.Sequential(conv(), nn.BatchNorm2d(3), Block(3, 4), nn.Flatten(), nn.LazyLinear(2))
    found = import_module(frozen(net, "0", "1", "2.shortcut"), IMAGE)
    workload = read_workload({"input_shape": IMAGE, "layers": found.layers, "optimizer": SGD})
    assert ["conv1", "norm1", "conv4"] == [n.name for n in walk(workload.nodes) if n.frozen]
    (note,) = found.notes
    assert "1 batch normalisation (1) frozen with running statistics" in note
    assert note.endswith("PyTorch would go on with each batch's")


class Kept(nn.BatchNorm2d):
    """Evaluates in training too, as in fine-tuning."""

    def train(self, mode=True):
        return super().train(False)


def test_a_normalisation_that_evaluates_in_training_is_frozen_without_a_word():
    found = import_module(frozen(nn.Sequential(conv(), Kept(3)), "1"), IMAGE)
    assert [None, True] == [layer.get("freeze") for layer in found.layers]
    assert () == found.notes
    with pytest.raises(UsageError, match=r"^1: normalises by running statistics in training, and"):
        import_module(nn.Sequential(conv(), Kept(3)), IMAGE)


def test_a_layer_frozen_in_part_is_trained_and_said():
    net = nn.Sequential(conv(), nn.ReLU())
    net[0].bias.requires_grad_(False)
    found = import_module(net, IMAGE)
    assert [None, None] == [layer.get("freeze") for layer in found.layers]
    (note,) = found.notes
    assert note.startswith("1 array (0.bias) of requires_grad = False in layers of which other")


def test_what_is_no_module_is_refused():
    with pytest.raises(UsageError, match=r"dict is no torch\.nn\.Module"):
        suite_from(IMPORTER, {}, IMAGE)


def test_layers_that_compute_something_else_are_not_taken(monkeypatch):
    """Whatever the reason: here one is lost on the way."""
    right = exported.nested
    monkeypatch.setattr(exported, "nested", lambda *graph: right(*graph)[:1])
    with pytest.raises(UsageError, match="give another output than the module, by"):
        import_module(nn.Sequential(conv(), nn.ReLU()), IMAGE)
