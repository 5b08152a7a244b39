"""All routes together: who is concerned by a test, when something is due, holds, adoption and reload."""

from __future__ import annotations

from dataclasses import replace

import pytest

from twoway.config.route_plan import DampingPlan, RoutesPlan
from twoway.routes.policy.policy import Policy

from ..made import BAD, GOOD, LOSS, NONE, A, B, S, at, hop, route, routes, track

UPLINK_A, UPLINK_B = "192.0.2.1", "198.51.100.1"
KEY = ("", "0.0.0.0/0")


def two_uplinks(**options: object) -> RoutesPlan:
    hops = (hop(UPLINK_A, track(A)), hop(UPLINK_B, track(B), preference=2))
    return routes(route(KEY[1], *hops, **options))


def in_use(policy: Policy, key: tuple[str, str] = KEY) -> tuple[str, ...]:
    tracked = policy.routes[key]
    return tracked.names(tracked.in_use)


def test_only_routes_that_a_test_decides_about_are_looked_at() -> None:
    one = route("10.0.0.0/8", hop(UPLINK_A, track(A)))
    other = route("10.1.0.0/16", hop(UPLINK_B, track(B)))
    policy = Policy(routes(one, other))
    policy.hear(A, None, GOOD, at(0))
    turned, decisions, _ = policy.advance(at(0))
    assert [decision.key for decision in decisions] == [one.key]
    assert len(turned) == 1
    policy.hear(("nobody", "knows"), None, BAD, at(1))
    assert policy.advance(at(1)) == ([], [], [])


def test_routes_judged_alike_share_a_judgement() -> None:
    many = [route(f"10.{n}.0.0/16", hop(UPLINK_A, track(A))) for n in range(100)]
    policy = Policy(routes(*many))
    assert len(policy.judgements) == 1
    policy.hear(A, None, GOOD, at(0))
    assert len(policy.advance(at(0)).decisions) == 100


def test_a_window_and_the_tests_own_verdict_are_different_voices() -> None:
    by_window = replace(track(A), window=LOSS)
    policy = Policy(
        routes(route("10.0.0.0/8", hop(UPLINK_A, by_window)), route("10.1.0.0/16", hop(UPLINK_A, track(A))))
    )
    assert set(policy.windows_heard(A)) == {None, LOSS}
    policy.hear(A, LOSS, GOOD, at(0))
    assert [one.key[1] for one in policy.advance(at(0)).decisions] == ["10.0.0.0/8"]


def test_it_says_when_a_delay_ends() -> None:
    policy = Policy(routes(route(KEY[1], hop(UPLINK_A, track(A, down_delay_ns=3 * S)))))
    policy.hear(A, None, GOOD, at(0))
    policy.advance(at(0))
    assert policy.due_ns() is None
    policy.hear(A, None, BAD, at(1))
    policy.advance(at(1))
    assert policy.due_ns() == 4 * S
    assert policy.advance(at(3)).decisions == []
    assert policy.due_ns() == 4 * S
    assert policy.advance(at(4)).decisions[0].after == ()
    assert policy.due_ns() is None


def test_a_delay_that_was_broken_off_is_not_due() -> None:
    policy = Policy(routes(route(KEY[1], hop(UPLINK_A, track(A, down_delay_ns=3 * S)))))
    for second, vote in ((0, GOOD), (1, BAD), (2, GOOD)):
        policy.hear(A, None, vote, at(second))
        policy.advance(at(second))
    assert policy.due_ns() is None


def test_many_results_leave_one_thing_due() -> None:
    policy = Policy(routes(route(KEY[1], hop(UPLINK_A, track(A, down_delay_ns=3600 * S)))))
    policy.hear(A, None, GOOD, at(0))
    policy.advance(at(0))
    for second in range(1, 1000):
        policy.hear(A, None, BAD, at(second))
        policy.advance(at(second))
    assert len(policy._due) == 1  # noqa: SLF001  (nothing else shows that it grows)


def test_it_fails_over_and_comes_back() -> None:
    policy = Policy(two_uplinks())
    for test in (A, B):
        policy.hear(test, None, GOOD, at(0))
    policy.advance(at(0))
    assert in_use(policy) == (UPLINK_A,)
    policy.hear(A, None, BAD, at(1))
    policy.advance(at(1))
    assert in_use(policy) == (UPLINK_B,)
    policy.hear(A, None, GOOD, at(2))
    policy.advance(at(2))
    assert in_use(policy) == (UPLINK_A,)


def test_a_hold_freezes_and_a_release_chooses_afresh() -> None:
    policy = Policy(two_uplinks(no_preempt=True))
    for test in (A, B):
        policy.hear(test, None, GOOD, at(0))
    policy.advance(at(0))
    assert policy.hold(KEY, None, at(1)) is None
    policy.hear(A, None, BAD, at(2))
    assert policy.advance(at(2)).decisions == []
    assert in_use(policy) == (UPLINK_A,)
    decision = policy.release(KEY, at(3))
    assert decision is not None
    assert (decision.after, decision.reason) == ((UPLINK_B,), "released on request")
    policy.hear(A, None, GOOD, at(4))
    assert policy.advance(at(4)).decisions == []  # no-preempt
    decision = policy.release(KEY, at(5))
    assert decision is not None
    assert decision.after == (UPLINK_A,)


