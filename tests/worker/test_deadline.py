"""When a worker is killed, by a clock that is turned by hand."""

import os

from dlbench.worker.deadline import MOST_PHASES, Deadline, processor_s


class Worker:
    """A clock, and processor time at a rate."""

    def __init__(self, cores=0.0, limit_s=100.0, phase_s=1000.0):
        self.now = 0.0
        self.cores = cores
        self.deadline = Deadline(limit_s, phase_s, self.used_s, lambda: self.now)
        self.deadline.progress("verify")

    def used_s(self):
        return None if self.cores is None else self.cores * self.now

    def runs_until(self, end_s, says=None, every_s=20.0):
        """What `expired` tells first, asked whenever it has to be; "" when nothing until `end_s`."""
        says_at = self.now + every_s
        while self.now < end_s:
            self.now += max(1e-6, min(self.deadline.wait_s(), says_at - self.now))
            if says and self.now >= says_at:
                self.deadline.progress(next(says) if hasattr(says, "__next__") else says)
                says_at = self.now + every_s
            elif not says:
                says_at = self.now + every_s
            if reason := self.deadline.expired():
                return reason
        return ""


def test_what_says_nothing_and_computes_nothing_is_killed_after_the_limit():
    for cores in (0.0, 0.01, None):
        worker = Worker(cores)
        assert "no progress for 100 s in phase verify" == worker.runs_until(5000)
        assert 100 <= worker.now < 101


def test_a_step_of_minutes_that_computes_is_not_killed_before_its_phase_has_taken_too_long():
    worker = Worker(cores=1.0)
    assert "" == worker.runs_until(900)
    assert "phase verify took more than 1000 s" == worker.runs_until(5000)


def test_what_stops_computing_is_killed_although_it_has_computed():
    worker = Worker(cores=1.0)
    assert "" == worker.runs_until(350)
    used_s = worker.used_s()
    worker.used_s = lambda: used_s
    worker.deadline._used_s = worker.used_s
    assert "no progress for 100 s in phase verify" == worker.runs_until(5000)
    assert worker.now < 600


def test_heartbeats_keep_a_worker_alive_but_not_for_ever():
    worker = Worker()
    assert "" == worker.runs_until(900, says="verify (gradients)")
    assert "phase verify took more than 1000 s" == worker.runs_until(5000, says="verify (probes)")


def test_going_to_and_fro_between_phases_does_not_begin_them_anew():
    def turns():
        while True:
            yield from ("sampled", "alone")

    worker = Worker()
    assert "took more than 1000 s" in worker.runs_until(9000, says=turns())
    assert worker.now < 2200


def test_ever_new_phases_come_to_an_end():
    worker = Worker()
    assert f"more than {MOST_PHASES} phases" in worker.runs_until(
        99_999, says=(f"phase {n}" for n in range(10**6))
    )


def test_each_phase_has_the_time_of_a_phase():
    worker = Worker()
    assert "" == worker.runs_until(900, says="verify")
    worker.deadline.progress("measure")
    assert "" == worker.runs_until(1800, says="measure")


def test_the_processor_time_of_a_process_is_told_and_of_none_it_is_unknown():
    assert processor_s(os.getpid()) > 0
    assert processor_s(2**22 + 1) is None
