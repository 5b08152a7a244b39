"""Which next hops of a route are used. Pure.

Of the usable ones, those with the least preference, all at once. A next hop of which nothing is known yet counts by its
initial state: `wait` takes it as it was found in the kernel's table. With `no_preempt` what is in use and usable stays
in use alone. A held route stays as it is, or as it was pinned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from twoway.config.route_plan import NextHopPlan, RouteKey, RoutePlan
    from twoway.routes.policy.judgement import Judgement
    from twoway.routes.policy.moment import Moment

Hops = frozenset[int]
"""Next hops by their places in the route."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to become of a route, and why."""

    key: RouteKey
    at_ns: int
    """Wall time."""
    before: tuple[str, ...]
    """Next hops that were used, by name."""
    after: tuple[str, ...]
    reason: str
    held: bool = False


def elected(hops: Sequence[NextHopPlan], usable: Iterable[bool], in_use: Hops, *, no_preempt: bool) -> Hops:
    """The next hops to use."""
    good = frozenset(place for place, fit in enumerate(usable) if fit)
    if no_preempt and good & in_use:
        return good & in_use
    least = min((hops[place].preference for place in good), default=0)
    return frozenset(place for place in good if hops[place].preference == least)


class TrackedRoute:
    """One route and how it stands."""

    __slots__ = ("_found", "changed_ns", "changes", "in_use", "judgements", "pinned", "plan", "reason")

    def __init__(self, plan: RoutePlan, judgements: tuple[Judgement | None, ...]) -> None:
        self.plan = plan
        self.judgements = judgements
        """Of each next hop; None: it is always good."""
        self.in_use: Hops = frozenset()
        """What was decided to be used."""
        self.pinned: Hops | None = None
        """What a hold keeps in use; None: it is not held."""
        self.reason = "nothing is known yet"
        self.changed_ns: int | None = None
        """Wall time of the last decision."""
        self.changes = 0
        """Decisions that changed what is used."""
        self._found: Hops = frozenset()

    def adopt(self, names: Iterable[str]) -> None:
        """These next hops are in the kernel's table as the daemon starts."""
        found = frozenset(names)
        self._found = frozenset(n for n, hop in enumerate(self.plan.next_hops) if hop.name in found)
        self.in_use = self._found

    def usable(self, place: int) -> bool:
        """Whether a next hop may be used, as far as is known."""
        judgement = self.judgements[place]
        if judgement is None:
            return True
        if judgement.usable is not None:
            return judgement.usable
        return {"up": True, "down": False}.get(judgement.plan.initial, place in self._found)

    @property
    def unavailable(self) -> bool:
        """Whether no next hop is good, as far as is known, of a route that is no mere backup."""
        known = all(one is None or one.usable is not None for one in self.judgements)
        backup = all(one is not None and one.plan.inverted for one in self.judgements)
        return not self.in_use and known and not backup

    def names(self, hops: Hops) -> tuple[str, ...]:
        """Next hops by name, in the order of the configuration."""
        return tuple(hop.name for place, hop in enumerate(self.plan.next_hops) if place in hops)

    def decide(self, now: Moment, why: str | None = None, *, afresh: bool = False) -> Decision | None:
        """What is to change; None: nothing. `afresh`: as if nothing had been in use."""
        places = range(len(self.plan.next_hops))
        if self.pinned is not None:
            wanted = self.pinned
        else:
            in_use = frozenset[int]() if afresh else self.in_use
            fit = (self.usable(place) for place in places)
            wanted = elected(self.plan.next_hops, fit, in_use, no_preempt=self.plan.no_preempt)
        if wanted == self.in_use:
            return None
        before, self.in_use = self.in_use, wanted
        self.reason = why or self._why(before, wanted)
        self.changed_ns = now.wall_ns
        self.changes += 1
        return Decision(
            self.plan.key, now.wall_ns, self.names(before), self.names(wanted), self.reason, self.pinned is not None
        )

    def _why(self, before: Hops, after: Hops) -> str:
        """In words: what went because it is not good, else what came, else what had to make room."""
        lost = [place for place in sorted(before - after) if not self.usable(place)]
        came = sorted(after - before)
        words = [
            f"{self.plan.next_hops[place].name} is {word}: {self._cause(place)}"
            for place, word in ([(place, "out") for place in lost] or [(place, "in") for place in came])
        ]
        words = words or [f"{name} is out: others are preferred" for name in self.names(before - after)]
        return "; ".join(words)

    def _cause(self, place: int) -> str:
        """Why a next hop is usable, or is not."""
        judgement = self.judgements[place]
        if judgement is None:
            return "it is always good"
        if judgement.usable is None:
            return f"no result yet, and initial-state is {judgement.plan.initial}"
        return judgement.reason
