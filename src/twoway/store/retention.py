"""What is deleted, by age and by size: the oldest first, a bounded number of rows at a time.

By age each kind of data has its own bound. By size the finest goes first: per-probe rows, then seconds down to their
last hour, minutes down to their last day, hours down to their last 30 days, days; only if that does not do is what was
spared taken too, and in the end events. So a store that is too small for its test-sessions becomes coarse before it
forgets.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twoway.store.schema import SESSION_BITS
from twoway.store.tiers import NANOS, TIERS

if TYPE_CHECKING:
    import sqlite3

    from twoway.config.plan import StorePlan
    from twoway.store.tiers import Tier

_ROWS = 2000
"""Rows deleted in one transaction: some ten milliseconds."""
_LARGE_ROWS = 50
FLOOR_S = (3600, 86400, 30 * 86400, 0)
"""What the size bound leaves of each tier before it turns to the next."""
_ROOM = 16 << 20
"""Octets below the size bound that are kept free, for transactions to write into."""
_STEADY_NS = 3600 * NANOS


class Horizon:
    """The time from which ages are counted: what the wall clock says, but not sooner than it has said so for an hour.

    A clock that leaps ahead and comes back must not have expired everything in between.
    """

    def __init__(self, newest_ns: int | None) -> None:
        """`newest_ns`: the newest thing in the store, which bounds the first hour."""
        self._newest_ns = newest_ns
        self._offsets: deque[tuple[int, int]] = deque()

    def at(self, wall_ns: int, monotonic_ns: int) -> int:
        """The wall time, ns, to count ages from."""
        offset = wall_ns - monotonic_ns
        if self._newest_ns is not None:
            self._offsets.append((monotonic_ns, min(offset, self._newest_ns - monotonic_ns)))
            self._newest_ns = None
        while self._offsets and self._offsets[0][0] < monotonic_ns - _STEADY_NS:
            self._offsets.popleft()
        while self._offsets and self._offsets[-1][1] >= offset:
            self._offsets.pop()  # a later and lower one outlives it: the queue keeps the minimum in front
        self._offsets.append((monotonic_ns, offset))
        return monotonic_ns + self._offsets[0][1]


@dataclass(frozen=True, slots=True)
class Size:
    """Of the file, in octets."""

    file: int
    used: int
    """Without free pages, which are written to before the file grows."""


def size(connection: sqlite3.Connection) -> Size:
    """How large the file is, without the write-ahead log."""
    (page,), (pages,), (free,) = (
        connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_size", "page_count", "freelist_count")
    )
    return Size(page * pages, page * (pages - free))


def newest_ns(connection: sqlite3.Connection) -> int | None:
    """The time of the newest thing kept, None for an empty store."""
    moments = []
    for tier in TIERS:
        (unit,) = connection.execute(f"SELECT max(unit) FROM {tier.word}_journal").fetchone()
        (key,) = connection.execute(f"SELECT max(key) FROM {tier.word}_block").fetchone()
        if unit is not None:
            moments.append((unit + 1) * tier.unit_s * NANOS)
        if key is not None:
            moments.append(((key >> SESSION_BITS) + 1) * tier.block_s * NANOS)
    (event,) = connection.execute("SELECT max(at_ns) FROM event").fetchone()
    return max([*moments, event or 0]) or None


def expire(connection: sqlite3.Connection, plan: StorePlan, now_ns: int) -> int:
    """Delete some of what is too old, within the caller's transaction. Returns rows deleted: 0 when nothing is."""
    deleted = 0
    now_s = now_ns // NANOS
    for tier, age_s in zip(TIERS, ages_s(plan), strict=True):
        if age_s:  # what is not kept at all is not written
            deleted += _drop_blocks(connection, tier, (now_s - age_s) // tier.block_s)
    limits = (("history", "end_ns", plan.history_age_s), ("event", "at_ns", plan.events_age_s))
    for table, column, age_s in limits:
        deleted += connection.execute(
            f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE {column} < ? ORDER BY id LIMIT {_ROWS})",
            (max(0, now_ns - age_s * NANOS),),
        ).rowcount
    statement = "DELETE FROM collections WHERE saved_s < ?"
    return deleted + connection.execute(statement, (now_s - max(ages_s(plan)),)).rowcount


def ages_s(plan: StorePlan) -> tuple[int, int, int, int]:
    """How long each tier is kept, finest first."""
    return (plan.seconds_age_s, plan.minutes_age_s, plan.hours_age_s, plan.days_age_s)


def too_large(connection: sqlite3.Connection, max_octets: int, *, trimming: bool) -> bool:
    """Whether something must go; once it must (`trimming`), until there is twice the room."""
    room = min(_ROOM, max_octets // 8)
    return size(connection).used > max_octets - room * (2 if trimming else 1)


def trim(connection: sqlite3.Connection, now_s: int) -> int:
    """Delete some of what the size bound takes next, within the caller's transaction. Returns rows deleted."""
    deleted = _drop_oldest(connection, "history")
    for floors_s in (FLOOR_S, (0,) * len(TIERS)):
        for tier, floor_s in zip(TIERS, floors_s, strict=True):
            if deleted:
                return deleted
            (oldest,) = connection.execute(f"SELECT min(key) FROM {tier.word}_block").fetchone()
            if oldest is not None:
                group = oldest >> SESSION_BITS
                if (group + 1) * tier.block_s <= now_s - floor_s or floors_s != FLOOR_S:
                    deleted = _drop_blocks(connection, tier, group + 1)
    return deleted or _drop_oldest(connection, "event")


def give_back(connection: sqlite3.Connection, pages: int) -> None:
    """Make the file smaller by so many of its free pages, or by all that it has."""
    # Each page is a step of the statement, which has no columns: `execute` would take the first step alone.
    connection.executescript(f"PRAGMA incremental_vacuum({pages})")


def _drop_oldest(connection: sqlite3.Connection, table: str) -> int:
    return connection.execute(
        f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} ORDER BY id LIMIT {_LARGE_ROWS})"
    ).rowcount


def _drop_blocks(connection: sqlite3.Connection, tier: Tier, before_group: int) -> int:
    """Delete blocks of spans before `before_group`, and remember from when on the tier is whole."""
    deleted = connection.execute(
        f"DELETE FROM {tier.word}_block WHERE key IN "
        f"(SELECT key FROM {tier.word}_block WHERE key < ? ORDER BY key LIMIT {_ROWS})",
        (max(0, before_group) << SESSION_BITS,),
    ).rowcount
    if deleted:
        connection.execute(
            "UPDATE tier SET kept_since_s = max(kept_since_s, ?) WHERE level = ?",
            (before_group * tier.block_s, tier.level),
        )
    return deleted