def test_a_hold_can_pin_next_hops() -> None:
    policy = Policy(two_uplinks())
    policy.hear(A, None, GOOD, at(0))
    policy.advance(at(0))
    decision = policy.hold(KEY, [UPLINK_B], at(1))
    assert decision is not None
    assert (decision.after, decision.reason, decision.held) == ((UPLINK_B,), "held on request", True)
    with pytest.raises(KeyError):
        policy.hold(KEY, ["192.0.2.99"], at(2))
    with pytest.raises(KeyError):
        policy.hold(("", "10.0.0.0/8"), None, at(2))


def test_a_release_forgives_penalties() -> None:
    damped = track(A, damping=DampingPlan(60 * S, 750, 900, 600 * S))
    policy = Policy(routes(route(KEY[1], hop(UPLINK_A, damped))))
    for second, vote in ((0, GOOD), (1, BAD), (2, GOOD)):
        policy.hear(A, None, vote, at(second))
        policy.advance(at(second))
    assert in_use(policy) == ()
    decision = policy.release(KEY, at(3))
    assert decision is not None
    assert decision.after == (UPLINK_A,)


def test_what_the_kernel_has_is_taken_over() -> None:
    policy = Policy(two_uplinks())
    policy.adopt({KEY: [UPLINK_B], ("", "10.0.0.0/8"): [UPLINK_A]})
    assert policy.begin(at(0)) == []
    assert in_use(policy) == (UPLINK_B,)
    policy.hear(A, None, GOOD, at(1))
    assert policy.advance(at(1)).decisions[0].after == (UPLINK_A,)


def test_an_initial_state_is_put_into_effect() -> None:
    policy = Policy(routes(route(KEY[1], hop(UPLINK_A, track(A, initial="up")))))
    assert [decision.after for decision in policy.begin(at(0))] == [(UPLINK_A,)]


def test_a_reload_in_the_middle_of_a_transition_loses_nothing() -> None:
    slow = track(A, down_delay_ns=10 * S)
    policy = Policy(routes(route(KEY[1], hop(UPLINK_A, slow))))
    for second, vote in ((0, GOOD), (1, BAD)):
        policy.hear(A, None, vote, at(second))
        policy.advance(at(second))
    more = route("10.0.0.0/8", hop(UPLINK_B, track(B)))
    assert policy.change(routes(route(KEY[1], hop(UPLINK_A, slow)), more), at(5)) == []
    policy.advance(at(5))
    assert policy.due_ns() == 11 * S
    quicker = track(A, down_delay_ns=6 * S)
    assert policy.change(routes(route(KEY[1], hop(UPLINK_A, quicker)), more), at(6)) == []
    policy.advance(at(6))
    assert policy.due_ns() == 7 * S
    assert policy.advance(at(7)).decisions[0].after == ()


def test_a_reload_keeps_holds_and_counts() -> None:
    policy = Policy(two_uplinks())
    policy.hear(A, None, GOOD, at(0))
    policy.advance(at(0))
    policy.hold(KEY, None, at(1))
    policy.change(two_uplinks(tag=7), at(2))
    policy.hear(A, None, BAD, at(3))
    assert policy.advance(at(3)).decisions == []
    assert policy.routes[KEY].changes == 1


def test_a_next_hop_that_is_no_longer_configured_goes() -> None:
    policy = Policy(two_uplinks())
    policy.hear(A, None, GOOD, at(0))
    policy.advance(at(0))
    without = routes(route(KEY[1], hop(UPLINK_B, track(B), preference=2)))
    policy.change(without, at(1))
    policy.advance(at(1))
    assert in_use(policy) == ()
    policy.hear(A, None, NONE, at(2))
    assert policy.advance(at(2)) == ([], [], [])


def test_many_routes_are_decided_in_turns_each_by_what_is_known_then() -> None:
    many = [route(f"10.{n}.0.0/16", hop(UPLINK_A, track(A))) for n in range(100)]
    policy = Policy(routes(*many))
    policy.hear(A, None, GOOD, at(0))
    first = policy.advance(at(0), 30)
    assert len(first.turned) == 1
    assert [decision.key for decision in first.decisions] == [one.key for one in many[:30]]
    assert policy.pending
    # It turns back in the middle: those that had not moved yet never do.
    policy.hear(A, None, BAD, at(1))
    moved, unmoved = [], []
    while policy.pending or not moved:
        advanced = policy.advance(at(1), 30)
        assert len(advanced.decisions) + len(advanced.unmoved) <= 30
        moved += advanced.decisions
        unmoved += advanced.unmoved
    assert {decision.key for decision in moved} == {one.key for one in many[:30]}
    assert {key for key, _ in unmoved} == {one.key for one in many[30:]}
    assert all(not tracked.in_use for tracked in policy.routes.values())


def test_a_reload_in_the_middle_leaves_no_route_out() -> None:
    many = [route(f"10.{n}.0.0/16", hop(UPLINK_A, track(A))) for n in range(100)]
    policy = Policy(routes(*many))
    policy.hear(A, None, GOOD, at(0))
    policy.advance(at(0), 30)
    changed = policy.change(routes(*many[50:]), at(1))
    assert {decision.key for decision in changed} == {one.key for one in many[50:]}
    rest = policy.advance(at(1))
    assert {key for key, _ in rest.unmoved} == {one.key for one in many[50:]}
    assert not policy.pending
