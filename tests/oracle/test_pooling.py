"""Which elements of a window win, and which may by rounding."""

import numpy as np

from dlbench.oracle.layers import Pass
from dlbench.oracle.pooling import MaxPool
from dlbench.spec.workload import read_workload
from dlbench.verify.expected.tolerance import turned_branches


def pooled(x, forced=None, **options):
    """What a max pool gives of one image, and its branch."""
    x = np.array(x, np.float64)[None, None]
    workload = read_workload(
        {
            "input_shape": list(x.shape[1:]),
            "layers": [
                {"type": "max_pool", **options},
                {"type": "flatten"},
                {"type": "linear", "out_features": 1},
            ],
            "loss": "mean_squared_error",
            "optimizer": {"type": "sgd", "learning_rate": 1.0},
        }
    )
    node = workload.nodes[0]
    run = Pass(True, np.ones(1), forced={} if forced is None else {node.name: forced})
    y = MaxPool(node, {}, run).forward(x)
    return y, run.branches[node.name]


def test_a_third_element_may_win_behind_two_that_are_equal():
    x = [[3.0, 3.0, 3.0 - 1e-9, 1.0, 0.0]]
    _, branch = pooled(x, kernel=[1, 5])
    assert [0] == branch.taken[0, 0, 0, 0].tolist()
    assert [1, 2, 3] == branch.other[0, 0, 0, 0].tolist()
    np.testing.assert_allclose(branch.margin[0, 0, 0, 0], [0, 1e-9, 2], atol=1e-12)
    third = np.array([False, True, False])[None, None, None, None]
    runs = turned_branches({"pool": branch}, {"pool": third}, 0, 6)
    winners = [int(run["pool"].taken.item()) for run in runs]
    assert {(0, 2), (2, 0)} >= set(zip(winners[::2], winners[1::2], strict=True))
    assert 2 in winners
    values = {0: 3.0, 2: 3.0 - 1e-9}
    for winner, run in zip(winners, runs, strict=True):
        y, _ = pooled(x, run["pool"], kernel=[1, 5])
        assert y.item() == values[winner]


def test_of_several_that_are_to_win_one_does():
    _, branch = pooled([[3.0, 3.0, 3.0, 1.0]], kernel=[1, 4])
    runs = turned_branches({"pool": branch}, {"pool": branch.margin == 0}, 0, 40)
    winners = [int(run["pool"].taken.item()) for run in runs]
    assert {0, 1, 2} == set(winners)


def test_padding_never_wins_whatever_is_forced():
    x = [[1.0, 2.0]]
    _, branch = pooled(x, kernel=3, padding=1, stride=1)
    finite = np.isfinite(branch.margin)
    assert 2 == finite.sum()
    _, moved = pooled([[1.0, 0.5]], branch, kernel=3, padding=1, stride=1)
    np.testing.assert_array_equal(np.isfinite(moved.margin), finite)
    # told with its sign, where what was forced does not win any more
    assert [-0.5, -0.5] == moved.margin[finite].tolist()


def test_a_window_of_one_element_has_nothing_else():
    _, branch = pooled([[1.0, 2.0]], kernel=1)
    assert np.isinf(branch.margin).all()
