"""Mistakes that OpenCL makes easy, planted one at a time: each is found, and nothing is where none is planted."""

import pytest
from dlbench.backends.opencl import sources
from opencl_devices import PLAN, OnDevice, Poisoned, device_of

from dlbench.verify.conformance import Backend, judge, trials

EVERY = {trial.label: trial for trial in trials(0, 0)}
BARRIER = "barrier(CLK_LOCAL_MEM_FENCE);"
STEP = "if (thread < gap) shared[thread] += shared[thread + gap];"
NORM_STEP = "if (thread < gap * CT) shared[thread] += shared[thread + gap * CT];"
# a norm has barriers on GPUs alone
OF_GPUS = {"no barrier in a norm"}


class StaleOptions(Poisoned):
    """A kernel keeps what it was first told about a layer: a cache that forgets the options in its key."""

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self.first = {}

    def _given(self, sources, options):
        return self.first.setdefault(tuple(sources), super()._given(sources, options))


class StaleBuild(Poisoned):
    """A program is found by its files alone, whatever its constants were."""

    def kernel(self, sources, defines, name):
        made = super().kernel(sources, defines, name)
        made.program = self._programs.setdefault(tuple(sources), made.program)
        return made


def change(monkeypatch, file, text, instead):
    """Changes a file of the kernels."""
    read = sources._text
    assert text in read(file)

    def changed(source):
        return read(source).replace(text, instead) if source == file else read(source)

    monkeypatch.setattr(sources, "_text", changed)


def found(backend, label, cache_dir):
    return judge(backend, PLAN, EVERY[label], cache_dir).reason


MISTAKES = {
    # a race: what others have not yet written is read
    "no barrier in a loss": (
        "loss", f"{STEP}\n        {BARRIER}", STEP, "loss:cross_entropy"
    ),
    "no barrier in a norm": (
        "norm", f"{NORM_STEP}\n        {BARRIER}", NORM_STEP, "layer:batch_norm"
    ),
    "labels of 64 bits": (
        "loss", "labels[sample]", "(int)((__global const long *)labels)[sample]", "loss:cross_entropy"
    ),
    "biased running variance": ("norm", "(float)max(rows - 1, 1)", "(float)rows", "layer:batch_norm"),
    "a relu that never is 0": (
        "common", "select(value, (float16)(0.0f),", "select(value, (float16)(0.01f),", "layer:relu"
    ),
    "what lies behind a row counts": (
        "input_gradient", "lane < (int16)(count - i)", "lane < (int16)(LANES)", "layer:conv2d"
    ),
    "a power of beta that stays": (
        "optimizer", "1.0 - progress->beta2_power", "1.0 - beta2", "optimizer:adam"
    ),
    "a relu6 that ends elsewhere": (
        "common", "within16(value, 6.0f); break", "within16(value, 1.0f); break", "layer:relu6"
    ),
    "a curve whose slope is its gate": (
        "curve", "return gate * (1.0f + x * (1.0f - gate))", "return gate", "layer:silu"
    ),
    "the other gelu": (
        "curve", "case GELU: return 0.5f", "case -1: return 0.5f", "layer:gelu"
    ),
    "a slope of the bent piece everywhere": (
        "curve", "x >= (Floats)(3.0f)", "x >= (Floats)(1e9f)", "layer:hard_swish"
    ),
    "windows that end too early": (
        "pool", "((window + 1) * count + windows - 1) / windows", "(window + 1) * count / windows",
        "layer:adaptive_avg_pool",
    ),
    "groups that all read the first": (
        "grouped", "int first = channel / group_out * group_in;", "int first = 0;",
        "layer:conv2d in groups",
    ),
    "a tap's gradient from another tap": (
        "grouped", "int down = tap / shape.kernel_width", "int down = tap % shape.kernel_width",
        "layer:conv2d, depthwise",
    ),
    "a row too few for a bias": (
        "bias", "(share + 1) * per_share, rows)", "(share + 1) * per_share, rows - 1)",
        "layer:conv_transpose2d",
    ),
    "all groups are the first": (
        "sample_norm", "first = (set - image * groups) * width", "first = 0", "layer:group_norm"
    ),
    "a mean that has no gradient": (
        "sample_norm", "gradients - sum - normal", "gradients - normal", "layer:layer_norm"
    ),
    "a neighbour too few": (
        "response_norm", "i <= last; ++i) sum += gradients", "i < last; ++i) sum += gradients",
        "layer:local_response_norm",
    ),
    "a factor's gradient from one pixel": (
        "scale", "(size_t)pixel * pixels + i;", "(size_t)pixel * pixels;", "layer:scale by features"
    ),
    "a label without its share of the smoothing": (
        "loss", "own_weight + every : every", "own_weight : every",
        "loss:cross_entropy with smoothed labels",
    ),
    "a norm of the last part alone": (
        "optimizer", "squares[i];", "squares[0];", "optimizer:adam, gradients clipped by their norm"
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_kernel_is_found(mistake, monkeypatch, cache_dir):
    file, text, instead, label = MISTAKES[mistake]
    change(monkeypatch, file, text, instead)
    device = device_of(is_processor=mistake not in OF_GPUS)
    assert found(Backend(OnDevice(device)), label, cache_dir)


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        (StaleOptions, "layer:conv2d with stride"),
        (StaleBuild, "layer:max_pool"),
        (StaleBuild, "layer:conv2d"),
    ],
)
def test_a_stale_build_is_found(kind, label, cache_dir):
    backend = Backend(OnDevice(device_of(kind)))
    # what is stale has to have been something else before
    before = ["layer:batch_norm", "layer:conv2d with dilation", "layer:avg_pool", "layer:concat"]
    assert any(found(backend, each, cache_dir) for each in [*before, label])
