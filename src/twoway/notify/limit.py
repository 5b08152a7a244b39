"""How many notices one receiver gets in a minute, and which of them. Pure: time is an argument.

Theory of operation. In any 60 seconds at most `per_minute` notices are let through; what is over that is counted by its
name, and after the minute one summary says what was left out. Conditions come in pairs, raised and cleared, and a
receiver that was told of the beginning must be told of the end, or its alarm stands for ever: such an end is let
through even over the limit (there cannot be more of them than of beginnings that were let through, or that an earlier
run left, of which nobody knows any more whether they were). An end whose beginning was left out is left out, too: it
would say nothing.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from twoway.analysis.notices import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from twoway.analysis.notices import Condition, Notice

MINUTE_NS = 60_000_000_000


class RateLimit:
    """The policy for one receiver. `now_ns` is of a clock that never steps."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        """0: no limit. May be changed at any time."""
        self.suppressed = 0
        """Notices left out since the start."""
        self._let_through: deque[int] = deque()
        self._told: set[Condition] = set()
        self._untold: set[Condition] = set()
        self._left_out: Counter[str] = Counter()
        self._since_ns = 0

    def admit(self, notice: Notice, now_ns: int) -> bool:
        """Whether the receiver gets this notice. What it does not get is counted here."""
        condition = notice.condition
        if notice.state is State.CLEARED and condition in self._untold:
            self._untold.discard(condition)
            return self._leave_out(notice, now_ns)
        owed = notice.state is State.CLEARED and condition in self._told
        if not owed and not self._room(now_ns):
            if notice.state is State.RAISED and condition not in self._told:
                self._untold.add(condition)
            return self._leave_out(notice, now_ns)
        if self.per_minute:
            self._let_through.append(now_ns)
        if notice.state is State.RAISED:
            self._told.add(condition)
            self._untold.discard(condition)
        else:
            self._told.discard(condition)
        return True

    def owe(self, conditions: Iterable[Condition]) -> None:
        """The receiver may have been told of these in an earlier run."""
        self._told.update(conditions)

    def lost(self, notice: Notice) -> None:
        """A notice that was let through never reached the receiver: its end is no longer owed."""
        self._told.discard(notice.condition)

    def summary_due_ns(self) -> int | None:
        """When `take_summary` has something to say; None: nothing was left out."""
        return self._since_ns + MINUTE_NS if self._left_out else None

    def take_summary(self, now_ns: int) -> Mapping[str, int] | None:
        """What was left out by name, once a minute has passed since the first of it; None before."""
        due_ns = self.summary_due_ns()
        if due_ns is None or now_ns < due_ns:
            return None
        left_out, self._left_out = self._left_out, Counter()
        return left_out

    def _room(self, now_ns: int) -> bool:
        if not self.per_minute:
            return True
        while self._let_through and self._let_through[0] <= now_ns - MINUTE_NS:
            self._let_through.popleft()
        return len(self._let_through) < self.per_minute

    def _leave_out(self, notice: Notice, now_ns: int) -> bool:
        if not self._left_out:
            self._since_ns = now_ns
        self._left_out[notice.name] += 1
        self.suppressed += 1
        return False


def summary_text(left_out: Mapping[str, int]) -> str:
    """One line for a person."""
    names = ", ".join(f"{count} {name}" for name, count in sorted(left_out.items()))
    return f"{sum(left_out.values())} notices were over the rate limit and not sent here in the last minute: {names}"
