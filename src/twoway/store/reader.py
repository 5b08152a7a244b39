"""Questions to the store, each answered from one snapshot of the file. Blocks: asyncio callers use a thread.

What a test-session measured in one unit of a tier is spread over: the tier's blocks, the tier's journal, and the
journals of the finer tiers, whose rows are not rolled up yet. All of it merged is the unit, at any moment: the
roll-up moves rows from one to the next in one transaction.
"""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twoway.analysis import samples
from twoway.analysis.notices import Condition
from twoway.store import blocks, probes
from twoway.store.schema import CHUNK_BITS, SESSION_BITS, block_key
from twoway.store.summaries import merge_readable
from twoway.store.tiers import MAX_SECOND, NANOS, TIERS, cover, tier_for

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from twoway.analysis.result import Summary
    from twoway.config.plan import SessionKey
    from twoway.store.compaction import Units
    from twoway.store.summaries import Summaries
    from twoway.store.tiers import Tier

_UNITS = 1500
"""A day has 1440 minutes: some 20 ms of merging. Windows of more units of a tier are made of coarser ones, whose
histograms may be coarser, too."""

_LOOKED_AT = 50_000
"""Probes that one question for a page looks at, so that it takes no longer than a moment."""


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time of one test-session, as much of it as was measured."""

    start_ns: int
    end_ns: int
    """The summary is of these whole seconds: what was asked for, widened to the next second, or, where seconds or
    minutes are kept no more, to the next minute or hour."""
    summary: Summary | None
    """None where nothing was measured."""
    units: int
    """Summaries that it was merged from."""
    exact: bool
    """Whether it was not widened by more than a second at either end."""


@dataclass(frozen=True, slots=True)
class Point:
    """One step of a window."""

    start_ns: int
    end_ns: int
    summary: Summary


@dataclass(frozen=True, slots=True)
class KeptEvent:
    """A notice as it was kept."""

    number: int
    at_ns: int
    name: str
    fields: dict[str, object]
    """Those of `analysis.notices.Notice`."""


@dataclass(frozen=True, slots=True)
class KeptCondition:
    """What was raised and has not been cleared."""

    condition: Condition
    raised_ns: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the probes that were asked for."""

    rows: Sequence[tuple[int, tuple[samples.Cell, ...]]]
    """Number, and a cell for each of `analysis.samples.COLUMNS`."""
    next: int
    """The number to go on with, now or later."""
    more: bool
    """Whether more of them may be there now."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """Per-probe rows of consecutive numbers."""

    first: int
    """The number of the first of them."""
    rows: probes.Probes


class Reader:
    """All questions. Every method raises `sqlite3.Error`; times are wall ns."""

    def __init__(self, connection: sqlite3.Connection, summaries: Summaries) -> None:
        self._connection = connection
        self._summaries = summaries
        self.unreadable = 0
        """Rows and summaries that could not be read."""

    def take_unreadable(self) -> int:
        """How many rows and summaries could not be read since the last call."""
        taken, self.unreadable = self.unreadable, 0
        return taken

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[None]:
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.rollback()

    def keys(self) -> list[SessionKey]:
        """All test-sessions that the store has heard of."""
        rows = self._connection.execute("SELECT connection, name FROM session ORDER BY connection, name")
        return [(connection, name) for connection, name in rows]

    def _session(self, key: SessionKey) -> int | None:
        query = "SELECT id FROM session WHERE connection = ? AND name = ?"
        row = self._connection.execute(query, key).fetchone()
        return None if row is None else int(row[0])

    def kept_since_s(self) -> list[int]:
        """For each tier the second from which on it holds everything."""
        return [int(second) for (second,) in self._connection.execute("SELECT kept_since_s FROM tier ORDER BY level")]

    def summary(self, key: SessionKey, start_ns: int, end_ns: int) -> Window:
        """Everything from `start_ns` up to `end_ns` as one, for percentiles of any window."""
        start_s, end_s = _seconds(start_ns, end_ns)
        packed: list[bytes] = []
        covered = (start_s, end_s)
        with self._snapshot():
            session = self._session(key)
            if session is not None:
                pieces = list(cover(start_s, end_s, self.kept_since_s(), self._tier(start_s, end_s).level))
                if pieces:
                    covered = (pieces[0].start_s, pieces[-1].end_s)
                for piece in pieces:
                    units = self._units(piece.tier, piece.first, piece.end, session)
                    packed += [one for unit in units.values() for one in unit]
        merged, unreadable = merge_readable(packed, self._summaries)
        self.unreadable += unreadable
        return Window(covered[0] * NANOS, covered[1] * NANOS, merged, len(packed), covered == (start_s, end_s))

    def window(self, key: SessionKey, start_ns: int, end_ns: int, resolution_ns: int | None = None) -> list[Point]:
        """A point for each step of `resolution_ns` (whole seconds) in which something was measured and is kept.

        Steps begin at multiples of the resolution since 1970. None: the finest tier that still holds `start_ns` and
        makes at most some 1500 points. Raises `ValueError` for a resolution that is not whole seconds.
        """
        if resolution_ns is not None and (resolution_ns <= 0 or resolution_ns % NANOS):
            raise ValueError(f"resolution {resolution_ns} ns is not whole seconds")
        start_s, end_s = _seconds(start_ns, end_ns)
        steps: defaultdict[int, list[bytes]] = defaultdict(list)
        with self._snapshot():
            session = self._session(key)
            step_s = self._tier(start_s, end_s).unit_s if resolution_ns is None else resolution_ns // NANOS
            if session is not None and start_s < end_s:
                tier = tier_for(step_s)
                first_s, last_s = start_s // step_s * step_s, -(-end_s // step_s) * step_s
                for unit, parts in self._units(tier, first_s // tier.unit_s, last_s // tier.unit_s, session).items():
                    steps[unit * tier.unit_s // step_s] += parts
        points = []
        for step in sorted(steps):
            merged, unreadable = merge_readable(steps[step], self._summaries)
            self.unreadable += unreadable
            if merged is not None:
                points.append(Point(step * step_s * NANOS, (step + 1) * step_s * NANOS, merged))
        return points

    def _tier(self, start_s: int, end_s: int) -> Tier:
        """The finest tier that still holds the start of a window and does not make too many units of it."""
        since = self.kept_since_s()
        fitting = (t for t in TIERS if start_s >= since[t.level] and (end_s - start_s) // t.unit_s <= _UNITS)
        return next(fitting, TIERS[-1])

    def _units(self, tier: Tier, first: int, end: int, session: int) -> Units:
        """The units from `first` up to `end` in which there is something."""
        units: defaultdict[int, list[bytes]] = defaultdict(list)
        for data, base in self._blocks(tier, first, end, session):
            for offset, packed in self._entries(data):
                if first <= base + offset < end:
                    units[base + offset].append(packed)
        chunk = session >> CHUNK_BITS
        for finer in TIERS[: tier.level + 1]:
            ratio = tier.unit_s // finer.unit_s
            table = f"{finer.word}_journal"
            query = f"SELECT unit, id FROM {table} WHERE chunk = ? AND unit >= ? AND unit < ?"
            for unit, row in self._connection.execute(query, (chunk, first * ratio, end * ratio)).fetchall():
                found = self._found(table, row, session)
                if found:
                    units[unit // ratio] += found
        return units

    def _blocks(self, tier: Tier, first: int, end: int, session: int) -> Iterator[tuple[bytes, int]]:
        """The blocks that reach into a range of units, and the unit that each begins with."""
        query = f"SELECT (SELECT min(key) FROM {tier.word}_block), (SELECT max(key) FROM {tier.word}_block)"
        oldest, newest = self._connection.execute(query).fetchone()
        if oldest is None:
            return
        first_group = max(first // tier.units, oldest >> SESSION_BITS)
        last_group = min((end - 1) // tier.units, newest >> SESSION_BITS)
        query = f"SELECT data FROM {tier.word}_block WHERE key = ?"
        for group in range(first_group, last_group + 1):
            row = self._connection.execute(query, (block_key(group, session),)).fetchone()
            if row is not None:
                yield row[0], group * tier.units

    def _entries(self, data: bytes) -> list[tuple[int, bytes]]:
        try:
            return blocks.unpack(data)
        except blocks.UnreadableError:
            self.unreadable += 1
            return []

    def _found(self, table: str, row: int, session: int) -> list[bytes]:
        """What a row of a journal has of a test-session; the others' summaries stay on the disk."""
        try:
            with self._connection.blobopen(table, "data", row, readonly=True) as blob:
                return blocks.find(blob, session)
        except blocks.UnreadableError:
            self.unreadable += 1
            return []

    def collections(self, key: SessionKey) -> bytes | None:
        """The state of its collections and history as it was kept last."""
        query = """SELECT data FROM collections JOIN session ON id = session WHERE connection = ? AND name = ?"""
        row = self._connection.execute(query, key).fetchone()
        return None if row is None else bytes(row[0])

    def all_collections(self) -> dict[SessionKey, bytes]:
        """Those of all test-sessions: what a start wants."""
        query = "SELECT connection, name, data FROM collections JOIN session ON id = session"
        return {(connection, name): data for connection, name, data in self._connection.execute(query)}

    def history(
        self, key: SessionKey, since_ns: int = 0, until_ns: int = MAX_SECOND * NANOS, *, first: int = 0
    ) -> Iterator[Numbered]:
        """Batches of per-probe rows, numbered `first` and later, as they came: those in which a probe left from
        `since_ns` up to `until_ns`. No probe comes twice, nor is one left out, while rows are joined meanwhile."""
        session = self._session(key)
        query = (
            "SELECT first, probes, data FROM history WHERE session = :session AND end_ns >= :since "
            "AND start_ns < :until AND first + probes > :first AND first >= coalesce("
            "(SELECT max(first) FROM history WHERE session = :session AND first <= :first), 0) ORDER BY first LIMIT 1"
        )
        asked = {"session": session, "since": since_ns, "until": until_ns}
        # One row at a time: a reader that takes its time must not hold a snapshot, and with it the log, all the while.
        while row := self._connection.execute(query, {**asked, "first": first}).fetchone():
            begin, count, data = row
            try:
                yield Numbered(max(first, begin), probes.unpack(data).part(max(0, first - begin)))
            except blocks.UnreadableError:
                self.unreadable += 1
            first = begin + count

    def page(self, key: SessionKey, first: int, since_ns: int, until_ns: int, limit: int) -> Page:
        """Probes numbered `first` and later that left from `since_ns` up to `until_ns`, as they came, so many at most.

        Of those that never left it is not known when they would have; they come with those that were kept with them.
        """
        found: list[tuple[int, tuple[samples.Cell, ...]]] = []
        looked_at = 0
        for batch in self.history(key, since_ns, until_ns, first=first):
            first = batch.first
            while len(batch.rows) > first - batch.first:
                place = first - batch.first
                if len(found) == limit or looked_at >= _LOOKED_AT:
                    return Page(found, first, more=True)
                piece = batch.rows.part(place, place + min(limit - len(found), _LOOKED_AT - looked_at))
                for left_ns, cells in zip(piece.t1_ns.tolist(), samples.rows(piece), strict=True):
                    if left_ns == probes.Probes.MISSING or since_ns <= left_ns < until_ns:
                        found.append((first, cells))
                    first += 1
                looked_at += len(piece)
        return Page(found, first, more=False)

    def events(
        self, since_ns: int | None = None, until_ns: int | None = None, limit: int = 1000, names: Sequence[str] = ()
    ) -> list[KeptEvent]:
        """The newest `limit` notices, oldest of them first; `names`: only these."""
        query = "SELECT id, at_ns, name, data FROM event WHERE at_ns >= ? AND at_ns < ?"
        bounds: list[int | str] = [since_ns or 0, MAX_SECOND * NANOS if until_ns is None else until_ns]
        if names:
            query += f" AND name IN ({', '.join('?' * len(names))})"
        query += " ORDER BY at_ns DESC, id DESC LIMIT ?"
        rows = self._connection.execute(query, (*bounds, *names, limit)).fetchall()
        events = []
        for number, at_ns, name, data in reversed(rows):
            try:
                fields = json.loads(data)
            except ValueError:
                self.unreadable += 1
            else:
                events.append(KeptEvent(number, at_ns, name, fields))
        return events

    def conditions(self) -> list[KeptCondition]:
        """What was raised and has not been cleared, the oldest first."""
        kept = []
        query = "SELECT about, raised_ns FROM condition ORDER BY raised_ns, id"
        for about, raised_ns in self._connection.execute(query):
            try:
                kept.append(KeptCondition(Condition(*json.loads(about)), raised_ns))
            except (ValueError, TypeError):
                self.unreadable += 1
        return kept


def _seconds(start_ns: int, end_ns: int) -> tuple[int, int]:
    """The window in whole seconds, widened."""
    return max(0, start_ns // NANOS), min(MAX_SECOND, -(-end_ns // NANOS))
