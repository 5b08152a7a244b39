"""Penalties for a next hop that goes up and down (after RFC 2439 section 4.2). Pure.

Each time it goes down its penalty grows by `COST`; of a penalty half is left after each half-life. Above `suppress` the
next hop is suppressed, and it stays so until the penalty has sunk to `reuse`. No penalty grows beyond the one that
takes `max_suppress` to sink to `reuse`: so long after it last went down, and no longer, a next hop can be suppressed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twoway.config.route_plan import DampingPlan

COST = 1000
"""The figure of merit that RFC 2439 section 4.2 gives to a withdrawal."""


def ceiling(plan: DampingPlan) -> float:
    """The greatest penalty."""
    return plan.reuse * math.pow(2.0, min(plan.max_suppress_ns / plan.half_life_ns, 64.0))


class Penalty:
    """Of one next hop."""

    __slots__ = ("_at_ns", "_plan", "_value", "release_ns")

    def __init__(self, plan: DampingPlan) -> None:
        self._plan = plan
        self._value = 0.0
        self._at_ns = 0
        self.release_ns: int | None = None
        """When its suppression ends, by the monotonic clock; None if it is not suppressed."""

    def value(self, now_ns: int) -> float:
        """What is left of it."""
        if not self._value:
            return 0.0
        return self._value * math.pow(2.0, -max(0, now_ns - self._at_ns) / self._plan.half_life_ns)

    def charge(self, now_ns: int) -> None:
        """The next hop has gone down."""
        self._value = min(self.value(now_ns) + COST, ceiling(self._plan))
        self._at_ns = now_ns
        if self._value > self._plan.suppress or self.release_ns is not None:
            half_lives = max(0.0, math.log2(self._value / self._plan.reuse))
            self.release_ns = now_ns + min(math.ceil(half_lives * self._plan.half_life_ns), self._plan.max_suppress_ns)

    def advance(self, now_ns: int) -> None:
        """Time has passed."""
        if self.release_ns is not None and now_ns >= self.release_ns:
            self.release_ns = None

    @property
    def suppressed(self) -> bool:
        """Whether it is, as of the last `charge` or `advance`."""
        return self.release_ns is not None

    def forgive(self) -> None:
        """Begin anew."""
        self._value, self.release_ns = 0.0, None

    def inherit(self, other: Penalty, now_ns: int) -> None:
        """Go on with another's penalty, under this plan."""
        self._value, self._at_ns = min(other.value(now_ns), ceiling(self._plan)), now_ns
        if other.suppressed and self._value > self._plan.reuse:
            left = math.ceil(math.log2(self._value / self._plan.reuse) * self._plan.half_life_ns)
            self.release_ns = now_ns + min(left, self._plan.max_suppress_ns)
