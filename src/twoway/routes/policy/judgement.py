"""Whether a next hop may be used: what its tests say, delays, damping. Pure.

Theory of operation. Each test has a *vote*: good, bad, or none. It has none before its first result, while it is
cancelled, and where this host disturbed its own measurement: such a vote is neutral, and nothing is made of it. The
votes together are good if as many are good as `require` says, bad if so many can no longer become good, and else
*undecided*. What is undecided changes nothing, but it breaks every delay: a delay runs only as long as the votes say
the contrary of the state without a break.

The *state* is up, down, or unknown before the first result. It goes down when the votes have been bad for `down_delay`,
and up when they have been good for `up_delay`; from unknown it goes up at once, as there is nothing to recover from. A
next hop that is up and not suppressed by damping is *usable*.

Routes whose next hops are judged alike share one judgement: ten thousand routes on a hundred tests cost a hundred.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twoway.config.units import duration_text
from twoway.routes.policy.damping import Penalty

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twoway.config.route_plan import TrackPlan
    from twoway.routes.policy.moment import Moment

_NO_RESULT = "no result yet"


@dataclass(slots=True)
class Vote:
    """What one test says."""

    good: bool | None = None
    reason: str = _NO_RESULT
    """In words, without the test's name."""


def combined(votes: Sequence[bool | None], require: int) -> bool | None:
    """What votes come to; None: undecided."""
    good = sum(vote is True for vote in votes)
    if good >= require:
        return True
    open_ = sum(vote is None for vote in votes)
    return False if good + open_ < require else None


class Judgement:
    """One `TrackPlan` and how it stands."""

    __slots__ = (
        "_heard",
        "_heard_since_ns",
        "changed_ns",
        "flaps",
        "penalty",
        "plan",
        "reason",
        "state",
        "votes",
    )

    def __init__(self, plan: TrackPlan) -> None:
        self.plan = plan
        self.votes = [Vote() for _ in plan.tests]
        self.state: bool | None = None
        """Up, down, or unknown."""
        self.penalty = None if plan.damping is None else Penalty(plan.damping)
        self.flaps = 0
        """How often it went down."""
        self.changed_ns: int | None = None
        """Wall time of the last change of state or suppression."""
        self.reason = _NO_RESULT
        """Why it is as it is."""
        self._heard: bool | None = None
        """What the votes come to, as `up` or `down` of the next hop."""
        self._heard_since_ns = 0

    @property
    def usable(self) -> bool | None:
        """Whether the next hop may be used; None: nobody knows yet."""
        if self.penalty is not None and self.penalty.suppressed:
            return False
        return self.state

    @property
    def word(self) -> str:
        """`up`, `down`, `suppressed` or `unknown`."""
        if self.state and self.penalty is not None and self.penalty.suppressed:
            return "suppressed"
        return {True: "up", False: "down", None: "unknown"}[self.state]

    def hear(self, test: int, good: bool | None, reason: str, now: Moment) -> None:
        """A vote. `advance` tells what comes of it."""
        vote = self.votes[test]
        vote.good, vote.reason = good, reason
        heard = combined([one.good for one in self.votes], self.plan.require)
        if heard is not None and self.plan.inverted:
            heard = not heard
        if heard is not self._heard:
            self._heard, self._heard_since_ns = heard, now.monotonic_ns

    def advance(self, now: Moment) -> bool:
        """Whether `usable` or the state has changed by what was heard, or by the time that passed."""
        before = self.word
        if self.penalty is not None:
            self.penalty.advance(now.monotonic_ns)
        due_ns = self._turn_ns()
        if due_ns is not None and now.monotonic_ns >= due_ns:
            self._turn(now)
        if self.word == before:
            return False
        if before == "suppressed" and self.word == "up":
            self.reason = "its penalty is forgiven"
        self.changed_ns = now.wall_ns
        return True

    def _turn_ns(self) -> int | None:
        """When the state changes if nothing else is heard."""
        if self._heard is None or self._heard is self.state:
            return None
        if self._heard and self.state is None:
            return self._heard_since_ns
        return self._heard_since_ns + (self.plan.up_delay_ns if self._heard else self.plan.down_delay_ns)

    def _turn(self, now: Moment) -> None:
        was, self.state = self.state, self._heard
        delay_ns = 0 if was is None and self.state else now.monotonic_ns - self._heard_since_ns
        self.reason = self._said(delay_ns)
        if was and not self.state:
            self.flaps += 1
            if self.penalty is not None:
                self.penalty.charge(now.monotonic_ns)
                if self.penalty.suppressed:
                    self.reason += f"; suppressed for flapping, penalty {self.penalty.value(now.monotonic_ns):.0f}"

    def _said(self, delay_ns: int) -> str:
        """The votes in words."""
        bad = [self._spoken(n) for n, vote in enumerate(self.votes) if vote.good is False]
        if len(self.votes) == 1:
            words = self._spoken(0)
        else:
            good = sum(vote.good is True for vote in self.votes)
            words = f"{good} of {len(self.votes)} tests good, {self.plan.require} needed"
            words += f": {'; '.join(bad)}" if bad else ""
        if delay_ns >= 1_000_000:
            words += f" (for {duration_text(delay_ns // 1_000_000 * 1_000_000)})"
        return words

    def _spoken(self, test: int) -> str:
        return f"{'/'.join(self.plan.tests[test])}: {self.votes[test].reason}"

    def due_ns(self) -> int | None:
        """When `advance` next has something to do if nothing is heard, by the monotonic clock."""
        moments = [self._turn_ns(), None if self.penalty is None else self.penalty.release_ns]
        return min((moment for moment in moments if moment is not None), default=None)

    @property
    def turning(self) -> tuple[bool, int] | None:
        """Whither the state is going to change, and when."""
        turn_ns = self._turn_ns()
        return None if turn_ns is None or self._heard is None else (self._heard, turn_ns)

    def inherit(self, other: Judgement, now: Moment) -> None:
        """Go on from where another stands, which judged the same next hop under another plan."""
        self.state, self.flaps, self.changed_ns, self.reason = other.state, other.flaps, other.changed_ns, other.reason
        if self.penalty is not None and other.penalty is not None:
            self.penalty.inherit(other.penalty, now.monotonic_ns)
        same_criterion = self.plan.window == other.plan.window
        for number, test in enumerate(self.plan.tests):
            if same_criterion and test in other.plan.tests:
                vote = other.votes[other.plan.tests.index(test)]
                self.hear(number, vote.good, vote.reason, now)
        if self._heard is other._heard and self.plan.inverted is other.plan.inverted:
            self._heard_since_ns = other._heard_since_ns

    def forgive(self) -> None:
        """Forget its penalty."""
        if self.penalty is not None:
            self.penalty.forgive()
