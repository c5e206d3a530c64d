"""What a session owes besides right figures, and that sessions which are used again hide nothing."""

import collections
import copy
import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch")

import small
import torch
from faulty import FaultyAdapter, FaultySession

from dlbench.errors import ContractError, PlanRefused
from dlbench.verify.check import verify
from dlbench.verify.conformance import Backend, chosen_trials, judge
from dlbench.verify.sessions.reuse import Once, Reusing
from dlbench.verify.sessions.rules import RULES


class Sessions(FaultyAdapter):
    """Right, but for what `spoil` does to a session that was opened."""

    def __init__(self, spoil=lambda session: None):
        super().__init__()
        self.spoil = spoil

    def open(self, plan, workload, weights):
        session = super().open(plan, workload, weights)
        return self.spoil(session) or session


def trial(label):
    (found,) = chosen_trials(0, 0, [label])
    return found


def reason(adapter, label, cache_dir):
    verdict = judge(Backend(adapter), small.plan(), trial(label), cache_dir)
    return verdict.reason


def _as(change):
    """A session whose downloads are changed."""

    def spoil(session):
        download = session.download
        session.download = lambda result: change(download(result))

    return Sessions(spoil)


def _weights_as(change):
    def spoil(session):
        weights = session.weights
        session.weights = lambda: {name: change(value) for name, value in weights().items()}

    return Sessions(spoil)


def _live_download(session):
    store = {}

    def download(result):
        array = result.detach().numpy()
        kept = store.setdefault(array.shape, np.empty_like(array))
        kept[...] = array
        return kept

    session.download = download


def _live_weights(session):
    live, weights = {}, session.weights

    def give():
        for name, value in weights().items():
            live.setdefault(name, np.empty_like(value))[...] = value
        return dict(live)

    session.weights = give


@pytest.mark.parametrize(
    ("adapter", "said"),
    [
        (_as(lambda a: a.astype(np.float64)), "download() of what infer() gave is an array of float64"),
        (_as(lambda a: a.astype(np.float16)), "is an array of float16, should be one of float32"),
        (_as(torch.tensor), "download() of what infer() gave is an object of Tensor, should be a NumPy"),
        (_as(lambda a: a.tolist()), "download() of what infer() gave is a list, should be a NumPy"),
        (_as(lambda a: None), "download() of what infer() gave is None"),
        (_as(lambda a: a.ravel()), "download() of what infer() gave has shape (12,), should have (4, 3)"),
        (_as(lambda a: a if a.ndim else a[None]), "of what train_step() gave has shape (1,), should have ()"),
        (Sessions(_live_download), "download() gives live arrays: what infer() gave changed after"),
        (Sessions(_live_weights), "weights() gives live arrays: conv1.weight changed after it was given"),
        (_weights_as(lambda a: a.astype(np.float64)), "weights()['conv1.weight'] is an array of float64"),
        (_weights_as(torch.tensor), "weights()['conv1.weight'] is an object of Tensor"),
        (_weights_as(lambda a: a.ravel()), "weights()['conv1.weight'] has shape (72,), should have (4, 2, 3, 3)"),
    ],
)  # fmt: skip
def test_what_a_member_gives_is_held_against_the_contract(adapter, said, cache_dir):
    assert said in reason(adapter, "layer:conv2d", cache_dir)


def test_weights_that_are_no_dictionary_are_told(cache_dir):
    def spoil(session):
        session.weights = lambda: [1, 2]

    with pytest.raises(ContractError, match=r"weights\(\) gives a list, should give arrays by"):
        verify(Sessions(spoil), small.plan(), small.workload("convolution"), cache_dir)


class Keeps(FaultyAdapter):
    """Keeps the arrays that one of its members is given."""

    def __init__(self, member):
        super().__init__()
        self.member = member

    def open(self, plan, workload, weights):
        session = super().open(plan, workload, weights)
        load, member = session.load, self.member

        def keep(weights):
            session.arrays = {name: torch.from_numpy(value) for name, value in weights.items()}

        def load_and_keep(weights, *, keep_optimizer=False):
            load(weights, keep_optimizer=keep_optimizer)
            keep(weights)

        def upload(inputs, targets):
            kept = map(torch.from_numpy, (inputs, targets))
            x, y = (v if part == member else v.clone() for v, part in zip(kept, PARTS, strict=True))
            return x, y

        if member == "open":
            keep(weights)
        if member == "load":
            session.load = load_and_keep
        session.upload = upload
        return session


