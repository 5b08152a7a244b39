"""What limits come to: a vote, and its reason with both numbers."""

from __future__ import annotations

from twoway.config.route_plan import LimitPlan, WindowPlan
from twoway.routes.policy.windows import Finding, vote_of

from ..made import S

WINDOW = WindowPlan(
    10 * S, (LimitPlan("loss_ratio", 0.1, 0.05), LimitPlan("round_trip", 80e6, 80e6), LimitPlan("lost", 5, 5))
)


def test_one_limit_that_is_met_makes_it_bad() -> None:
    vote = vote_of(WINDOW, [Finding(good=False, value=0.3456), Finding(good=True, value=20e6), Finding(None, None)])
    assert vote.good is False
    assert vote.reason == "loss 34.56% over 10s, limit 10%"


def test_all_that_are_met_are_named() -> None:
    vote = vote_of(
        WINDOW, [Finding(good=False, value=0.2), Finding(good=False, value=90.25e6), Finding(good=True, value=1)]
    )
    assert vote.reason == "loss 20% over 10s, limit 10%, round trip mean 90.25 ms over 10s, limit 80 ms"


def test_what_is_not_known_leaves_it_open() -> None:
    vote = vote_of(WINDOW, [Finding(None, None)] * 3)
    assert vote.good is None
    assert vote.reason == "less than 10s of measurement to judge by"
    vote = vote_of(WINDOW, [Finding(good=True, value=0.0), Finding(None, None), Finding(good=True, value=0)])
    assert vote.good is None
    assert vote.reason == "round trip not known over 10s"
    told = WindowPlan(10 * S, (LimitPlan("remarked_forward", 5, 5),))
    assert vote_of(told, [Finding(None, None)]).reason == "less than 10s of measurement to judge by, or no reply tells"


def test_it_is_good_if_all_are() -> None:
    vote = vote_of(WINDOW, [Finding(good=True, value=0.01), Finding(good=True, value=2e6), Finding(good=True, value=1)])
    assert vote.good is True
    assert vote.reason.startswith("loss 1% over 10s, limit 10%, round trip mean 2 ms")


def test_what_is_below_its_limit_and_not_yet_good_says_what_would_be() -> None:
    vote = vote_of(
        WINDOW, [Finding(good=False, value=0.07), Finding(good=True, value=2e6), Finding(good=True, value=1)]
    )
    assert vote.reason == "loss 7% over 10s, good again below 5%"
