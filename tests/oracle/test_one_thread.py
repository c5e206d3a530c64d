"""The oracle leaves BLAS with the threads that it had."""

import networks
import numpy as np
import pytest

from dlbench.oracle import one_thread as module
from dlbench.oracle.layers import Pass
from dlbench.oracle.network import forward
from dlbench.oracle.one_thread import one_thread


class Blas:
    """A library that counts threads and no more."""

    def __init__(self, threads):
        self.threads, self.asked = threads, []

    def get(self):
        return self.threads

    def set(self, threads):
        self.asked.append(threads)
        self.threads = threads


@pytest.fixture
def blas(monkeypatch):
    library = Blas(3)
    monkeypatch.setattr(module, "_threads", lambda: (library.get, library.set))
    return library


def test_threads_are_given_back_whatever_happens(blas):
    def fail():
        seen.append(blas.threads)
        raise KeyError

    seen = []
    with pytest.raises(KeyError), one_thread():
        fail()
    assert [1] == seen
    assert 3 == blas.threads


def test_a_pass_is_computed_in_one_thread(blas):
    workload = networks.network("everything")
    inputs = networks.batch(workload, 2, 1)[0]
    forward(workload.nodes, networks.weights(workload, 1), inputs, Pass(True, np.ones(2)))
    assert [1, 3] == blas.asked


def test_a_single_thread_is_left_alone(blas):
    blas.threads = 1
    with one_thread():
        pass
    assert [] == blas.asked


def test_a_blas_that_cannot_be_asked_is_left_alone(monkeypatch):
    monkeypatch.setattr(module, "_threads", lambda: None)
    with one_thread() as nothing:
        assert nothing is None


def test_the_blas_of_numpys_wheels_is_found():
    if "openblas" not in str(np.__config__.CONFIG["Build Dependencies"]["blas"]["name"]):
        pytest.skip("this NumPy has another BLAS")
    read, _ = module._threads()
    with one_thread():
        assert 1 == read()
