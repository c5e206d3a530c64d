"""The sampling thread: what it reads, when, and that nothing a probe does can harm a run."""

import threading
import time

from dlbench.record.schema import Trace
from dlbench.telemetry import sampler as module
from dlbench.telemetry.log import Log, Probe, Refused, clock_ns
from dlbench.telemetry.sampler import Sampler

PERIOD_NS = 5_000_000


def reading(metric, **options):
    """A probe that counts how often it was read."""
    count = 0

    def read(log):
        nonlocal count
        count += 1
        log.add(metric, clock_ns(), count)

    return Probe((metric,), read, **options)


def refusing(metric, refusal, after=0):
    count = 0

    def read(log):
        nonlocal count
        count += 1
        if count > after:
            raise refusal
        log.add(metric, clock_ns(), count)

    return Probe((metric,), read)


def passing():
    """A probe of its own, and a wait until it was read ten times."""
    passes, enough = iter(range(10)), threading.Event()
    probe = Probe(("passes",), lambda log: next(passes, None) is None and enough.set())
    return probe, lambda: enough.wait(60)


def sampled(*probes):
    last, passed = passing()
    sampler = Sampler(lambda: [*probes, last], PERIOD_NS)
    sampler.start()
    assert passed()
    sampler.stop()
    assert sampler.join()
    return sampler


def test_every_probe_is_read_until_the_end_and_once_more_after_it_was_asked_to_stop():
    last, passed = passing()
    probes = [reading("often"), reading("seldom", every_ns=10**12), last]
    sampler = Sampler(lambda: probes, PERIOD_NS)
    sampler.start()
    assert passed()
    stopped_ns = clock_ns()
    sampler.stop()
    assert sampler.join()
    often, seldom = (sampler.log.traces()[name] for name in ("often", "seldom"))
    assert (1, 2) == seldom.values
    assert len(often.values) > 2
    for trace in (often, seldom):
        assert list(trace.t_ns) == sorted(trace.t_ns)
        assert sampler.started_ns <= trace.t_ns[0]
        assert stopped_ns <= trace.t_ns[-1] <= sampler.ended_ns


def test_what_is_refused_for_good_is_not_asked_again_and_takes_nothing_with_it():
    closed = []
    bad = refusing("bad", Refused("not here"), after=2)
    bad.close = lambda: closed.append("bad")
    sampler = sampled(bad, reading("good"))
    assert {"bad": "not here"} == sampler.log.unavailable
    assert (1, 2) == sampler.log.traces()["bad"].values
    assert len(sampler.log.traces()["good"].values) > 3
    assert ["bad"] == closed


def test_what_is_refused_for_now_is_asked_again():
    calls = 0

    def read(log):
        nonlocal calls
        calls += 1
        if calls % 2:
            raise Refused("busy", for_good=False)
        log.add("flaky", clock_ns(), calls)

    log = Log()
    turn = module._Turn(Probe(("flaky",), read))
    for _ in range(10):
        turn.take(log, clock_ns())
    assert (2, 4, 6, 8, 10) == log.traces()["flaky"].values
    turn.end(log)
    assert {} == log.unavailable


def test_what_is_refused_again_and_again_is_given_up():
    sampler = sampled(refusing("bad", Refused("busy", for_good=False)), reading("good"))
    assert {"bad": "busy"} == sampler.log.unavailable


def test_a_probe_that_raises_what_nobody_foresaw_is_lost_alone():
    sampler = sampled(refusing("bad", ZeroDivisionError("by zero")), reading("good"))
    assert {"bad": "ZeroDivisionError: by zero"} == sampler.log.unavailable
    assert len(sampler.log.traces()["good"].values) > 3


def test_nothing_to_connect_to_is_a_reason():
    def connect():
        raise Refused("no driver")

    sampler = Sampler(connect, PERIOD_NS)
    sampler.start()
    assert sampler.join()
    assert ("no driver", None) == (sampler.refusal, sampler.started_ns)


