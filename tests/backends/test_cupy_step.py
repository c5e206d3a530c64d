"""What a CuPy step consists of: the list in the documentation, and where values lie. Nothing is launched here."""

import gc
import re
import weakref
from pathlib import Path

import numpy as np
import pytest
from dlbench.backends.cupy.device import Pointer
from dlbench.backends.cupy.tiling import TILES, choose
from dlbench.backends.launches.program import Program, Value
from dlbench.backends.launches.session import Session

from dlbench.contract import Plan
from dlbench.errors import PlanRefused
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import initial_weights, read_workload

ROOT = Path(__file__).parents[2]


class Memory:
    """A device of which only the memory is there, counted as the pool of a GPU is."""

    name, description, multiprocessors, compute_capability = "cuda:0", "", 132, (9, 0)
    lanes = 4

    def __init__(self):
        self.used_bytes = self.peak_bytes = 0

    @property
    def facts(self):
        return {"peak_device_memory_bytes": self.peak_bytes}

    def new_peak(self):
        self.peak_bytes = self.used_bytes

    def buffer(self, size, dtype=np.float32):
        made = np.empty(size, dtype)
        self.used_bytes += made.nbytes
        self.peak_bytes = max(self.peak_bytes, self.used_bytes)
        weakref.finalize(made, self._give_back, made.nbytes)
        return made

    def _give_back(self, size_bytes):
        self.used_bytes -= size_bytes

    def zeros(self, size, dtype=np.float32):
        made = self.buffer(size, dtype)
        made[...] = 0
        return made

    def from_host(self, array):
        made = self.buffer(array.size, array.dtype)
        made[...] = array.reshape(-1)
        return made

    def copy(self, target, source):
        target[...] = source

    def write(self, buffer, array):
        buffer[...] = array.reshape(-1)

    def to_host(self, buffer):
        return buffer.copy()

    def tiling(self, product):
        return choose(
            product.rows,
            product.columns,
            product.depth,
            product.precision,
            self.multiprocessors,
            product.launches_to_share,
        )

    def kernel(self, sources, defines, name):
        return name

    def bind(self, kernel, grid, block, args):
        return lambda: None


def session(workload, batch, precision="fp32", seed=0, device=None):
    plan = Plan("cupy", "cuda", batch, 1, precision)
    weights = initial_weights(workload, seed)
    return Session(device or Memory(), plan, workload, weights, "eager")


def launches(workload, batch, training=True):
    return session(workload, batch).programs[training].launches


def test_the_documented_step_is_the_one_that_is_run():
    text = (ROOT / "docs" / "cupy-backend.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| `(\w+\.cu)` \|", text, re.MULTILINE)
    listed = [(name, file) for _, name, file in rows]
    made = launches(load_suite("cnn-mnist").workload, 64)
    assert [(launch.name, f"{launch.sources[-1]}.cu") for launch in made] == listed
    assert [int(number) for number, _, _ in rows] == list(range(1, len(rows) + 1))


def test_every_kernel_file_is_in_the_documentation():
    text = (ROOT / "docs" / "cupy-backend.md").read_text("utf-8")
    folder, shared = ROOT / "backends" / "cupy", ROOT / "backends" / "launches"
    files = [*(folder / "kernels").glob("*.cu"), *folder.glob("[!_]*.py"), *shared.glob("[!_]*.py")]
    assert len(files) > 20
    assert [] == [file.name for file in files if f"`{file.name}`" not in text]


def test_inference_draws_no_masks_and_ends_with_the_logits():
    made = launches(load_suite("cnn-mnist").workload, 64, training=False)
    assert not any(launch.defines.get("DROPOUT") for launch in made)
    assert made[-1].name in ("convolution_forward", "finish_forward")


def test_a_concatenation_copies_nothing_when_what_comes_before_can_write_in_place():
    made = launches(load_suite("densenet-cifar10").workload, 2)
    assert "apply" not in {launch.name for launch in made}


def test_a_residual_sum_and_its_relu_are_part_of_the_normalisation_before_them():
    made = launches(load_suite("resnet-cifar10").workload, 2)
    sums = [launch for launch in made if launch.name == "norm_forward" and launch.defines["ADD"]]
    assert 9 == len(sums)
    assert {"apply", "apply_gradient"}.isdisjoint(launch.name for launch in made)


def overlapping(values):
    """Pairs of values that share memory, by the numbers of the launches in which they are alive."""
    for number, one in enumerate(values):
        for two in values[:number]:
            if np.shares_memory(one.memory, two.memory):
                yield one, two


