"""The store as the daemon sees it: putting never waits, asking is awaited, and its state can be shown at any time."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sqlite3
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from twoway.analysis.notices import Notice, State
from twoway.errors import StoreError
from twoway.store import probes, queued, schema
from twoway.store.file import is_damage
from twoway.store.reader import Reader
from twoway.store.tiers import MAX_SECOND
from twoway.store.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from twoway.analysis.samples import Batch
    from twoway.config.plan import SessionKey, StorePlan
    from twoway.store.reader import KeptCondition, KeptEvent, Page, Point, Window
    from twoway.store.summaries import Summaries

_T = TypeVar("_T")
_FIELDS = tuple(field.name for field in dataclasses.fields(Notice))
_written = json.JSONEncoder(separators=(",", ":")).encode


class Store:
    """Results, history and events on the disk.

    `put_*` never block: what there is no room for is counted in `state()`. What was put is in the
    answers a moment (a tenth of a second) later. Every question raises `StoreError` while there is no store to ask.
    """

    def __init__(
        self, plan: StorePlan, summaries: Summaries, on_notice: Callable[[Notice], None], *, queue_octets: int = 0
    ) -> None:
        """`on_notice` is called on the event loop when the store degrades, and when it is well again."""
        if plan.path is None:
            raise ValueError("a store needs a path")
        self._path = plan.path
        self._plan = plan
        self._summaries = summaries
        self._on_notice = on_notice
        self._queue = queued.Queue(queue_octets or queued.MAX_OCTETS)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writer = Writer(self._path, plan, self._queue, summaries, self._report)
        self._asking = ThreadPoolExecutor(1, "store-reader")
        self._reader: Reader | None = None
        self._reader_generation = 0
        self._unreadable = 0
        self._closed = False

    async def open(self) -> None:
        """Begin to write. A disk that is full, read-only or locked is no error: the state is degraded, and it goes on
        trying. Raises `StoreError` if another daemon has the store, or a later version of twoway wrote it."""
        self._loop = asyncio.get_running_loop()
        opened: Future[None] = Future()
        self._writer.start(opened)
        try:
            await asyncio.wrap_future(opened)
        except StoreError:
            self._asking.shutdown()
            self._closed = True
            raise

    async def close(self, timeout_s: float = 10.0) -> None:
        """Write what waits, and let go of the file. What cannot be written in one more attempt is counted as lost; a
        writer that has got nowhere for `timeout_s` is waited for no longer (what it has not written stays in
        `queue_items`)."""
        if self._closed:
            return
        self._closed = True
        # The reader first: whoever closes last puts the log into the file, and a reader cannot.
        await asyncio.get_running_loop().run_in_executor(self._asking, self._close_reader)
        self._asking.shutdown()
        self._queue.close()
        waiting = len(self._queue)
        while not await asyncio.to_thread(self._writer.join, timeout_s) and len(self._queue) < waiting:
            waiting = len(self._queue)

    # Putting.

    def put_second(self, second: int, summaries: Sequence[tuple[SessionKey, bytes]]) -> bool:
        """Keep the packed summaries of all test-sessions for one second of the wall clock. Of a second that was
        already put (the clock was set back) both are kept, merged. False if there was no room.
        Raises `ValueError` for a second before 1970 or after the year 2255."""
        if not 0 <= second < MAX_SECOND:
            raise ValueError(f"second {second} is of no clock")
        return self._queue.put(queued.Second(second, tuple(summaries)))

    def put_collections(self, key: SessionKey, packed: bytes) -> None:
        """Keep the state of a test-session's collections, in place of what was kept before."""
        self._queue.put_collections(key, packed)

    def put_history(self, rows: Iterable[tuple[SessionKey, Batch]], at_ns: int) -> bool:
        """Keep the rows of these batches, of test-sessions that want every probe kept. False if there was no room for
        all of them.

        `at_ns`: when that is, by the wall clock, should none of the probes have left.
        """
        if not self._plan.history_age_s:
            return True
        # All in one: were the queue locked for each of a thousand, the event loop would meet the writer there.
        return self._queue.put(*(queued.History(key, at_ns, batch, len(batch)) for key, batch in rows if len(batch)))

    def put_notice(self, notice: Notice) -> bool:
        """Keep what happened, and if it is a condition that it goes on, or no longer. False if there was no room."""
        data = None
        if self._plan.events_age_s:
            # As dataclasses.asdict has it, which copies every value deeply: ten thousand routes may move at once.
            fields = {name: value for name in _FIELDS if (value := getattr(notice, name)) is not None}
            if notice.figures is not None:
                fields["figures"] = dataclasses.asdict(notice.figures)
            data = _written(fields)
        elif notice.state is State.ONCE:
            return True
        about = json.dumps(notice.condition)
        return self._queue.put(queued.Event(notice.at_ns, notice.name, data, notice.state, about))

    async def flush(self) -> None:
        """Return once everything put before is on the disk. Raises `StoreError` if it cannot be written now."""
        await self._call(lambda _: None)

    async def clear(self, what: str, key: SessionKey | None = None) -> None:
        """Delete `results`, `history` or `events` (of one test-session; events only all). Raises `StoreError`."""

        def act(connection: sqlite3.Connection) -> None:
            if key is None:
                connection.execute(f"DELETE FROM {_CLEARED[what]}")
            else:
                which = "(SELECT id FROM session WHERE connection = ? AND name = ?)"
                connection.execute(f"DELETE FROM {_CLEARED[what]} WHERE session = {which}", key)

        if what not in _CLEARED or (what == "events" and key is not None):
            raise ValueError(f"{what} cannot be cleared")
        await self._call(act)

    async def _call(self, act: Callable[[sqlite3.Connection], None]) -> None:
        done: Future[None] = Future()
        if self._writer.reason is not None or not self._queue.put(queued.Call(act, done)):
            raise StoreError(str(self._path), self._writer.reason or "it is closed")
        # The writer does it whether or not somebody still waits, and must not find what it answers to cancelled.
        await asyncio.shield(asyncio.wrap_future(done))

    # Asking.

    async def summary(self, key: SessionKey, start_ns: int, end_ns: int) -> Window:
        """Everything of a test-session from `start_ns` up to `end_ns` as one summary."""
        return await self._ask(lambda reader: reader.summary(key, start_ns, end_ns))

    async def window(
        self, key: SessionKey, start_ns: int, end_ns: int, resolution_ns: int | None = None
    ) -> list[Point]:
        """The same in steps. `Reader.window` says which."""
        return await self._ask(lambda reader: reader.window(key, start_ns, end_ns, resolution_ns))

    async def collections(self) -> dict[SessionKey, bytes]:
        """What was kept of collections, of all test-sessions."""
        return await self._ask(lambda reader: reader.all_collections())

    async def history(self, key: SessionKey, since_ns: int, until_ns: int) -> list[probes.Probes]:
        """Batches of per-probe rows, as they came."""
        return await self._ask(lambda reader: [batch.rows for batch in reader.history(key, since_ns, until_ns)])

    async def page(self, key: SessionKey, first: int, since_ns: int, until_ns: int, limit: int) -> Page:
        """Per-probe rows by number. `Reader.page` says which."""
        return await self._ask(lambda reader: reader.page(key, first, since_ns, until_ns, limit))

    async def events(
        self,
        since_ns: int | None = None,
        limit: int = 1000,
        names: Sequence[str] = (),
        until_ns: int | None = None,
    ) -> list[KeptEvent]:
        """The newest `limit` notices that were kept, oldest of them first."""
        return await self._ask(lambda reader: reader.events(since_ns, until_ns, limit, names))

    async def conditions(self) -> list[KeptCondition]:
        """What was raised and not cleared, also before the last restart."""
        return await self._ask(lambda reader: reader.conditions())

    async def keys(self) -> list[SessionKey]:
        """All test-sessions that the store has heard of."""
        return await self._ask(lambda reader: reader.keys())

    async def _ask(self, question: Callable[[Reader], _T]) -> _T:
        if self._closed:
            raise StoreError(str(self._path), "it is closed")
        return await asyncio.get_running_loop().run_in_executor(self._asking, self._answer, question)

    def _answer(self, question: Callable[[Reader], _T]) -> _T:
        """In the reading thread."""
        try:
            if self._reader is not None and self._reader_generation != self._writer.generation:
                self._close_reader()
            if self._reader is None:
                self._reader_generation = self._writer.generation
                self._reader = Reader(schema.connect_read_only(self._path), self._summaries)
            answer = question(self._reader)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._close_reader()
            if is_damage(error):
                self._writer.damaged(str(error), self._reader_generation)
            raise StoreError(str(self._path), f"it cannot be read: {error}") from error
        self._unreadable += self._reader.take_unreadable()
        return answer

    def _close_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            self._unreadable += reader.take_unreadable()
            reader.close()

    # Showing.

    def state(self) -> dict[str, int | str | bool]:
        """How it is: `state` (`ok`, `degraded` or `closed`) and `reason`, sizes, what was written, what was lost."""
        writer = self._writer
        return {
            "state": "closed" if self._closed else "ok" if writer.reason is None else "degraded",
            "reason": writer.reason or "",
            "path": str(self._path),
            "octets": writer.file_octets + writer.log_octets,
            "used_octets": writer.used_octets,
            "max_octets": self._plan.max_octets,
            "disk_free_octets": writer.free_octets,
            "queue_items": len(self._queue),
            "queue_octets": self._queue.octets,
            "pending_spans": writer.pending_spans,
            **{f"written_{kind}": count for kind, count in writer.written.items()},
            **{f"lost_queue_full_{kind}": count for kind, count in self._queue.refused.items()},
            **{f"lost_{why}": count for why, count in writer.lost.items()},
            "unreadable": self._unreadable,
            "retries": writer.retries,
            "set_aside": writer.set_aside,
        }

    def _report(self, reason: str | None) -> None:
        """In the writer's thread: tell the daemon."""
        state, message = (
            (State.CLEARED, f"store {self._path}: results are kept again")
            if reason is None
            else (State.RAISED, f"store {self._path}: {reason}")
        )
        notice = Notice(at_ns=time.time_ns(), name="store-degraded", state=state, message=message)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._on_notice, notice)


_CLEARED = {"results": "collections", "history": "history", "events": "event"}
