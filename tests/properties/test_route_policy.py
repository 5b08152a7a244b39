"""Any sequence of results ends in the state that a naive model gives, and damping keeps its bounds.

The model looks at each second: it counts for how many seconds the votes have said the contrary of the state, and turns
when that is as long as the delay; a penalty loses its share each second. It knows no events, no schedule, nothing that
is due and no reload.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from twoway.config.route_plan import DampingPlan, NextHopPlan, RoutePlan, RoutesPlan, TrackPlan
from twoway.routes.policy.damping import ceiling
from twoway.routes.policy.judgement import Judgement, Vote
from twoway.routes.policy.moment import Moment
from twoway.routes.policy.policy import Policy

S = 1_000_000_000
TESTS = [("c", f"t{number}") for number in range(3)]
VOTES = st.sampled_from([True, True, False, False, None])
RESULTS = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 2), VOTES), max_size=60)
"""(seconds since the result before, test, vote)."""


def moment(second: int) -> Moment:
    return Moment(second * S, second * S)


@dataclass
class Naive:
    """One next hop, second by second."""

    plan: TrackPlan
    votes: dict[tuple[str, str], bool | None] = field(default_factory=dict)
    state: bool | None = None
    contrary: int = 0
    last: bool | None = None
    flaps: int = 0
    penalty: float = 0.0
    suppressed: bool = False

    def second(self) -> None:
        """A second begins, after what was said in it."""
        damping = self.plan.damping
        if damping is not None:
            self.penalty *= 2.0 ** (-S / damping.half_life_ns)
            self.suppressed = self.suppressed and self.penalty > damping.reuse * (1 + 1e-9)
        flaps = self.flaps
        self._turn()
        if damping is not None and self.flaps > flaps:
            self.penalty = min(self.penalty + 1000, ceiling(damping))
            self.suppressed = self.suppressed or self.penalty > damping.suppress

    @property
    def fit(self) -> bool:
        """Whether it may be used; nothing was in the kernel's table at first."""
        state = self.plan.initial == "up" if self.state is None else self.state
        return state and not self.suppressed

    def _turn(self) -> None:
        values = [self.votes.get(test) for test in self.plan.tests]
        good, bad = values.count(True), values.count(False)
        heard: bool | None = None
        if good >= self.plan.require:
            heard = True
        elif bad > len(values) - self.plan.require:
            heard = False
        if heard is not None and self.plan.inverted:
            heard = not heard
        self.contrary = self.contrary + 1 if heard is self.last else 0
        self.last = heard
        if heard is None or heard is self.state:
            return
        delay_ns = self.plan.up_delay_ns if heard else self.plan.down_delay_ns
        if heard and self.state is None:
            delay_ns = 0
        if self.contrary * S >= delay_ns:
            self.flaps += self.state is True
            self.state = heard


QUICK_DAMPINGS = st.builds(
    DampingPlan,
    half_life_ns=st.integers(1, 20).map(lambda s: s * S),
    reuse=st.integers(500, 900),
    suppress=st.integers(901, 2500),
    max_suppress_ns=st.integers(1, 60).map(lambda s: s * S),
)


@st.composite
def tracks(draw: st.DrawFn) -> TrackPlan:
    tests = tuple(TESTS[: draw(st.integers(1, 3))])
    return TrackPlan(
        tests=tests,
        require=draw(st.integers(1, len(tests))),
        window=None,
        up_delay_ns=draw(st.integers(0, 8)) * S,
        down_delay_ns=draw(st.integers(0, 8)) * S,
        initial=draw(st.sampled_from(["up", "down", "wait"])),
        inverted=draw(st.booleans()),
        damping=draw(st.none() | QUICK_DAMPINGS),
    )


def chosen(preferences: list[int], fit: list[bool], in_use: set[int], *, no_preempt: bool) -> set[int]:
    """What is to be used now."""
    good = {place for place, one in enumerate(fit) if one}
    if no_preempt and good & in_use:
        return good & in_use
    return {place for place in good if preferences[place] == min(preferences[other] for other in good)}