@pytest.mark.parametrize("suite", ["cnn-mnist", "resnet-cifar10"])
def test_values_that_live_at_the_same_time_share_no_memory(suite):
    opened = session(load_suite(suite).workload, 1)
    program = opened.programs[True]
    program.prepare([opened._input, opened._targets, opened._output])
    check_sharing(program)


def check_sharing(program):
    """Values share memory, but none with one that is still needed."""
    alive = {}
    for number, launch in enumerate(program.launches):
        for value in launch.values:
            alive.setdefault(value.root, []).append(number)
    shared = 0
    own = [value for value in alive if not isinstance(value.memory, Pointer)]
    for one, two in overlapping(own):
        shared += 1
        assert alive[one][-1] < alive[two][0] or alive[two][-1] < alive[one][0]
    assert shared


@pytest.fixture
def _no_collector():
    """Memory is given back at once or not at all."""
    gc.disable()
    yield
    gc.enable()


def peak_bytes(device, batch):
    """What a session says when it has done a step."""
    opened = session(load_suite("cnn-mnist").workload, batch, device=device)
    opened.train_step(opened.upload(np.zeros((batch, 1, 28, 28)), np.zeros(batch, np.int64)))
    return opened.facts["peak_device_memory_bytes"]


@pytest.mark.usefixtures("_no_collector")
def test_a_session_that_nobody_holds_gives_its_memory_back_at_once():
    device = Memory()
    assert peak_bytes(device, 2) > 0
    assert 0 == device.used_bytes


@pytest.mark.usefixtures("_no_collector")
def test_the_peak_of_memory_is_that_of_the_session_and_not_of_those_before_it():
    device = Memory()
    alone = peak_bytes(device, 2)
    assert peak_bytes(device, 8) > alone
    assert alone == peak_bytes(device, 2)


@pytest.mark.usefixtures("_no_collector")
def test_thousands_of_batches_take_no_more_memory_than_those_that_are_held():
    device = Memory()
    opened = session(load_suite("cnn-mnist").workload, 2, device=device)
    arrays = np.zeros((2, 1, 28, 28), np.float32), np.zeros(2, np.int64)
    held = [opened.upload(*arrays) for _ in range(2)]
    opened.train_step(held[0])
    used_bytes = device.used_bytes
    for _ in range(3000):
        held = [held[1], opened.upload(*arrays)]
    opened.train_step(held[1])
    # Three are there while the third comes.
    assert device.used_bytes - used_bytes == held[0].thing.buffer.nbytes
    assert opened.upload(*arrays).thing not in [batch.thing for batch in held]


def test_what_it_takes_to_see_the_rounding_is_not_in_the_peak():
    device = Memory()
    opened = session(load_suite("linear-mse").workload, 1, device=device)
    before = device.peak_bytes
    assert before == opened.facts["peak_device_memory_bytes"]
    assert before == opened.facts["peak_device_memory_bytes"]


@pytest.mark.parametrize("label", [-1, 10])
def test_a_label_that_is_no_class_is_refused(label):
    opened = session(load_suite("cnn-mnist").workload, 1)
    with pytest.raises(ValueError, match="labels must be from 0 to 9"):
        opened.upload(np.zeros((1, 1, 28, 28)), np.array([label]))


class Failing(Memory):
    """Asks to be tried again: the compiler fails once, at the kernel of this number."""

    def __init__(self, number):
        super().__init__()
        self.left, self.launched = number, 0

    def tiling(self, product):
        return choose(
            product.rows,
            product.columns,
            product.depth,
            product.precision,
            self.multiprocessors,
            product.launches_to_share,
        )

    def kernel(self, sources, defines, name):
        self.left -= 1
        if not self.left:
            raise RuntimeError("no compiler today")
        return name

    def bind(self, kernel, grid, block, args):
        def launch():
            self.launched += 1

        return launch


def test_a_step_that_could_not_be_prepared_can_be_tried_again():
    device = Failing(5)
    opened = session(load_suite("cnn-mnist").workload, 1, device=device)
    batch = opened.upload(np.zeros((1, 1, 28, 28)), np.zeros(1, np.int64))
    with pytest.raises(RuntimeError, match="no compiler today"):
        opened.train_step(batch)
    used_bytes = device.used_bytes
    opened.train_step(batch)
    assert len(opened.programs[True].launches) == device.launched
    assert used_bytes == device.used_bytes


class Full(Memory):
    """Has room for so many buffers."""

    left = 10**9

    def buffer(self, size, dtype=np.float32):
        self.left -= 1
        if self.left < 0:
            raise MemoryError
        return super().buffer(size, dtype)