PARTS = ("inputs", "targets")


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ("open", "open() keeps the weights that it was given: overwritten afterwards"),
        ("load", "load() keeps the weights that it was given"),
        ("inputs", "upload() keeps the inputs that it was given"),
        ("targets", "upload() keeps the targets that it was given"),
        ("nothing", ""),
    ],
)
def test_arrays_that_are_kept_instead_of_copies_of_them_are_told(member, said, cache_dir):
    found = reason(Keeps(member), "session:copies of what it is given", cache_dir)
    assert found.startswith(said)
    assert bool(found) == bool(said)


class Shares(FaultyAdapter):
    """Sessions of a workload share what they should not."""

    def __init__(self, what):
        super().__init__()
        self.what, self.kept = what, {}

    def open(self, plan, workload, weights):
        key = workload.digest, plan.batch
        if self.what == "session":
            session = self.kept.setdefault(key, super().open(plan, workload, weights))
            session.load(weights)
            return session
        session = super().open(plan, workload, weights)
        if self.what == "optimizer":
            # a load that forgets has to forget the shared one
            session.__class__ = _SharedState
            session.shared = self.kept.setdefault(key, {})
        if self.what == "weights":
            first = self.kept.setdefault(key, session)
            if first is not session:
                first.arrays = session.arrays
        return session


class _SharedState(FaultySession):
    """Its optimizer's state is one for all."""

    @property
    def state(self):
        return self.shared

    @state.setter
    def state(self, value):
        if hasattr(self, "shared"):
            self.shared.clear()
            self.shared.update(value)


@pytest.mark.parametrize("what", ["session", "optimizer", "weights"])
def test_sessions_that_share_their_state_are_found_out(what, cache_dir):
    assert "second" in reason(Shares(what), "session:two side by side", cache_dir)


def test_a_result_that_does_not_last_is_found_out(cache_dir):
    def spoil(session):
        step, kept = session.train_step, torch.zeros(())

        def into_one(batch):
            kept.copy_(step(batch))
            return kept

        session.train_step = into_one

    found = reason(Sessions(spoil), "session:results that last", cache_dir)
    assert found.startswith("loss, step 1, downloaded after later steps is ")


@pytest.mark.parametrize("name", RULES)
def test_a_right_session_keeps_every_rule(name, cache_dir):
    verdict = judge(Backend(FaultyAdapter()), small.plan(), trial(f"session:{name}"), cache_dir)
    assert "" == verdict.reason
    assert verdict.checks


class Counting(FaultyAdapter):
    def __init__(self, fault=None):
        super().__init__(fault)
        self.opened = collections.Counter()

    def open(self, plan, workload, weights):
        self.opened[plan, workload.digest] += 1
        return super().open(plan, workload, weights)


def test_trials_of_one_process_open_a_session_of_a_network_and_batch_once(cache_dir):
    adapter = Counting()
    backend = Backend(adapter)
    words = ["layer:relu", "layer:leaky_relu", "loss", "optimizer:sgd with*"]
    tried = chosen_trials(0, 0, words)
    for each in tried:
        assert "" == judge(backend, small.plan(), each, cache_dir).reason
    assert {1} == set(adapter.opened.values())
    alone = Counting()
    for each in tried:
        assert "" == judge(Backend(alone), small.plan(), each, cache_dir).reason
    assert sum(alone.opened.values()) > sum(adapter.opened.values())


def test_a_probe_is_made_once_and_fails_every_trial_that_it_is_for(cache_dir):
    once, steps = Once(), []

    class Clipped(FaultyAdapter):
        def open(self, plan, workload, weights):
            session = super().open(plan, workload, weights)
            step = session.train_step
            session.train_step = lambda batch: steps.append(0) or step(batch)
            return session

    adapter = Clipped("relu clipped at six")
    for name in ("layer:relu", "layer:concat"):
        of = trial(name).workload
        plan = dataclasses.replace(small.plan(), batch=4)
        outcome = verify(adapter, plan, of, cache_dir, once=once)
        assert "large values through relu" in outcome.reason
    taken = len(steps)
    verify(adapter, plan, trial("layer:relu").workload, cache_dir, once=once)
    again = len(steps) - taken
    steps.clear()
    verify(adapter, plan, trial("layer:relu").workload, cache_dir)
    assert again < len(steps)


