"""The thread that writes. It alone has the file open for writing; everything else only puts into its queue.

Theory of operation. Whatever waits is written in one transaction, at most ten times a second; the commit waits for the
disk (`synchronous = FULL`), so that what was put a second ago survives the loss of power, not only `kill -9`. Between
such commits the thread does chores, each in a short transaction of its own that does not wait for the disk
(`synchronous = NORMAL`; the next commit that does covers it, as the log is one sequence): rolling up what is complete,
deleting what is too old or too much, giving free pages back. A chore that power cuts off was never done.

A failure rolls back, and everything waits on: the state is then "degraded", a notice says so, and the thread tries
again after a pause that doubles up to half a minute. Locked, full, read-only and unreachable are no more than that. A
chore that fails is put off likewise, and what is measured is written meanwhile. A damaged file is renamed aside and a
new one begun; one that somebody has removed or replaced is let go of.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from typing import TYPE_CHECKING

from twoway.analysis.notices import State
from twoway.errors import StoreError
from twoway.store import compaction, file, history, retention, schema
from twoway.store.queued import KINDS, Call, Event, History, Second
from twoway.store.tiers import NANOS, TIERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from concurrent.futures import Future
    from pathlib import Path

    from twoway.config.plan import SessionKey, StorePlan
    from twoway.store.queued import Item, Queue
    from twoway.store.summaries import Summaries
    from twoway.store.tiers import Tier

_BATCH = 500
"""Items written in one transaction."""
_LINGER_S = 0.1
"""Pause after a commit, in which more gathers."""
_HOUSEKEEPING_S = 20.0
_SIZES_S = 1.0
"""Between looks at the sizes that `state` shows, and the bound that is kept."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 30.0
_VACUUM_PAGES = 256