def test_values_share_no_memory_either_after_an_attempt_without_room():
    device = Full()
    opened = session(load_suite("cnn-mnist").workload, 1, device=device)
    program, kept = opened.programs[True], [opened._input, opened._targets, opened._output]
    device.left = 4
    with pytest.raises(MemoryError):
        program.prepare(kept)
    device.left = 10**9
    program.prepare(kept)
    check_sharing(program)


def test_a_part_of_a_wider_value_begins_at_its_channel_and_ends_at_its_last_element():
    whole = Value(2, (3, 4, 8))
    whole.buffer = np.arange(whole.size, dtype=np.float32)
    part = whole.part(5, 2)
    image = whole.buffer.reshape(2, 3, 4, 8)
    assert (part.memory[0], part.memory[-1]) == (image[0, 0, 0, 5], image[-1, -1, -1, 6])
    assert part.overlaps(whole.part(6, 2))
    assert not part.overlaps(whole.part(0, 5))
    assert (part.vector, whole.part(4, 4).vector, whole.part(2, 4).vector) == (1, 4, 1)


def test_more_elements_than_a_kernel_can_count_are_refused():
    program = Program(Memory(), 2**16, None, True)
    with pytest.raises(
        PlanRefused, match="65536 × 256 × 256 × 64 has more elements; a smaller --b"
    ):
        program.value((256, 256, 64))


def test_a_batch_with_more_elements_than_a_kernel_can_count_is_refused():
    device = Memory()
    with pytest.raises(PlanRefused, match="a smaller --batch"):
        session(load_suite("cnn-mnist").workload, 2**22, device=device)
    assert device.peak_bytes < 10**6


def test_a_launch_that_reads_four_channels_at_once_has_a_thread_for_each_four():
    workload = read_workload(
        {
            "input_shape": [64, 3, 3],
            "layers": [{"type": "global_avg_pool"}],
            "loss": "mean_squared_error",
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )
    (launch,) = launches(workload, 256, training=False)
    assert 4 == launch.defines["VC"]
    assert 256 * 64 // 4 == launch.grid[0] * launch.block[0]


@pytest.mark.parametrize("precision", list(TILES))
@pytest.mark.parametrize("sizes", [(1, 1, 1), (64, 10, 128), (289, 64, 36_864), (10**6, 513, 27)])
def test_a_tiling_covers_every_result_and_every_term(sizes, precision):
    rows, columns, depth = sizes
    for launches_to_share in (0, 1, 2):
        tiling = choose(rows, columns, depth, precision, 132, launches_to_share)
        tile, grid = tiling.tile, tiling.grid
        assert (grid[0] - 1) * tile.rows < rows <= grid[0] * tile.rows
        assert (grid[1] - 1) * tile.columns < columns <= grid[1] * tile.columns
        assert (grid[2] - 1) * tiling.per_share < depth <= grid[2] * tiling.per_share
        assert (grid[2], tiling.per_share % tile.depth) == (tiling.shares, 0)


@pytest.mark.parametrize("tile", [tile for tiles in TILES.values() for tile in tiles], ids=str)
def test_a_tile_fits_a_block_and_its_loaders(tile):
    assert 32 <= tile.threads <= 1024
    assert tile.threads >= max(tile.rows, tile.columns, tile.depth)
    assert tile.depth % (8 * tile.groups) == 0
    least = (16, 8) if tile.tensor_cores else (4, 4)
    assert (tile.unit_rows % least[0], tile.unit_columns % least[1]) == (0, 0)


def test_long_sums_for_few_results_are_shared_out():
    assert choose(64, 128, 9216, "fp32", 132, 1).shares >= 8
    assert choose(36_864, 64, 288, "fp32", 132, 1).shares == 1


def test_what_is_loaded_comes_back_the_same_whatever_the_kernels_layout():
    workload = read_workload(
        {
            "input_shape": [3, 5, 7],
            "layers": [
                {"type": "conv2d", "out_channels": 4, "kernel": [3, 2]},
                {"type": "batch_norm"},
                {"type": "flatten"},
                {"type": "linear", "out_features": 6},
            ],
            "loss": "cross_entropy",
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )
    random = np.random.default_rng(0)
    weights = {
        p.name: random.standard_normal(p.shape).astype(np.float32) for p in workload.parameters
    }
    opened = session(workload, 2)
    opened.load(weights)
    for name, value in opened.weights().items():
        np.testing.assert_array_equal(value, weights[name], err_msg=name)