class OnlyWhenOpened(FaultyAdapter):
    """Goes wrong in a session that was opened, until it loads weights."""

    def __init__(self, what):
        super().__init__()
        self.what = what

    def open(self, plan, workload, weights):
        session = super().open(plan, workload, weights)
        if self.what == "weights":
            session.arrays = {name: value + 0.01 for name, value in session.arrays.items()}
        if self.what == "state":
            session.state = {("velocity", p.name): torch.ones(p.shape) for p in session.trained}
        return session


@pytest.mark.parametrize("what", ["weights", "state"])
def test_what_open_puts_wrongly_is_found_though_every_session_can_be_loaded(what, cache_dir):
    assert reason(OnlyWhenOpened(what), "optimizer:sgd with momentum", cache_dir)


def test_what_load_leaves_over_is_found_in_a_session_that_is_used_again(cache_dir):
    class LeavesOver(FaultyAdapter):
        """The first loads of a session work, no later one forgets the optimizer's state."""

        def open(self, plan, workload, weights):
            session = super().open(plan, workload, weights)
            load, loads = session.load, []

            def keeping(weights, *, keep_optimizer=False):
                loads.append(0)
                load(weights, keep_optimizer=keep_optimizer or len(loads) > 10)

            session.load = keeping
            return session

    plan = dataclasses.replace(small.plan(), batch=4)
    of = trial("optimizer:sgd with momentum").workload
    # no session that is used for the five steps alone loads more often
    assert "" == verify(LeavesOver(), plan, of, cache_dir).reason
    assert (
        "after the step, timed batch" in verify(Reusing(LeavesOver()), plan, of, cache_dir).reason
    )


def test_sessions_that_went_wrong_are_given_up(cache_dir):
    adapter = Counting("dilation ignored")
    backend = Backend(adapter)
    plan = small.plan()
    assert judge(backend, plan, trial("layer:conv2d with dilation"), cache_dir).reason
    opened = sum(adapter.opened.values())
    judge(backend, plan, trial("layer:conv2d"), cache_dir)
    assert sum(adapter.opened.values()) > opened


def test_only_so_many_sessions_are_kept(cache_dir):
    adapter = Counting()
    reusing = Reusing(adapter, keep=1)
    one, other = small.workload("Adam"), small.workload("AdamW")
    weights = {p.name: np.zeros(p.shape, np.float32) for p in one.parameters}
    for workload in (one, one, other, one):
        reusing.open(small.plan(), workload, copy.deepcopy(weights))
    assert 3 == sum(adapter.opened.values())


def test_a_plan_that_only_infers_is_verified_by_outputs_though_training_is_wrong(cache_dir):
    class CannotTrain(FaultyAdapter):
        def open(self, plan, workload, weights):
            if plan.scenario == "train":
                raise PlanRefused("no training here")
            session = super().open(plan, workload, weights)
            session.train_step = session.load = session.weights = None
            return session

    plan = dataclasses.replace(small.plan(), scenario="infer")
    for name in ("convolution", "norm", "dropout", "max pool"):
        outcome = verify(CannotTrain(), plan, small.workload(name), cache_dir)
        assert "" == outcome.reason
        names = [check.name for check in outcome.checks]
        assert all("logits" in name or name.startswith("arithmetic") for name in names)
    with pytest.raises(PlanRefused):
        verify(CannotTrain(), small.plan(), small.workload("norm"), cache_dir)


def test_a_sentence_of_a_check_says_one_thing_only(cache_dir):
    found = verify(
        FaultyAdapter("running statistics are left out of weights"),
        small.plan(),
        small.workload("norm"),
        cache_dir,
    ).reason
    assert "norm1.running_mean is missing from the session's weights, step 1" in found
    assert "should be" not in found.partition(";")[2]
    assert "?" not in found
