"""Which next hops are used: preferences, no-preempt, initial states, holds, and the reasons given."""

from __future__ import annotations

import pytest

from twoway.routes.policy.election import TrackedRoute, elected
from twoway.routes.policy.judgement import Judgement

from ..made import BAD, GOOD, A, B, C, at, hop, route, track

HOPS = (hop("192.0.2.1", track(A)), hop("192.0.2.2", track(B)), hop("192.0.2.3", track(C), preference=2))


@pytest.mark.parametrize(
    ("usable", "in_use", "no_preempt", "wanted"),
    [
        ((1, 1, 1), (), False, {0, 1}),
        ((0, 1, 1), (0, 1), False, {1}),
        ((0, 0, 1), (1,), False, {2}),
        ((0, 0, 0), (2,), False, set()),
        ((1, 0, 1), (2,), False, {0}),
        ((1, 0, 1), (2,), True, {2}),
        ((1, 1, 0), (2,), True, {0, 1}),
        ((1, 1, 0), (0,), True, {0}),
        ((0, 1, 0), (), True, {1}),
    ],
)
def test_the_least_preference_of_the_good_is_used(
    usable: tuple[int, ...], in_use: tuple[int, ...], no_preempt: bool, wanted: set[int]
) -> None:
    assert elected(HOPS, map(bool, usable), frozenset(in_use), no_preempt=no_preempt) == wanted


def made(no_preempt: bool = False, initial: str = "wait") -> tuple[TrackedRoute, Judgement, Judgement]:
    hops = (hop("192.0.2.1", track(A, initial=initial)), hop("192.0.2.2", track(B, initial=initial), preference=2))
    judgements = Judgement(track(A, initial=initial)), Judgement(track(B, initial=initial))
    return TrackedRoute(route("0.0.0.0/0", *hops, no_preempt=no_preempt), judgements), *judgements


def say(judgement: Judgement, seconds: float, good: bool) -> None:
    vote = GOOD if good else BAD
    judgement.hear(0, vote.good, vote.reason, at(seconds))
    judgement.advance(at(seconds))


def test_a_decision_names_what_went_and_why() -> None:
    tracked, first, second = made()
    assert tracked.decide(at(0)) is None
    say(first, 1, True)
    decision = tracked.decide(at(1))
    assert decision is not None
    assert (decision.before, decision.after) == ((), ("192.0.2.1",))
    assert decision.reason == "192.0.2.1 is in: isp-a/edge: passed"
    say(second, 2, True)
    assert tracked.decide(at(2)) is None
    say(first, 3, False)
    decision = tracked.decide(at(3))
    assert decision is not None
    assert (decision.before, decision.after) == (("192.0.2.1",), ("192.0.2.2",))
    assert decision.reason == "192.0.2.1 is out: isp-a/edge: failed"
    assert tracked.changes == 2


@pytest.mark.parametrize(
    ("initial", "found", "in_use"),
    [
        ("up", (), {0}),
        ("down", ("192.0.2.1",), set()),
        ("wait", (), set()),
        ("wait", ("192.0.2.2",), {1}),
        ("wait", ("192.0.2.2", "192.0.2.77"), {1}),
    ],
)
def test_before_the_first_result_the_initial_state_counts(
    initial: str, found: tuple[str, ...], in_use: set[int]
) -> None:
    tracked, _, _ = made(initial=initial)
    tracked.adopt(found)
    tracked.decide(at(0))
    assert tracked.in_use == in_use


def test_what_is_not_tracked_is_always_good() -> None:
    hops = (hop("192.0.2.1", track(A)), hop("discard", None, preference=9))
    judgement = Judgement(track(A))
    tracked = TrackedRoute(route("0.0.0.0/0", *hops), (judgement, None))
    decision = tracked.decide(at(0))
    assert decision is not None
    assert decision.reason == "discard is in: it is always good"
    say(judgement, 1, True)
    decision = tracked.decide(at(1))
    assert decision is not None
    assert (decision.after, decision.reason) == (
        ("192.0.2.1",),
        "192.0.2.1 is in: isp-a/edge: passed",
    )


def test_without_preemption_it_stays_where_it_went() -> None:
    tracked, first, second = made(no_preempt=True)
    say(first, 0, True)
    say(second, 0, True)
    tracked.decide(at(0))
    say(first, 1, False)
    tracked.decide(at(1))
    say(first, 2, True)
    assert tracked.decide(at(2)) is None
    assert tracked.names(tracked.in_use) == ("192.0.2.2",)
    decision = tracked.decide(at(3), "released on request", afresh=True)
    assert decision is not None
    assert decision.after == ("192.0.2.1",)


def test_a_held_route_stays_as_it_is() -> None:
    tracked, first, _ = made()
    say(first, 0, True)
    tracked.decide(at(0))
    tracked.pinned = tracked.in_use
    say(first, 1, False)
    assert tracked.decide(at(1)) is None
    tracked.pinned = None
    decision = tracked.decide(at(2))
    assert decision is not None
    assert decision.after == ()
