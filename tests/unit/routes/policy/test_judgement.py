"""Whether a next hop may be used: votes, delays, damping, and what decides nothing."""

from __future__ import annotations

import pytest

from twoway.config.route_plan import DampingPlan
from twoway.routes.policy.judgement import Judgement, combined

from ..made import BAD, GOOD, NONE, A, B, C, S, at, track


def hear(judgement: Judgement, seconds: float, *votes: bool | None) -> bool:
    """All tests vote, and what comes of it is looked at."""
    said = {True: GOOD.reason, False: BAD.reason, None: NONE.reason}
    for number, good in enumerate(votes):
        judgement.hear(number, good, said[good], at(seconds))
    return judgement.advance(at(seconds))


@pytest.mark.parametrize(
    ("votes", "require", "outcome"),
    [
        ((True, True), 2, True),
        ((True, False), 2, False),
        ((True, None), 2, None),
        ((False, None), 2, False),
        ((True, None), 1, True),
        ((False, None), 1, None),
        ((False, False), 1, False),
        ((True, True, False), 2, True),
        ((True, False, None), 2, None),
        ((True, False, False), 2, False),
        ((None, None, None), 1, None),
    ],
)
def test_votes_are_counted(votes: tuple[bool | None, ...], require: int, outcome: bool | None) -> None:
    assert combined(votes, require) is outcome


def test_nothing_is_known_before_the_first_result() -> None:
    judgement = Judgement(track(A))
    assert (judgement.usable, judgement.word, judgement.due_ns()) == (None, "unknown", None)


def test_without_delays_each_result_counts_at_once() -> None:
    judgement = Judgement(track(A))
    assert hear(judgement, 1, True)
    assert judgement.usable is True
    assert hear(judgement, 2, False)
    assert (judgement.usable, judgement.flaps, judgement.reason) == (False, 1, "isp-a/edge: failed")
    assert not hear(judgement, 3, False)
    assert hear(judgement, 4, True)
    assert judgement.usable is True


def test_the_first_good_result_needs_no_delay() -> None:
    judgement = Judgement(track(A, up_delay_ns=10 * S))
    assert hear(judgement, 1, True)
    assert judgement.usable is True


def test_delays_run_apart_for_up_and_down() -> None:
    judgement = Judgement(track(A, up_delay_ns=10 * S, down_delay_ns=2 * S))
    hear(judgement, 0, True)
    assert not hear(judgement, 1, False)
    assert judgement.due_ns() == 3 * S
    assert not judgement.advance(at(2.999))
    assert judgement.advance(at(3))
    assert judgement.reason == "isp-a/edge: failed (for 2s)"
    assert not hear(judgement, 4, True)
    assert judgement.turning == (True, 14 * S)
    assert judgement.advance(at(14))


def test_a_break_begins_a_delay_anew() -> None:
    judgement = Judgement(track(A, down_delay_ns=5 * S))
    hear(judgement, 0, True)
    hear(judgement, 1, False)
    hear(judgement, 4, True)
    hear(judgement, 5, False)
    assert not judgement.advance(at(9.9))
    assert judgement.advance(at(10))


def test_a_neutral_vote_breaks_a_delay_and_changes_nothing() -> None:
    judgement = Judgement(track(A, down_delay_ns=5 * S))
    hear(judgement, 0, True)
    hear(judgement, 1, False)
    assert not hear(judgement, 2, None)  # cancelled, or disturbed by this host
    assert judgement.due_ns() is None
    assert not judgement.advance(at(100))
    assert judgement.usable is True
    hear(judgement, 101, False)
    assert not judgement.advance(at(105.9))
    assert judgement.advance(at(106))


def test_a_neutral_vote_leaves_the_state_for_good() -> None:
    judgement = Judgement(track(A))
    hear(judgement, 0, False)
    hear(judgement, 1, None)
    assert judgement.usable is False


def test_what_the_other_tests_decide_does_not_wait_for_a_neutral_one() -> None:
    judgement = Judgement(track(A, B, C, require=2))
    hear(judgement, 0, True, True, True)
    assert hear(judgement, 1, False, None, False)
    assert judgement.usable is False
    assert judgement.reason == "0 of 3 tests good, 2 needed: isp-a/edge: failed; isp-c/edge: failed"


def test_a_backup_is_used_while_its_tests_are_bad() -> None:
    judgement = Judgement(track(A, inverted=True))
    hear(judgement, 0, True)
    assert judgement.usable is False
    hear(judgement, 1, False)
    assert judgement.usable is True
    hear(judgement, 2, None)
    assert judgement.usable is True


def test_a_flapping_one_is_suppressed_and_used_again_when_it_is_forgiven() -> None:
    judgement = Judgement(track(A, damping=DampingPlan(60 * S, 750, 2500, 600 * S)))
    for second in range(0, 6, 2):
        hear(judgement, second, True)
        hear(judgement, second + 1, False)
    assert "suppressed for flapping, penalty" in judgement.reason
    assert hear(judgement, 6, True)
    assert (judgement.word, judgement.usable, judgement.flaps) == ("suppressed", False, 3)
    due_ns = judgement.due_ns()
    assert due_ns is not None
    assert 100 * S < due_ns < 130 * S
    assert judgement.advance(at(due_ns / S))
    assert (judgement.word, judgement.reason) == ("up", "its penalty is forgiven")


def test_one_that_is_forgiven_while_it_is_down_stays_down() -> None:
    judgement = Judgement(track(A, damping=DampingPlan(60 * S, 750, 900, 600 * S)))
    hear(judgement, 0, True)
    hear(judgement, 1, False)
    assert judgement.word == "down"
    assert not judgement.advance(at(1000))
    assert judgement.word == "down"


def test_a_new_plan_goes_on_where_the_old_one_stood() -> None:
    old = Judgement(track(A, B, down_delay_ns=10 * S))
    hear(old, 0, True, True)
    hear(old, 1, False, True)
    new = Judgement(track(A, B, down_delay_ns=4 * S))
    new.inherit(old, at(2))
    assert new.usable is True
    assert new.due_ns() == 5 * S  # the delay has been running since second 1
    assert new.advance(at(5))
    assert new.flaps == 1


def test_under_another_criterion_the_state_stays_and_votes_begin_anew() -> None:
    from dataclasses import replace

    from ..made import LOSS

    old = Judgement(track(A))
    hear(old, 0, False)
    new = Judgement(replace(track(A), window=LOSS))
    new.inherit(old, at(1))
    assert (new.usable, new.votes[0].good) == (False, None)