@given(
    st.lists(tracks(), min_size=1, max_size=4),
    st.lists(st.integers(1, 3), min_size=4, max_size=4),
    RESULTS,
    st.booleans(),
    st.sets(st.integers(0, 300), max_size=4),
)
def test_any_results_end_in_the_state_of_the_naive_model(
    plans: list[TrackPlan],
    preferences: list[int],
    results: list[tuple[int, int, bool | None]],
    no_preempt: bool,
    reloads: set[int],
) -> None:
    hops = tuple(
        NextHopPlan(f"192.0.2.{n + 1}", f"192.0.2.{n + 1}", None, plan, preference)
        for n, (plan, preference) in enumerate(zip(plans, preferences, strict=False))
    )
    route = RoutePlan("", "0.0.0.0/0", hops, no_preempt=no_preempt)
    policy = Policy(RoutesPlan((route,), ()))
    policy.begin(moment(0))
    models = [Naive(plan) for plan in plans]
    in_use = chosen(preferences, [model.fit for model in models], set(), no_preempt=no_preempt)
    said: dict[int, tuple[int, bool | None]] = {}
    second = 0
    for pause, test, vote in results:
        second += pause
        said[second] = test, vote
    for passed in range(second + 20):
        if passed in reloads:
            assert policy.change(RoutesPlan((replace(route, tag=passed),), ()), moment(passed)) == []
        if passed in said:
            test, vote = said[passed]
            for model in models:
                model.votes[TESTS[test]] = vote
            policy.hear(TESTS[test], None, Vote(good=vote, reason="said"), moment(passed))
        for model in models:
            model.second()
        due_ns = policy.due_ns()
        if passed in said or passed in reloads or (due_ns is not None and due_ns <= passed * S):
            policy.advance(moment(passed))
        in_use = chosen(preferences, [model.fit for model in models], in_use, no_preempt=no_preempt)
        tracked = policy.routes[route.key]
        judged = [judgement for judgement in tracked.judgements if judgement is not None]
        assert [one.state for one in judged] == [model.state for model in models]
        assert [one.word == "suppressed" for one in judged] == [
            model.suppressed and bool(model.state) for model in models
        ]
        assert tracked.in_use == in_use
    assert [one.flaps for one in judged] == [model.flaps for model in models]


DAMPINGS = st.builds(
    DampingPlan,
    half_life_ns=st.integers(1, 100).map(lambda s: s * S),
    reuse=st.integers(100, 900),
    suppress=st.integers(901, 4000),
    max_suppress_ns=st.integers(1, 600).map(lambda s: s * S),
)


@given(DAMPINGS, st.lists(st.tuples(st.integers(1, 30), st.booleans()), max_size=80))
def test_damping_keeps_its_bounds(plan: DampingPlan, results: list[tuple[int, bool]]) -> None:
    judgement = Judgement(TrackPlan((TESTS[0],), 1, None, damping=plan))
    penalty = judgement.penalty
    assert penalty is not None
    second, last_down = 0, None
    for pause, good in results:
        second += pause
        now = moment(second)
        was = judgement.state
        judgement.hear(0, good, "said", now)
        judgement.advance(now)
        if was and judgement.state is False:
            last_down = now.monotonic_ns
        assert 0 <= penalty.value(now.monotonic_ns) <= ceiling(plan) + 1e-6
        if penalty.release_ns is not None:
            assert last_down is not None
            assert now.monotonic_ns < penalty.release_ns <= last_down + plan.max_suppress_ns
            assert penalty.value(penalty.release_ns) <= plan.reuse + 1e-6
        if judgement.usable:
            assert judgement.state
    # Left alone, and good, it is used again no later than the longest suppression after it last went down.
    end = moment(second + 1 + plan.max_suppress_ns // S)
    judgement.hear(0, good=True, reason="said", now=end)
    judgement.advance(end)
    assert judgement.usable is True


@given(DAMPINGS, st.integers(1, 20))
def test_a_path_that_flaps_for_ever_is_used_ever_less(plan: DampingPlan, period: int) -> None:
    """While it goes up and down, the share of time that it is used never exceeds that without damping, and a next hop
    whose flaps come faster than half is forgiven ends suppressed."""
    judgement = Judgement(TrackPlan((TESTS[0],), 1, None, damping=plan))
    penalty = judgement.penalty
    assert penalty is not None
    for number in range(400):
        now = moment(number * period)
        judgement.hear(0, number % 2 == 0, "said", now)
        judgement.advance(now)
    # What the penalty tends to: each flap adds 1000, and between two of them a part is forgiven.
    kept = 2.0 ** (-2 * period * S / plan.half_life_ns)
    tends_to = min(1000 / (1 - kept), ceiling(plan))
    if tends_to * kept > plan.suppress:
        judgement.hear(0, good=True, reason="said", now=moment(400 * period))
        judgement.advance(moment(400 * period))
        assert judgement.word == "suppressed"


@given(RESULTS)
def test_a_route_that_is_held_never_changes(results: list[tuple[int, int, bool | None]]) -> None:
    hops = tuple(
        NextHopPlan(f"192.0.2.{n}", f"192.0.2.{n}", None, TrackPlan((test,), 1, None)) for n, test in enumerate(TESTS)
    )
    route = RoutePlan("", "0.0.0.0/0", hops)
    policy = Policy(RoutesPlan((route,), ()))
    policy.adopt({route.key: ["192.0.2.1"]})
    policy.hold(route.key, None, moment(0))
    second = 0
    for pause, test, vote in results:
        second += pause
        policy.hear(TESTS[test], None, Vote(good=vote, reason="said"), moment(second))
        assert policy.advance(moment(second)).decisions == []
    assert policy.routes[route.key].in_use == {1}
