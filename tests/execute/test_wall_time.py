"""Where the wall time went, and how long the rest takes."""

import pytest

from dlbench.execute.scheduler import Turn, _took_s
from dlbench.execute.stages.timing import _Outlook
from dlbench.execute.wall_time import Account


def test_what_went_on_side_by_side_counts_as_the_time_that_passed():
    account = Account()
    account.add_seconds("verify", 5.0)
    with account.overlapping():
        account.add_seconds("import", 3000.0)
        account.add_seconds("verify", 1000.0)
    parts = account.parts(1e6)
    # next to no time has passed, and it is shared out as it was spent
    assert parts["import"] < 1000.0
    assert parts["import"] == pytest.approx(3 * (parts["verify"] - 5.0), abs=0.01)


def test_what_did_not_overlap_counts_in_full():
    account = Account()
    with account.overlapping():
        account.add_seconds("import", 0.0)
    assert account.parts(1e6)["import"] == 0.0


def test_the_rounds_that_are_left_take_as_long_as_those_of_their_batch_size(make):
    small, large = make.case(batch=8), make.case(batch=64)
    outlook = _Outlook({8: (1, 2, 3), 64: (1, 2, 3)})
    # of the other batch size nothing is known yet
    assert outlook.after(Turn((small,), 1, 0), 2.0) == pytest.approx(2 * 2.0 + 3 * 2.0)
    assert outlook.after(Turn((large,), 1, 0), 10.0) == pytest.approx(2 * 2.0 + 2 * 10.0)
    assert outlook.after(Turn((large,), 2, 0), 20.0) == pytest.approx(2 * 2.0 + 15.0)
    # measured again
    assert outlook.after(Turn((large,), 2, 1), 15.0) == pytest.approx(2 * 2.0 + 15.0)
    # of a part of the run, with rounds 2 and 3 of 64 alone
    assert _Outlook({64: (2, 3)}).after(Turn((large,), 2, 0), 5.0) == pytest.approx(5.0)
    # more rounds than were planned
    assert outlook.after(Turn((large,), 4, 0), 15.0) == pytest.approx(2 * 2.0)


def test_the_start_of_a_process_counts_once_of_all_its_scenarios(make):
    seconds = {"interpreter": 1.0, "import": 4.0, "open": 2.0, "measure": 3.0}
    first, second = (
        make.turns(make.case(), 1, [0.01], seconds=seconds, scenarios_before=before)
        for before in (0, 1)
    )
    assert (_took_s(first), _took_s(second)) == (10.0, 3.0)