def test_a_connection_that_raises_what_nobody_foresaw_is_a_reason_too():
    def connect():
        raise AttributeError("module 'pynvml' has no attribute 'nvmlMemory_v2'")

    sampler = Sampler(connect, PERIOD_NS)
    sampler.start()
    assert sampler.join()
    assert sampler.refusal.startswith("AttributeError: module 'pynvml' has no attribute")


def test_a_driver_that_never_answers_is_left_behind_with_its_reason(monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE_S", 0.1)
    asked, never = threading.Event(), threading.Event()
    hanging = Probe(("hangs",), lambda log: asked.set() or (never.wait() and None))
    sampler = Sampler(lambda: [reading("good"), hanging], PERIOD_NS)
    sampler.start()
    assert asked.wait(60)
    sampler.stop()
    assert not sampler.join()
    assert "did not answer" in sampler.log.unavailable["hangs"]
    assert 1 == len(sampler.log.traces()["good"].values)
    never.set()


def test_values_that_are_no_numbers_are_no_points():
    log = Log()
    log.add("metric", 1, float("nan"))
    log.add("metric", 2, float("inf"))
    log.add("metric", 3, 4.0)
    assert (3,) == log.traces()["metric"].t_ns


def reached(sampler, metric, count):
    """Waits until a metric was read so often, and gives its times."""
    deadline_s = time.monotonic() + 60
    while True:
        trace = sampler.log.traces().get(metric, Trace((), ()))
        if len(trace.t_ns) >= count:
            return trace.t_ns
        assert time.monotonic() < deadline_s
        time.sleep(1e-3)


def test_a_turn_begins_and_ends_with_a_reading_of_everything_and_between_turns_nothing_is_read():
    probes = [reading("often"), reading("seldom", every_ns=10**12)]
    sampler = Sampler(lambda: probes, PERIOD_NS)
    sampler.start()
    reached(sampler, "often", 3)
    rested_ns = clock_ns()
    sampler.rest()
    before = reached(sampler, "seldom", 2)
    for _ in range(3):
        quiet = len(sampler.log.traces()["often"].t_ns)
        time.sleep(0.1)
        assert quiet == len(sampler.log.traces()["often"].t_ns)
        woken_ns = clock_ns()
        sampler.wake()
        # at once, and twice soon after
        begun = reached(sampler, "seldom", len(before) + 3)
        assert begun[len(before) - 1] < woken_ns <= begun[len(before)]
        reached(sampler, "often", quiet + 5)
        asked_ns = clock_ns()
        sampler.rest()
        before = reached(sampler, "seldom", len(begun) + 1)
        assert asked_ns <= before[-1]
    assert rested_ns <= reached(sampler, "seldom", 2)[1]
    sampler.stop()
    assert sampler.join()
    # it had been read at the end of the last turn
    assert before == sampler.log.traces()["seldom"].t_ns
    assert {} == sampler.log.unavailable


def test_one_that_is_stopped_before_it_has_come_to_rest_has_its_last_reading():
    sampler = Sampler(lambda: [reading("seldom", every_ns=10**12)], PERIOD_NS)
    sampler.start()
    reached(sampler, "seldom", 1)
    sampler.rest()
    sampler.stop()
    assert sampler.join()
    assert (1, 2) == sampler.log.traces()["seldom"].values


def test_resting_twice_reads_once_and_a_sampler_that_has_ended_can_be_asked_for_anything():
    sampler = Sampler(lambda: [reading("seldom", every_ns=10**12)], PERIOD_NS)
    sampler.start()
    reached(sampler, "seldom", 1)
    sampler.rest()
    reached(sampler, "seldom", 2)
    sampler.rest()
    sampler.stop()
    assert sampler.join()
    sampler.wake()
    sampler.rest()
    assert (1, 2) == sampler.log.traces()["seldom"].values