class Writer:
    """See above. `report(reason)` is called in the thread, with None when all is well again."""

    def __init__(
        self, path: Path, plan: StorePlan, queue: Queue, summaries: Summaries, report: Callable[[str | None], None]
    ) -> None:
        self._path = path
        self._plan = plan
        self._queue = queue
        self._summaries = summaries
        self._report = report
        self._lock: file.Lock | None = None
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        """Device and inode of the file."""
        self._sessions: dict[SessionKey, int] = {}
        self._pending: dict[Tier, set[tuple[int, int]]] = {tier: set() for tier in TIERS}
        self._loose: dict[int, list[int]] = {}
        """Test-session -> rows of its history that are to be joined."""
        self._newest_s = 0
        """The second that was put last: its minute, hour and day are not complete."""
        self._highest_s = 0
        self._horizon = retention.Horizon(None)
        self._pause_s = 0.0
        self._chore_pause_s = 0.0
        self._next_chore = 0.0
        self._damage: tuple[int, str] | None = None
        """Of which generation a reader found the file damaged, and how."""
        self._trimming = False
        self._next_housekeeping = 0.0
        self._next_sizes = 0.0
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)
        self.opened: Future[None] | None = None
        self.generation = 0
        """Grows when another file takes the name: readers then open again."""
        self.reason: str | None = None
        """Why it is degraded, None if it is not."""
        self.written = {"seconds": 0, "summaries": 0, "history": 0, "events": 0, "collections": 0}
        self.lost = {"unreadable": 0, "at_close": 0}
        self.retries = 0
        self.set_aside = 0
        self.file_octets = self.log_octets = self.used_octets = self.free_octets = 0

    def start(self, opened: Future[None]) -> None:
        """Begin. `opened` is set after the first attempt to open the file: to an exception if no other will help."""
        self.opened = opened
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Whether it has ended in time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def pending_spans(self) -> int:
        """Spans that are in journals: what goes on, and what is still to be rolled up."""
        return sum(len(spans) for spans in self._pending.values())

    def damaged(self, what: str, generation: int) -> None:
        """A reader found the file of this generation damaged: perhaps it has been set aside meanwhile."""
        self._damage = (generation, what)

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except StoreError as error:
            self._fail(error.reason)
            self._answer(error)
        except Exception as error:  # noqa: BLE001  (the last resort: measuring goes on, and the state says this)
            self._fail(f"internal error: {type(error).__name__}: {error}: please report this")
            self._answer(None)
        finally:
            self._give_up()
            self._end()

    def _turn(self) -> bool:
        """One round: open if need be, write what waits, do a chore if one is due, else wait. False at the end."""
        closing = self._queue.closing
        try:
            if self._damage is not None and self._damage[0] == self.generation:
                raise file.DamagedError(self._damage[1])
            if self._connection is not None and self._identity() != self._opened:
                self._let_go()
            connection = self._connection or self._open()
            wrote = self._write(connection)
            if closing and not wrote:
                return False
            if not wrote and self.reason is not None and not self._chore_pause_s:
                self._prove(connection)
            self._pause_s = 0.0
        except (sqlite3.Error, OSError) as error:
            self._recover(error)
            return not closing  # at the end one more attempt is all there is time for
        busy = self._try_chore(connection)
        if not self._chore_pause_s:
            self._recovered()
        if not busy:
            (self._queue.linger if wrote else self._queue.wait)(_LINGER_S if wrote else _SIZES_S)
        return True

    # The file.

    def _open(self) -> sqlite3.Connection:
        if self._lock is None:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._lock = file.Lock(self._path)
        connection = file.open_checked(self._path)
        try:
            page = int(connection.execute("PRAGMA page_size").fetchone()[0])
            connection.execute(f"PRAGMA max_page_count = {max(64, self._plan.max_octets // page)}")
            self._pending = {tier: set(compaction.pending(connection, tier)) for tier in TIERS}
            newest_ns = retention.newest_ns(connection)
            self._horizon = retention.Horizon(newest_ns)
            self._newest_s = self._newest_s or (newest_ns or 0) // NANOS - 1
            self._highest_s = max(self._highest_s, self._newest_s)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._opened = self._identity()
        self._sessions, self._loose = {}, {}
        self._answer(None)
        return connection

    def _answer(self, error: StoreError | None) -> None:
        """The first attempt to open is over."""
        opened, self.opened = self.opened, None
        if opened is not None and not opened.cancelled():
            if error is None:
                opened.set_result(None)
            else:
                opened.set_exception(error)

    def _recover(self, error: sqlite3.Error | OSError) -> None:
        """Undo, and try again later; with another file if this one is damaged."""
        self._fail(_reason(error))
        self._answer(None)
        self._sessions = {}
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.rollback()
                self._make_room(connection, error)
        if file.is_damage(error):
            self._close()
            try:
                self._begin_anew()
            except (sqlite3.Error, OSError) as other:
                self._fail(f"{_reason(error)}, and it cannot be set aside: {_reason(other)}")
        self._pause_s = min(max(_FIRST_PAUSE_S, 2 * self._pause_s), _LONGEST_PAUSE_S)
        self._fail_calls()
        self._queue.linger(self._pause_s)
        self.retries += 1

    def _identity(self) -> tuple[int, int] | None:
        """Which file has the name now, None if none has."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    def _let_go(self) -> None:
        """Somebody removed the file, or put another in its place: what we wrote on would go nowhere. The log is the
        old file's, and another one must not find it."""
        self._fail("it was removed or replaced while it was being written: what it had is gone, it goes on from here")
        self._close()
        for suffix in ("-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        if self._lock is not None:  # which may have gone with it
            self._lock.release()
            self._lock = None
        self.generation += 1

    def _begin_anew(self) -> None:
        aside = file.set_aside(self._path)
        self._damage = None
        self.set_aside += 1
        self.generation += 1
        self._fail(f"{self.reason}; set aside as {aside.name}")
        file.salvage(aside, self._open())

    def _fail(self, reason: str) -> None:
        if self.reason is None:
            self._report(reason)
        self.reason = reason

    def _recovered(self) -> None:
        if self.reason is not None:
            self.reason = None
            self._report(None)

    def _prove(self, connection: sqlite3.Connection) -> None:
        """Write something, to see whether one can."""
        with _transaction(connection):
            connection.execute("UPDATE tier SET kept_since_s = kept_since_s")

    def _make_room(self, connection: sqlite3.Connection, error: sqlite3.Error | OSError) -> None:
        """After a write that was too much for the size bound, which is not the disk's."""
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
            (most,) = connection.execute("PRAGMA max_page_count").fetchone()
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            if pages * 10 > most * 9:
                self._trim(connection)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _end(self) -> None:
        self._close()
        if self._lock is not None:
            self._lock.release()

    # What waits.

    def _write(self, connection: sqlite3.Connection) -> bool:
        """Write what waits in one transaction, which is on the disk when this returns. False if nothing does."""
        items = self._queue.waiting(_BATCH)
        collections = self._queue.take_collections()
        if not items and not collections:
            return False
        calls = [item for item in items if isinstance(item, Call)]
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            loose: list[tuple[int, int]] = []
            units = self._write_items(connection, items, loose)
            self._write_collections(connection, collections)
            connection.execute("COMMIT")
        except BaseException:
            self._queue.return_collections(collections)
            raise
        self._queue.drop(len(items))
        self._pending[TIERS[0]] |= units
        for session, row in loose:
            self._loose.setdefault(session, []).append(row)
        self._count(items, collections)
        for call in calls:  # now whoever waited finds it all done
            call.done.set_result(None)
        return True

    def _write_items(
        self, connection: sqlite3.Connection, items: list[Item], loose: list[tuple[int, int]]
    ) -> set[tuple[int, int]]:
        """Returns (span, chunk) of what went into the journal; `loose` gets (test-session, row) of its small rows."""
        units: set[tuple[int, int]] = set()
        for item in items:
            match item:
                case Second():
                    numbered = [(self._number(connection, key), packed) for key, packed in item.summaries]
                    compaction.write_journal(connection, TIERS[0], item.second, numbered)
                    group = item.second // TIERS[0].units
                    units |= {(group, number >> schema.CHUNK_BITS) for number, _ in numbered}
                    self._newest_s = item.second
                    self._highest_s = max(self._highest_s, item.second)
                case History():
                    session = self._number(connection, item.key)
                    row = history.write(connection, session, item)
                    if row is not None:
                        loose.append((session, row))
                case Event():
                    _write_event(connection, item)
                case Call():
                    item.act(connection)
        return units

    def _write_collections(self, connection: sqlite3.Connection, collections: Mapping[SessionKey, bytes]) -> None:
        now_s = time.time_ns() // NANOS
        rows = [(self._number(connection, key), now_s, packed) for key, packed in collections.items()]
        connection.executemany("INSERT OR REPLACE INTO collections (session, saved_s, data) VALUES (?, ?, ?)", rows)

    def _number(self, connection: sqlite3.Connection, key: SessionKey) -> int:
        """The test-session's number, given now if it has none."""
        number = self._sessions.get(key)
        if number is None:
            row = connection.execute("SELECT id FROM session WHERE connection = ? AND name = ?", key).fetchone()
            if row is None:
                row = connection.execute(
                    "INSERT INTO session (connection, name, created_s) VALUES (?, ?, ?) RETURNING id",
                    (*key, time.time_ns() // NANOS),
                ).fetchone()
            number = self._sessions[key] = int(row[0])
        return number

    def _count(self, items: list[Item], collections: Mapping[SessionKey, bytes]) -> None:
        self.written["collections"] += len(collections)
        for item in items:
            if not isinstance(item, Call) and not (isinstance(item, Event) and item.data is None):
                self.written[KINDS[type(item)]] += 1
            if isinstance(item, Second):
                self.written["summaries"] += len(item.summaries)

    def _fail_calls(self) -> None:
        """Nobody is to wait for a disk that may never come back."""
        for item in self._queue.waiting(len(self._queue)):
            if isinstance(item, Call):
                self._queue.remove(item)
                item.done.set_exception(StoreError(str(self._path), self.reason or "it is closed"))

    def _give_up(self) -> None:
        """The end: count what could not be written any more."""
        self._queue.close()
        self._fail_calls()
        left = self._queue.waiting(len(self._queue))
        self.lost["at_close"] += len(left) + len(self._queue.take_collections())
        self._queue.drop(len(left))

    # Chores.

    def _try_chore(self, connection: sqlite3.Connection) -> bool:
        """Do one, unless that failed a moment ago. Returns whether one was due."""
        now = time.monotonic()
        if now < self._next_chore:
            return False
        try:
            busy = self._chore(connection, now)
        except (sqlite3.Error, OSError) as error:
            if self._identity() != self._opened:
                return False  # it has gone, which the next turn sees
            if file.is_damage(error):
                self._damage = (self.generation, str(error))
            with contextlib.suppress(sqlite3.Error):
                self._make_room(connection, error)
            self._chore_pause_s = min(max(_FIRST_PAUSE_S, 2 * self._chore_pause_s), _LONGEST_PAUSE_S)
            self._next_chore = now + self._chore_pause_s
            self._fail(_reason(error))
            return False
        self._chore_pause_s = 0.0
        return busy

    def _chore(self, connection: sqlite3.Connection, now: float) -> bool:
        connection.execute("PRAGMA synchronous = NORMAL")
        if now >= self._next_sizes:
            self._next_sizes = now + _SIZES_S
            self._look(connection)
        self._trimming = retention.too_large(connection, self._plan.max_octets, trimming=self._trimming)
        if self._trimming:
            return self._trim(connection)
        return (
            self._roll_up(connection)
            or self._join(connection)
            or self._expire(connection, now)
            or self._shrink(connection)
        )

    def _roll_up(self, connection: sqlite3.Connection) -> bool:
        """What is complete by now: every span in a journal but the one of the newest second."""
        for tier, keep in zip(TIERS, retention.ages_s(self._plan), strict=True):
            current = self._newest_s // tier.block_s
            due = next(((group, chunk) for group, chunk in self._pending[tier] if group != current), None)
            if due is None:
                continue
            with _transaction(connection):
                unreadable = compaction.roll_up(connection, tier, *due, self._summaries, keep=keep > 0)
            self.lost["unreadable"] += unreadable
            self._pending[tier].discard(due)
            if tier.level + 1 < len(TIERS):
                coarser = TIERS[tier.level + 1]
                self._pending[coarser].add((due[0] // coarser.units, due[1]))
            return True
        return False

    def _join(self, connection: sqlite3.Connection) -> bool:
        session = next((session for session, rows in self._loose.items() if len(rows) >= history.MANY), None)
        if session is None:
            return False
        with _transaction(connection):
            unreadable = history.join(connection, session, self._loose[session][: history.MANY])
        del self._loose[session][: history.MANY]
        self.lost["unreadable"] += unreadable
        return True

    def _expire(self, connection: sqlite3.Connection, now: float) -> bool:
        if now < self._next_housekeeping:
            return False
        with _transaction(connection):
            deleted = retention.expire(connection, self._plan, self._horizon.at(time.time_ns(), time.monotonic_ns()))
        if not deleted:
            self._next_housekeeping = now + _HOUSEKEEPING_S
        return deleted > 0

    def _trim(self, connection: sqlite3.Connection) -> bool:
        with _transaction(connection):
            deleted = retention.trim(connection, self._highest_s)
        return deleted > 0

    def _shrink(self, connection: sqlite3.Connection) -> bool:
        """Give pages back, should the file be larger than it may: the bound was lowered."""
        if self.file_octets <= self._plan.max_octets or self.file_octets == self.used_octets:
            return False
        retention.give_back(connection, _VACUUM_PAGES)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._look(connection)
        return True

    def _look(self, connection: sqlite3.Connection) -> None:
        """Note the sizes that `state` shows."""
        now = retention.size(connection)
        self.file_octets, self.used_octets = now.file, now.used
        log = self._path.with_name(f"{self._path.name}-wal")
        self.log_octets = log.stat().st_size if log.exists() else 0
        system = os.statvfs(self._path)
        self.free_octets = system.f_bavail * system.f_frsize


def _write_event(connection: sqlite3.Connection, event: Event) -> None:
    """The event, and in the same transaction the condition that it begins or ends."""
    if event.data is not None:
        statement = "INSERT INTO event (at_ns, name, data) VALUES (?, ?, ?)"
        connection.execute(statement, (event.at_ns, event.name, event.data))
    if event.state is State.RAISED:
        statement = "INSERT OR IGNORE INTO condition (about, raised_ns) VALUES (?, ?)"
        connection.execute(statement, (event.about, event.at_ns))
    elif event.state is State.CLEARED:
        connection.execute("DELETE FROM condition WHERE about = ?", (event.about,))


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.rollback()
        raise


def _reason(error: sqlite3.Error | OSError) -> str:
    """What is wrong, in words that say what to do."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return f"{_REMEDIES[code]} ({error})" if code in _REMEDIES else str(error)


_REMEDIES = {
    sqlite3.SQLITE_FULL: "no room: free some on the disk, or raise max-size",
    sqlite3.SQLITE_BUSY: "another process has it locked: end what else writes it",
    sqlite3.SQLITE_READONLY: "it may not be written: see its owner and mode, and the file system's mount options",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: see that its directory exists and may be written",
    sqlite3.SQLITE_IOERR: "the disk fails: see the kernel's log",
    sqlite3.SQLITE_CORRUPT: "it is damaged",
    sqlite3.SQLITE_NOTADB: "it is no database",
}
