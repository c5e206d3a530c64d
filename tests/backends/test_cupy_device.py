"""How kernels' arguments reach the CUDA driver, read back from where the driver would read them."""

import ctypes
import gc
import types
import weakref

import numpy as np
import pytest
from dlbench.backends.cupy.device import CupyDevice, Pointer, source_text

FUNCTION, STREAM = 4711, 42


class Array:
    """Stands for a CuPy array: what the device asks of one is its address."""

    def __init__(self, address):
        self.data = types.SimpleNamespace(ptr=address)


def device(calls):
    runtime = types.SimpleNamespace(
        getDeviceProperties=lambda index: {
            "name": b"GPU",
            "multiProcessorCount": 132,
            "major": 9,
            "minor": 0,
        }
    )
    cuda = types.SimpleNamespace(
        runtime=runtime,
        driver=types.SimpleNamespace(launchKernel=lambda *args: calls.append(args)),
        Device=lambda index: types.SimpleNamespace(use=lambda: None),
        Stream=lambda non_blocking: types.SimpleNamespace(ptr=STREAM),
    )
    cupy = types.SimpleNamespace(cuda=cuda, ndarray=Array, get_default_memory_pool=lambda: None)
    return CupyDevice(cupy, 0)


class Stream:
    """A stream that has got as far as the test says."""

    ptr = STREAM

    def __init__(self):
        self.queued, self.done, self.waits = 0, 0, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def synchronize(self):
        self.waits += 1
        self.done = self.queued


class Event:
    """Reached when everything queued before it is done."""

    def record(self, stream):
        self.stream, self.place = stream, stream.queued

    @property
    def done(self):
        return self.place <= self.stream.done


class Sent(Array):
    """An array that keeps what was to be copied to it."""

    def __init__(self, size, dtype):
        super().__init__(0)
        self.dtype = np.dtype(dtype)

    def set(self, host, stream):
        stream.queued += 1
        self.host = weakref.ref(host)


@pytest.fixture
def sending():
    """A device with a stream that stands still, and that stream."""
    made = device([])
    made._stream = stream = Stream()
    made._device = stream
    made._cupy.empty = Sent
    made._cupy.cuda.Event = Event
    made._pool = types.SimpleNamespace(used_bytes=lambda: 0)
    return made, stream


def test_sending_waits_for_nothing_and_keeps_each_array_until_it_is_copied(sending):
    device, stream = sending
    buffers = [device.from_host(np.arange(number + 1)) for number in range(3)]
    gc.collect()
    assert 0 == stream.waits
    assert [1, 2, 3] == [buffer.host().size for buffer in buffers]
    stream.done = 2
    buffers.append(device.from_host(np.arange(4)))
    gc.collect()
    assert [None, None] == [buffer.host() for buffer in buffers[:2]]
    assert [3, 4] == [buffer.host().size for buffer in buffers[2:]]
    device.synchronize()
    assert all(buffer.host() is None for buffer in buffers)


def read(table, number, kind):
    """The value of a parameter, through the driver's table of addresses."""
    address = ctypes.c_uint64.from_address(table + 8 * number).value
    return kind.from_address(address).value


def test_every_argument_lies_where_the_driver_reads_it_in_its_own_type():
    calls = []
    kernel = types.SimpleNamespace(ptr=FUNCTION)
    args = (Array(2**40 + 256), np.int32(-7), np.float32(0.5), np.uint32(2**31), np.float64(0.999))
    launch = device(calls).bind(kernel, (3, 2, 1), (64, 1, 1), args)
    del args
    gc.collect()
    launch()
    launch()
    assert calls[0] == calls[1]
    function, *sizes, stream, table, extra = calls[0]
    assert (function, stream, extra) == (FUNCTION, STREAM, 0)
    assert sizes == [3, 2, 1, 64, 1, 1, 0]
    kinds = (ctypes.c_uint64, ctypes.c_int32, ctypes.c_float, ctypes.c_uint32, ctypes.c_double)
    values = [read(table, number, kind) for number, kind in enumerate(kinds)]
    assert values == [2**40 + 256, -7, 0.5, 2**31, 0.999]


def test_a_pointer_is_the_address_of_the_buffer_that_it_has_at_the_launch():
    seen = []
    made = device([])
    made._cupy.cuda.driver.launchKernel = lambda *args: seen.append(
        (read(args[-2], 0, ctypes.c_int32), read(args[-2], 1, ctypes.c_uint64))
    )
    pointer = Pointer()
    kernel = types.SimpleNamespace(ptr=FUNCTION)
    launch = made.bind(kernel, (1, 1, 1), (1, 1, 1), (np.int32(5), pointer))
    for address in (2**40, 2**33, 2**40):
        pointer.buffer = Array(address)
        launch()
    assert seen == [(5, 2**40), (5, 2**33), (5, 2**40)]


def test_the_constants_of_a_kernel_come_before_its_sources_in_their_order():
    text = source_text(("common", "shares"), {"BIAS": 1, "ADD": 0})
    assert text.startswith("#define BIAS 1\n#define ADD 0\n")
    assert text.index("struct Progress") < text.index("finish_forward")
