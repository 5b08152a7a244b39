"""Every notice passes here: it is counted, remembered for who asks, kept in the store, and told to the receivers."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import TYPE_CHECKING

from twoway.analysis.notices import Condition, Notice, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from twoway.daemon.seams import Store, Teller

REMEMBERED = 10_000
"""Notices that are shown without the store."""


class Bulletin:
    """Where notices are posted. Posting neither waits nor raises."""

    def __init__(self, store: Store, teller: Teller) -> None:
        self._store = store
        self._teller = teller
        self._last: deque[Notice] = deque(maxlen=REMEMBERED)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._raised: dict[Condition, None] = {}

    def post(self, notice: Notice) -> None:
        """It has happened."""
        self._counts[notice.name, notice.state.value] += 1
        if notice.state is State.RAISED:
            self._raised[notice.condition] = None
        elif notice.state is State.CLEARED:
            self._raised.pop(notice.condition, None)
        self._last.append(notice)
        self._store.put_notice(notice)
        self._teller.post(notice)

    def say(self, name: str, message: str, state: State = State.ONCE) -> None:
        """A notice of the daemon itself, now."""
        self.post(Notice(time.time_ns(), name, state, message))

    def newest(self, since_ns: int | None, limit: int) -> Sequence[Notice]:
        """The last ones, oldest first."""
        chosen: list[Notice] = []
        for notice in reversed(self._last):
            if len(chosen) >= limit or (since_ns is not None and notice.at_ns < since_ns):
                break
            chosen.append(notice)
        return chosen[::-1]

    @property
    def counts(self) -> Mapping[tuple[str, str], int]:
        """(name, state) -> how often, since the daemon started."""
        return dict(self._counts)

    def remember(self, kept: Sequence[Notice]) -> None:
        """Notices of before the daemon started, oldest first, which are shown and not told again. What was posted
        meanwhile may have come to the store already."""
        kept = [notice for notice in kept if notice not in self._last]
        self._last.extendleft(reversed(kept[-(REMEMBERED - len(self._last)) :]))

    def take_up(self, kept: Iterable[Condition]) -> list[Condition]:
        """Conditions of before the daemon started; those of them that have not been raised anew already."""
        open_still = [condition for condition in kept if condition not in self._raised]
        self._raised.update(dict.fromkeys(open_still))
        self._teller.owe(open_still)
        return open_still

    def is_raised(self, condition: Condition) -> bool:
        """Whether it has been told that this began, and not that it ended."""
        return condition in self._raised

    def clear(self) -> int:
        """Forget those remembered; how many they were. What counts goes on."""
        forgotten = len(self._last)
        self._last.clear()
        return forgotten
