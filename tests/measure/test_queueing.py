"""Queries by a schedule, held against what queueing theory says, by a clock that moves with the answers and not
otherwise."""

import itertools
import math
import time

import numpy as np
import pytest
from scipy.stats import kstest

from dlbench.measure.empty_session import EmptySession
from dlbench.measure.queueing import arrivals_ns, gaps, serve, wait_until
from dlbench.measure.rate_search import TRIALS, allowed_late
from dlbench.measure.served_queries import Draw, ServedQueries
from dlbench.spec.scenarios import Load, least_queries, percentile

MS = 1_000_000
DRAW = Draw(seed=5, round=1)


class Virtual:
    """A clock, a wait that moves it on, and answers that take a known time."""

    def __init__(self, services_ns):
        self.now_ns = 17
        self._services_ns = itertools.cycle(services_ns)

    def clock(self):
        return self.now_ns

    def wait(self, moment_ns):
        assert moment_ns > self.now_ns
        self.now_ns = moment_ns

    def answer(self):
        self.now_ns += next(self._services_ns)

    def serve(self, due_ns, **options):
        return serve(due_ns, self.answer, clock=self.clock, wait=self.wait, **options)


def pollaczek_khinchine_ns(rate_per_s, lengths_ns):
    """The mean time from arrival to answer with Poisson arrivals and one server: E[S] + λ E[S²] / 2(1 − ρ)."""
    per_ns = rate_per_s * 1e-9
    mean, square = np.mean(lengths_ns), np.mean(np.square(np.float64(lengths_ns)))
    return mean + per_ns * square / (2 * (1 - per_ns * mean))


def means_ns(rate_per_s, lengths_ns):
    """Of many schedules, the mean latency, from when a query was due and from when it was begun with, each with its
    standard error. The first queries do not count: they find the queue empty."""
    found = []
    for seed in range(40):
        due_ns = arrivals_ns(gaps(3_000, seed, 0), rate_per_s)
        services_ns = np.random.default_rng(seed).choice(lengths_ns, len(due_ns)).tolist()
        served = Virtual(services_ns).serve(due_ns)
        latencies_ns = np.array(served.latencies_ns)[500:]
        found.append((latencies_ns.mean(), (latencies_ns - served.waited_ns[500:]).mean()))
    errors = np.std(found, axis=0, ddof=1) / math.sqrt(len(found))
    return zip(np.mean(found, axis=0), errors, strict=True)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("lengths_ns", [[2 * MS], [MS, 5 * MS]], ids=["one length", "two lengths"])
def test_the_mean_latency_is_what_queueing_theory_says(load, lengths_ns):
    rate_per_s = load * 1e9 / np.mean(lengths_ns)
    theory_ns = pollaczek_khinchine_ns(rate_per_s, lengths_ns)
    (mean_ns, error_ns), (begun_ns, _) = means_ns(rate_per_s, lengths_ns)
    # what the number of queries allows: four standard errors over schedules, which are small enough to tell
    assert abs(mean_ns - theory_ns) < 4 * error_ns < 0.12 * theory_ns
    # counted from when the session begins with it, it would be found out
    assert abs(begun_ns - theory_ns) > 4 * error_ns


def test_each_query_waits_for_those_before_it():
    """Lindley's recursion, to the nanosecond."""
    services_ns = [3 * MS, MS, 5 * MS]
    due_ns = arrivals_ns(gaps(500, 3, 1), 300)
    served = Virtual(services_ns).serve(due_ns)
    free_ns = 0
    for due, latency, waited, service in zip(
        due_ns,
        served.latencies_ns,
        served.waited_ns,
        itertools.islice(itertools.cycle(services_ns), len(due_ns)),
        strict=True,
    ):
        assert waited == max(0, free_ns - due)
        assert latency == waited + service
        free_ns = due + latency
    assert served.ended_ns - served.started_ns == free_ns
    assert served.unserved == 0


def test_who_is_late_once_is_late_for_all_that_came_meanwhile():
    served = Virtual([100 * MS] + [MS] * 9).serve([10 * MS * n for n in range(10)])
    assert [100 * MS, 91 * MS, 82 * MS] == list(served.latencies_ns[:3])
    assert [0, 90 * MS, 81 * MS] == list(served.waited_ns[:3])


def test_what_is_given_up_is_counted():
    due_ns = [n * MS for n in range(10)]
    served = Virtual([5 * MS]).serve(due_ns, go_on=lambda passed, latency: passed < 20 * MS)
    assert (4, 6) == (len(served.latencies_ns), served.unserved)


def test_arrivals_are_a_poisson_process_of_the_rate_asked_for():
    drawn = gaps(20_000, 1, 2)
    assert kstest(drawn, "expon").pvalue > 0.01
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 4 / math.sqrt(len(drawn))
    due_ns = arrivals_ns(drawn, 250.0)
    assert due_ns == sorted(due_ns)
    assert len(due_ns) / (due_ns[-1] * 1e-9) == pytest.approx(250, rel=4 / math.sqrt(20_000))


