"""What waits to be written: bounded, never blocking whoever puts something in, and counting what does not fit.

The event loop puts, the writer's thread takes. Nothing leaves the queue before it is committed, so that a disk that is
full for a moment loses nothing; what comes when the queue is full is refused and counted. State of collections is not
queued but replaced: only the newest of a test-session is of any use.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from twoway.store.probes import pack, span_ns

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from twoway.analysis.notices import State
    from twoway.analysis.samples import Batch
    from twoway.config.plan import SessionKey

MAX_OCTETS = 32 << 20
"""Most that waits: a minute of 10,000 test-sessions, hours of a hundred."""
_OVERHEAD = 150
"""Octets of a tuple, a key and an octet string, roughly."""
_PROBE = 240
"""Octets of a row before it is packed: twice the native one."""


@dataclass(frozen=True, slots=True)
class Second:
    """What all test-sessions measured in one second."""

    second: int
    summaries: Sequence[tuple[SessionKey, bytes]]

    @property
    def octets(self) -> int:
        return sum(len(packed) for _, packed in self.summaries) + _OVERHEAD * (1 + len(self.summaries))


@dataclass(slots=True, eq=False)
class History:
    """Per-probe rows of one test-session, which the writer packs: that takes too long for who puts them."""

    key: SessionKey
    at_ns: int
    rows: Batch | None
    probes: int
    _packed: tuple[int, int, bytes] = (0, 0, b"")

    @property
    def octets(self) -> int:
        return _PROBE * self.probes + _OVERHEAD

    def packed(self) -> tuple[int, int, bytes]:
        """When the first and the last probe left (`at_ns` where none did), and the rows packed; from the first call on
        nothing else is held."""
        if self.rows is not None:
            start_ns, end_ns = span_ns(self.rows) or (self.at_ns, self.at_ns)
            self._packed, self.rows = (start_ns, end_ns, pack(self.rows)), None
        return self._packed


@dataclass(frozen=True, slots=True)
class Event:
    """A notice."""

    at_ns: int
    name: str
    data: str | None
    """None: it is not kept as an event, but the condition that it begins or ends is."""
    state: State
    about: str
    """The condition, as JSON."""

    @property
    def octets(self) -> int:
        return len(self.data or "") + _OVERHEAD


@dataclass(frozen=True, slots=True)
class Call:
    """Something to be done in its turn, between what was put before it and what comes after."""

    act: Callable[[sqlite3.Connection], None]
    done: Future[None]

    @property
    def octets(self) -> int:
        return _OVERHEAD


Item = Second | History | Event | Call


class Queue:
    """See above. All methods may be called from any thread."""

    def __init__(self, max_octets: int = MAX_OCTETS) -> None:
        self._changed = threading.Condition()
        self._items: deque[tuple[Item, int]] = deque()
        self._collections: dict[SessionKey, bytes] = {}
        self._octets = 0
        self._max_octets = max_octets
        self._closing = False
        self.refused: dict[str, int] = {"seconds": 0, "history": 0, "events": 0}
        """What was not taken, because too much waited."""

    def put(self, *items: Item) -> bool:
        """Put these at the end; False if there is no room for one of them, or nobody takes any more."""
        sized = [(item, item.octets) for item in items]
        with self._changed:
            taken = [self._put(item, octets) for item, octets in sized]
            if any(taken):
                self._changed.notify()
        return all(taken)

    def _put(self, item: Item, octets: int) -> bool:
        if self._closing or (self._octets + octets > self._max_octets and not isinstance(item, Call)):
            if not isinstance(item, Call):
                self.refused[KINDS[type(item)]] += 1
            return False
        self._items.append((item, octets))
        self._octets += octets
        return True

    def put_collections(self, key: SessionKey, packed: bytes) -> None:
        """Replace what waits of this test-session."""
        with self._changed:
            self._collections[key] = packed

    def wait(self, timeout_s: float) -> None:
        """Until something waits or the end is near, at most so long."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closing, timeout_s)

    def linger(self, timeout_s: float) -> None:
        """Let more gather, but not when the end is near."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not self._closing and (remaining := deadline - time.monotonic()) > 0:
                self._changed.wait(remaining)

    def waiting(self, most: int) -> list[Item]:
        """The first so many, which stay."""
        with self._changed:
            return [item for item, _ in islice(self._items, most)]

    def drop(self, count: int) -> None:
        """The first so many are written, or given up."""
        with self._changed:
            for _ in range(count):
                self._octets -= self._items.popleft()[1]

    def remove(self, item: Item) -> None:
        """Give up one."""
        with self._changed:
            self._items.remove((item, item.octets))
            self._octets -= item.octets

    def take_collections(self) -> dict[SessionKey, bytes]:
        """All that waits of collections, which no longer does."""
        with self._changed:
            taken, self._collections = self._collections, {}
            return taken

    def return_collections(self, taken: dict[SessionKey, bytes]) -> None:
        """It could not be written: it waits again, unless newer does."""
        with self._changed:
            self._collections = taken | self._collections

    def close(self) -> None:
        """Take no more, and wake the writer."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    @property
    def closing(self) -> bool:
        """Whether the end is near."""
        return self._closing

    @property
    def octets(self) -> int:
        """How much waits."""
        return self._octets

    def __len__(self) -> int:
        return len(self._items)


KINDS: dict[type, str] = {Second: "seconds", History: "history", Event: "events"}