def test_arrivals_are_those_of_the_seed_and_the_round_and_longer_at_a_lower_rate():
    assert gaps(50, 1, 2).tolist() == gaps(90, 1, 2).tolist()[:50]
    assert gaps(50, 1, 2).tolist() != gaps(50, 1, 3).tolist()
    assert gaps(50, 1, 2).tolist() != gaps(50, 2, 2).tolist()
    fast, slow = (np.array(arrivals_ns(gaps(50, 1, 2), rate)) for rate in (400, 100))
    assert np.abs(slow - 4 * fast).max() <= 4


def test_a_wait_is_over_when_its_moment_has_come_and_not_before():
    for far_ns in (-MS, 0, 50_000, 3 * MS):
        moment_ns = time.perf_counter_ns() + far_ns
        wait_until(moment_ns)
        assert time.perf_counter_ns() >= moment_ns


class Timed(EmptySession):
    """Moves its own clock by the length of each step."""

    def __init__(self, step_ns):
        self.now_ns, self.step_ns = 0, step_ns

    def infer(self, batch):
        self.now_ns += self.step_ns


def served_by(step_ns, load, seconds, draw=DRAW):
    session = Timed(step_ns)

    class Waiting(ServedQueries):
        def wait(self, moment_ns):
            session.now_ns = moment_ns

    queries = Waiting(session, [None] * 8, "infer", {}, clock=lambda: session.now_ns)
    queries.warm_up(0.1)
    found = queries.serve(load, seconds, draw)
    return found, queries.finish()


def test_a_rate_is_kept_for_the_time_there_is():
    found, times = served_by(2 * MS, Load(rate_per_s=200.0), 5.0)
    assert 1_000 == len(found.served.latencies_ns)
    assert found.served.latencies_ns == times.timings_ns
    assert found.trials == ()
    assert (times.blocks[0].ended_ns - times.blocks[0].started_ns) * 1e-9 == pytest.approx(
        5, rel=0.1
    )


def test_a_rate_beyond_what_it_can_do_is_given_up_and_says_how_many_were_left():
    found, _ = served_by(20 * MS, Load(rate_per_s=1_000.0), 1.0)
    assert 1_000 == len(found.served.latencies_ns) + found.served.unserved
    assert found.served.unserved > 800
    assert found.served.ended_ns - found.served.started_ns < 3.2e9


@pytest.mark.parametrize(("percent", "bound_ms"), [(90, 3), (99, 5), (99, 12)])
def test_the_largest_rate_is_that_of_a_search_of_all_rates(percent, bound_ms):
    seconds, step_ns = 70.0, 2 * MS
    found, _ = served_by(step_ns, Load(bound_s=bound_ms * 1e-3, percent=percent), seconds)
    assert TRIALS == len(found.trials)
    each_s, most_per_s = seconds / TRIALS, 1e9 / step_ns

    def late_ns(rate_per_s):
        due_ns = arrivals_ns(gaps(int(rate_per_s * each_s), *DRAW), rate_per_s)
        return percentile(sorted(Virtual([step_ns]).serve(due_ns).latencies_ns), percent)

    grid = [most_per_s * n / 256 for n in range(40, 256)]
    within = max(rate for rate in grid if late_ns(rate) <= bound_ms * MS)
    assert found.rate_per_s == pytest.approx(within, abs=2 * most_per_s / 2**TRIALS)
    assert found.rate_per_s == max(each.rate_per_s for each in found.trials if each.within)
    for each in found.trials:
        assert each.within == (
            each.percentile_ns is not None and each.percentile_ns <= bound_ms * MS
        )


def test_no_rate_is_within_a_bound_that_a_single_query_exceeds():
    found, _ = served_by(4 * MS, Load(bound_s=3e-3, percent=90), 30.0)
    assert TRIALS == len(found.trials)
    assert not any(each.within for each in found.trials)
    assert found.rate_per_s == min(each.rate_per_s for each in found.trials)


def test_a_search_with_too_few_queries_judges_nothing():
    found, times = served_by(10 * MS, Load(bound_s=1.0, percent=99), 3.0)
    (tried,) = found.trials
    assert not tried.within
    assert tried.percentile_ns is None
    assert tried.queries < least_queries(99)
    assert times.timings_ns


@pytest.mark.parametrize("percent", [50, 90, 99])
@pytest.mark.parametrize("count", [7, 100, 368, 1_001])
def test_as_many_may_be_late_as_leave_the_percentile_within(count, percent):
    late = allowed_late(count, percent)
    for beyond in (0, 1):
        latencies = [1] * (count - late - beyond) + [9] * (late + beyond)
        assert (percentile(latencies, percent) == 9) == bool(beyond)
