"""What was put is there again: soon, after a restart, rolled up, and until it is too old or too much."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING

import pytest

from twoway.analysis import samples
from twoway.analysis.notices import Figures, Notice, State
from twoway.errors import StoreError
from twoway.store import Reader, Store, probes, schema
from twoway.store.history import MANY

from .counted import KEY, LONG_S, NANOS, NOON_S, SUMMARIES, batch, packed, store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

OTHER = ("core-fra", "video")
BOUND_S = 60.0
"""Patience: a host that is busy takes its time for a day of seconds, and nothing is measured by it."""


@contextlib.asynccontextmanager
async def opened(path: Path, **changes: int) -> AsyncIterator[Store]:
    kept = store(path, None, 0, **changes)
    await kept.open()
    try:
        yield kept
    finally:
        await kept.close()


async def until(condition: Callable[[], bool], what: str) -> None:
    async with asyncio.timeout(BOUND_S):
        while not condition():  # noqa: ASYNC110  (another thread's doing, which sets no event)
            await asyncio.sleep(0.01)
    assert condition(), what


def rows(path: Path, table: str) -> int:
    with contextlib.closing(schema.connect_read_only(path)) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608  (of this file)


async def sent(kept: Store, start_s: int, end_s: int, key: tuple[str, str] = KEY) -> int:
    window = await kept.summary(key, start_s * NANOS, end_s * NANOS)
    return 0 if window.summary is None else window.summary.counter("sent")


async def test_a_second_is_in_the_answers_once_it_is_flushed(tmp_path: Path) -> None:
    async with opened(tmp_path / "store.db") as kept:
        assert kept.put_second(NOON_S, [(KEY, packed(5, 7)), (OTHER, packed(9))])
        await kept.flush()
        window = await kept.summary(KEY, NOON_S * NANOS, (NOON_S + 1) * NANOS)
        assert window.summary is not None
        assert window.summary.distribution("round_trip").max_ns == 7
        assert window.exact
        assert await sent(kept, NOON_S, NOON_S + 1, OTHER) == 1
        assert await sent(kept, NOON_S + 1, NOON_S + 9) == 0
        assert await kept.keys() == [OTHER, KEY]
        assert kept.state()["state"] == "ok"
        assert kept.state()["written_summaries"] == 2


async def test_complete_spans_are_rolled_up_and_nothing_is_counted_twice(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    seconds = 2 * 86400
    async with opened(path) as kept:
        for second in range(NOON_S, NOON_S + seconds, 20):
            assert kept.put_second(second, [(KEY, packed(second - NOON_S))])
        await kept.flush()
        await until(lambda: rows(path, "hour_block") == 2, "two complete days of hours")
        await until(lambda: rows(path, "second_journal") == 3, "no more than the minute that may go on")
        await until(lambda: rows(path, "minute_block") == 47, "what is complete of it is rolled up in its turn")
        await until(lambda: rows(path, "hour_journal") == 11, "as above")
        assert await sent(kept, NOON_S, NOON_S + seconds) == seconds // 20
        for start, end in ((0, 1), (19, 41), (3599, 7201), (43199, 129661), (59, seconds - 3601)):
            expected = len(range(-(-start // 20), -(-end // 20)))
            assert await sent(kept, NOON_S + start, NOON_S + end) == expected
        window = await kept.summary(KEY, NOON_S * NANOS, (NOON_S + seconds) * NANOS)
        assert window.exact
        assert window.units < 150
        points = await kept.window(KEY, NOON_S * NANOS, (NOON_S + 86400) * NANOS, 3600 * NANOS)
        assert [point.summary.counter("sent") for point in points] == [180] * 24
        assert [point.start_ns for point in points] == [(NOON_S + 3600 * n) * NANOS for n in range(24)]
        five = await kept.window(KEY, NOON_S * NANOS, (NOON_S + 3600) * NANOS, 300 * NANOS)
        assert [point.summary.counter("sent") for point in five] == [15] * 12
        with pytest.raises(ValueError, match="not whole seconds"):
            await kept.window(KEY, 0, NANOS, 7)


async def test_a_restart_goes_on_where_the_last_end_was(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    for life in range(4):
        async with opened(path) as kept:
            for second in range(45):
                kept.put_second(NOON_S + life * 45 + second, [(KEY, packed(1))])
            await kept.flush()
    async with opened(path) as kept:
        await until(lambda: rows(path, "second_block") == 2, "the complete minutes")
        assert await sent(kept, NOON_S, NOON_S + 180) == 180
        assert rows(path, "second_journal") == 60


async def test_a_clock_set_back_by_an_hour_adds_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with opened(path) as kept:
        for lap in (1, 2):
            for second in range(NOON_S, NOON_S + 3700):
                kept.put_second(second, [(KEY, packed(lap))])
            await kept.flush()
            await until(lambda: rows(path, "minute_block") == 1, "the complete hour")
        await until(lambda: rows(path, "minute_journal") <= 2, "the second lap is rolled up as well")
        assert await sent(kept, NOON_S, NOON_S + 3600) == 7200
        assert await sent(kept, NOON_S + 60, NOON_S + 60 + 61) == 122
        points = await kept.window(KEY, NOON_S * NANOS, (NOON_S + 3600) * NANOS, 60 * NANOS)
        assert [point.summary.counter("sent") for point in points] == [120] * 60


async def test_a_clock_that_leaps_ahead_and_back_expires_nothing(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with opened(path) as kept:
        kept.put_second(NOON_S, [(KEY, packed(1))])
        kept.put_second(NOON_S + 10**9, [(KEY, packed(2))])
        kept.put_second(NOON_S + 60, [(KEY, packed(3))])
        await kept.flush()
        await until(lambda: rows(path, "second_block") == 2, "both minutes")
        assert await sent(kept, NOON_S, NOON_S + 61) == 2
        assert await sent(kept, NOON_S, NOON_S + 10**9 + 1) == 3


async def test_collections_keep_the_newest_only(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with opened(path) as kept:
        for number in range(100):
            kept.put_collections(KEY, b"%d" % number)
        kept.put_collections(OTHER, b"other")
    async with opened(path) as kept:
        assert await kept.collections() == {KEY: b"99", OTHER: b"other"}
        await kept.clear("results", KEY)
        assert await kept.collections() == {OTHER: b"other"}


async def test_probes_are_kept_for_those_that_want_them(tmp_path: Path) -> None:
    first = batch((NOON_S * NANOS, 0, 500), (NOON_S * NANOS + 5, 4, None))
    second = batch(((NOON_S + 1) * NANOS, 0, 700))
    async with opened(tmp_path / "store.db") as kept:
        assert kept.put_history([(KEY, second)], 0)
        assert kept.put_history([(KEY, first)], 0)
        assert kept.put_history([(KEY, batch())], 0)
        await kept.flush()
        batches = await kept.history(KEY, 0, (NOON_S + 2) * NANOS)
        assert [list(samples.rows(rows)) for rows in batches] == [list(samples.rows(b)) for b in (second, first)]
        assert len(await kept.history(KEY, (NOON_S + 1) * NANOS, (NOON_S + 2) * NANOS)) == 1
        assert await kept.history(OTHER, 0, (NOON_S + 2) * NANOS) == []
        await kept.clear("history", KEY)
        assert await kept.history(KEY, 0, (NOON_S + 2) * NANOS) == []
        # None of these left: they are of the moment at which that was noticed.
        assert kept.put_history([(KEY, batch((probes.Probes.MISSING, 8, None)))], NOON_S * NANOS)
        await kept.flush()
        assert len(await kept.history(KEY, NOON_S * NANOS, NOON_S * NANOS + 1)) == 1
        assert await kept.history(KEY, NOON_S * NANOS + 1, NOON_S * NANOS + 2) == []


async def test_seconds_of_probes_are_joined_and_none_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    count = 3 * MANY + 5
    async with opened(path) as kept:
        for number in range(count):
            for key in (KEY, OTHER):
                kept.put_history([(key, batch(((NOON_S + number) * NANOS, 0, number)))], 0)
        await kept.flush()
        await until(lambda: rows(path, "history") == 2 * (3 + 5), "three large rows of each, and what is left")
        for key in (KEY, OTHER):
            batches = await kept.history(key, 0, (NOON_S + count) * NANOS)
            assert [memoryview(each.round_trip_ns).tolist() for each in batches[:3]] == [
                list(range(first, first + MANY)) for first in range(0, 3 * MANY, MANY)
            ]
            assert sum(map(len, batches)) == count
        (middle, *_) = await kept.history(KEY, (NOON_S + MANY + 3) * NANOS, (NOON_S + MANY + 4) * NANOS)
        assert len(middle) == MANY
        assert kept.state()["unreadable"] == kept.state()["lost_unreadable"] == 0


async def paged(kept: Store, limit: int, first: int = 0) -> tuple[list[int], list[samples.Cell], int]:
    """Numbers and round trips of everything from this number on, and where to go on."""
    numbers, values, more = [], [], True
    at = [column.name for column in samples.COLUMNS].index("round_trip_ns")
    while more:
        page = await kept.page(KEY, first, 0, 1 << 62, limit)
        assert len(page.rows) <= limit
        numbers += [number for number, _ in page.rows]
        values += [cells[at] for _, cells in page.rows]
        first, more = page.next, page.more
    return numbers, values, first


@pytest.mark.parametrize("limit", [1, 7, 5000])
async def test_who_reads_probes_page_by_page_gets_each_once_while_more_come_and_rows_are_joined(
    tmp_path: Path, limit: int
) -> None:
    path = tmp_path / "store.db"
    seconds, numbers, values, first = 3 * MANY, [], [], 0
    async with opened(path) as kept:
        for second in range(seconds):
            # The wall clock goes back now and then: the order in which they came is that of their numbers.
            at_ns = (NOON_S + second - 50 * (second % 3)) * NANOS
            kept.put_history([(KEY, batch(*((at_ns + probe, 0, 10 * second + probe) for probe in range(10))))], 0)
            kept.put_history([(OTHER, batch((at_ns, 0, 1)))], 0)
            if second % 5 == 0:
                await kept.flush()
                page = await kept.page(KEY, first, 0, 1 << 62, limit)
                numbers += [number for number, _ in page.rows]
                values += [cells[3] for _, cells in page.rows]
                first = page.next
        await kept.flush()
        await until(lambda: rows(path, "history") == 2 * 3, "all are joined")
        rest = await paged(kept, limit, first)
        assert numbers + rest[0] == list(range(10 * seconds))
        assert values + rest[1] == list(range(10 * seconds))
        assert rest[2] == 10 * seconds
        inside = await kept.page(KEY, 0, NOON_S * NANOS, NOON_S * NANOS + 5, 5000)
        assert [cells[3] for _, cells in inside.rows] == [0, 1, 2, 3, 4]
        # What is deleted gives no number away.
        await kept.clear("history", KEY)
    async with opened(path) as kept:
        kept.put_history([(KEY, batch((NOON_S * NANOS, 0, 5)))], 0)
        await kept.flush()
        assert await paged(kept, limit) == ([10 * seconds], [5], 10 * seconds + 1)


async def test_rows_that_cannot_be_read_shift_no_number(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with opened(path) as kept:
        for second in range(MANY - 1):
            kept.put_history([(KEY, batch(*(((NOON_S + second) * NANOS + probe, 0, second) for probe in (0, 1))))], 0)
        await kept.flush()
        with contextlib.closing(sqlite3.connect(path)) as other, other:
            other.execute("UPDATE history SET data = x'00' WHERE first = 20")
        kept.put_history([(KEY, batch(((NOON_S + MANY) * NANOS, 0, 7)))], 0)
        await kept.flush()
        await until(lambda: rows(path, "history") == 2, "what is before it and what is after it is joined")
        assert kept.state()["lost_unreadable"] == 1
        numbers, values, _ = await paged(kept, 11)
        assert numbers == [number for number in range(2 * MANY - 1) if number not in (20, 21)]
        assert values == [7 if number == 2 * MANY - 2 else number // 2 for number in numbers]


async def test_probes_of_an_older_file_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with contextlib.closing(schema.connect(path)) as connection:
        for script in schema.MIGRATIONS[:2]:
            connection.executescript(script)
        connection.execute("PRAGMA user_version = 2")
        connection.execute("INSERT INTO session VALUES (1, ?, ?, 0), (2, ?, ?, 0)", (*KEY, *OTHER))
        for session, second in ((1, 1), (2, 1), (1, 0), (1, 2)):
            old = batch(*(((NOON_S + second) * NANOS + probe, 0, second) for probe in range(second + 1)))
            span_ns = probes.span_ns(old) or ()
            statement = "INSERT INTO history (session, start_ns, end_ns, probes, data) VALUES (?, ?, ?, ?, ?)"
            connection.execute(statement, (session, *span_ns, len(old), probes.pack(old)))
    async with opened(path) as kept:
        assert await paged(kept, 4) == (list(range(6)), [0, 1, 1, 2, 2, 2], 6)
        kept.put_history([(KEY, batch((NOON_S * NANOS, 0, 9)))], 0)
        await kept.flush()
        assert await paged(kept, 4, 6) == ([6], [9], 7)


async def test_who_reads_probes_while_they_are_joined_gets_each_once(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with opened(path) as kept:
        for number in range(MANY - 1):
            kept.put_history([(KEY, batch(((NOON_S + number) * NANOS, 0, number)))], 0)
        await kept.flush()
        with contextlib.closing(Reader(schema.connect_read_only(path), SUMMARIES)) as reader:
            reading = reader.history(KEY)
            seen = [next(reading) for _ in range(10)]
            kept.put_history([(KEY, batch(((NOON_S + MANY) * NANOS, 0, MANY)))], 0)
            await kept.flush()
            await until(lambda: rows(path, "history") == 1, "all are one row")
            seen += reading
        assert seen[10].first == 10
        assert len(seen) == 11
        found = [value for each in seen for value in memoryview(each.rows.round_trip_ns).tolist()]
        assert found == [*range(MANY - 1), MANY]
        (whole,) = await kept.history(KEY, 0, (NOON_S + MANY + 1) * NANOS)
        assert len(whole) == MANY


async def test_events_are_kept_with_all_their_fields(tmp_path: Path) -> None:
    figures = Figures("192.0.2.1", None, "unknown", 9, 8, (1, 2, 3, 4), None, None, 12, 5, None)
    names = ("test-failure", "rtt-exceeded", "test-failure")
    async with opened(tmp_path / "store.db") as kept:
        for number, name in enumerate(names):
            state = State.RAISED if number else State.ONCE
            kept.put_notice(Notice(NOON_S + number, name, state, "lost 3 of 10", *KEY, count=3, figures=figures))
        await kept.flush()
        events = await kept.events()
        assert [(event.at_ns - NOON_S, event.name) for event in events] == list(enumerate(names))
        assert events[0].fields["message"] == "lost 3 of 10"
        assert events[0].fields["session"] == KEY[1]
        assert events[0].fields["figures"]["rtt"] == [1, 2, 3, 4]  # type: ignore[index]  # an object of JSON
        assert [event.at_ns for event in await kept.events(names=["test-failure"], limit=1)] == [NOON_S + 2]
        assert len(await kept.events(since_ns=NOON_S + 1)) == 2
        await kept.clear("events")
        assert await kept.events() == []
        with pytest.raises(ValueError, match="cannot be cleared"):
            await kept.clear("everything")


@pytest.mark.parametrize("events_age_s", [LONG_S, 0])
async def test_what_was_raised_and_not_cleared_is_known_after_a_restart_whether_or_not_events_are_kept(
    tmp_path: Path, events_age_s: int
) -> None:
    path = tmp_path / "store.db"

    def notice(at_ns: int, name: str, state: State, session: str | None = "voice") -> Notice:
        return Notice(at_ns, name, state, "", None if session is None else "core-fra", session)

    async with opened(path, events_age_s=events_age_s) as kept:
        kept.put_notice(notice(1, "own-fault", State.RAISED, None))
        kept.put_notice(notice(2, "rtt-exceeded", State.RAISED))
        kept.put_notice(notice(3, "rtt-exceeded", State.RAISED, "video"))
        kept.put_notice(notice(4, "test-failure", State.RAISED))
        kept.put_notice(notice(5, "test-failure", State.CLEARED))
        kept.put_notice(notice(6, "rtt-exceeded", State.RAISED))
        kept.put_notice(notice(7, "test-completion", State.ONCE))
        await kept.flush()
        assert kept.state()["written_events"] == (7 if events_age_s else 0)
    async with opened(path) as kept:
        if events_age_s:
            await kept.clear("events")
        found = [(each.raised_ns, each.condition.name, each.condition.session) for each in await kept.conditions()]
        assert found == [(1, "own-fault", None), (2, "rtt-exceeded", "voice"), (3, "rtt-exceeded", "video")]
        kept.put_notice(notice(8, "rtt-exceeded", State.CLEARED))
        await kept.flush()
        assert [each.raised_ns for each in await kept.conditions()] == [1, 3]


UNDONE = """
    DROP TABLE condition; DROP TABLE numbered; DROP INDEX history_first; ALTER TABLE history DROP COLUMN first;
    CREATE INDEX history_start ON history (session, start_ns); PRAGMA user_version = 1;
"""


async def test_a_file_of_an_earlier_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with opened(path) as kept:
        assert kept.put_second(NOON_S, [(KEY, packed(5, 7))])
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(UNDONE)
    async with opened(path) as kept:
        assert kept.state()["state"] == "ok"
        assert await sent(kept, NOON_S, NOON_S + 1) == 2
        kept.put_notice(Notice(1, "own-fault", State.RAISED, ""))
        await kept.flush()
        assert len(await kept.conditions()) == 1


async def test_what_is_too_old_goes_and_the_coarser_tier_still_has_it(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with opened(path) as kept:
        for second in range(NOON_S, NOON_S + 86400, 60):
            kept.put_second(second, [(KEY, packed(second))])
        await kept.flush()
        await until(lambda: rows(path, "second_block") == 1439, "every complete minute")
    # In another life ages are bounded.
    async with opened(path, seconds_age_s=7200, minutes_age_s=86400) as kept:
        await until(lambda: 118 <= rows(path, "second_block") <= 122, "two hours of seconds")
        assert await sent(kept, NOON_S, NOON_S + 86400) == 1440
        edge = await kept.summary(KEY, (NOON_S + 61) * NANOS, (NOON_S + 3000) * NANOS)
        assert (edge.exact, edge.start_ns) == (False, (NOON_S + 60) * NANOS)
        assert await kept.window(KEY, NOON_S * NANOS, (NOON_S + 60) * NANOS, NANOS) == []


async def test_a_tier_that_is_not_kept_is_still_rolled_up(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with opened(path, seconds_age_s=0) as kept:
        for second in range(NOON_S, NOON_S + 130):
            kept.put_second(second, [(KEY, packed(1))])
        await kept.flush()
        await until(lambda: rows(path, "second_journal") == 10, "complete minutes are rolled up")
        assert rows(path, "second_block") == 0
        assert await sent(kept, NOON_S, NOON_S + 130) == 130
        inside = await kept.summary(KEY, (NOON_S + 10) * NANOS, (NOON_S + 20) * NANOS)
        assert (inside.exact, inside.end_ns) == (False, (NOON_S + 60) * NANOS)


async def test_what_is_too_much_goes_finest_first(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    most = 4 << 20
    keys = [("c", f"s{number}") for number in range(20)]
    async with opened(path, max_octets=most) as kept:
        for second in range(NOON_S, NOON_S + 4 * 3600, 10):
            noise = [packed(*((second * 7919 + n * 104729) ** 5 % 2**62 for n in range(6))) for _ in keys]
            assert kept.put_second(second, list(zip(keys, noise, strict=True)))
            if second % 600 == 0:
                await kept.flush()
                await until(lambda: rows(path, "second_journal") <= 70, "it keeps up")
        await kept.flush()
        await until(lambda: 0 < int(kept.state()["used_octets"]) < most, "there is room again")
        assert path.stat().st_size <= most
        assert 0 < rows(path, "second_block") < 4 * 60 * 20
        await until(lambda: rows(path, "minute_block") == 3 * 20, "every complete hour of minutes")
        assert await sent(kept, NOON_S, NOON_S + 3600, keys[3]) == 360 * 6
        assert kept.state()["lost_queue_full_seconds"] == 0


async def test_a_lowered_bound_makes_the_file_smaller(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with opened(path) as kept:
        for number in range(1000):
            kept.put_notice(Notice(NOON_S * NANOS, "started", State.ONCE, f"{number:04}" * 2500))
        await kept.flush()
    assert path.stat().st_size > 8 << 20
    async with opened(path, max_octets=2 << 20) as kept:
        await until(lambda: 0 < int(kept.state()["octets"]) <= 2 << 20, "events went and the file shrank")
        assert len(await kept.events()) > 3
    assert path.stat().st_size <= 2 << 20


async def test_what_does_not_fit_the_queue_is_counted(tmp_path: Path) -> None:
    kept = store(tmp_path / "store.db", queue_octets=1000)
    taken = [kept.put_second(NOON_S + n, [(KEY, packed(n))]) for n in range(10)]
    assert taken == [True, True, True] + [False] * 7
    assert not kept.put_notice(Notice(0, "started", State.ONCE, "x" * 1000))
    await kept.open()
    await kept.flush()
    state = kept.state()
    assert (state["lost_queue_full_seconds"], state["lost_queue_full_events"]) == (7, 1)
    assert await sent(kept, NOON_S, NOON_S + 10) == 3
    await kept.close()
    assert not kept.put_second(NOON_S, [])
    with pytest.raises(StoreError, match="closed"):
        await kept.summary(KEY, 0, 1)


async def test_another_process_reads_while_the_daemon_writes(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with opened(path) as kept:
        kept.put_second(NOON_S, [(KEY, packed(1, 2, 3))])
        await kept.flush()
        beside = Reader(schema.connect_read_only(path), SUMMARIES)
        assert beside.keys() == [KEY]
        summary = beside.summary(KEY, NOON_S * NANOS, (NOON_S + 1) * NANOS).summary
        assert summary is not None
        assert summary.counter("sent") == 3
        beside.close()
    assert not path.with_name("store.db-wal").exists()
    with contextlib.closing(schema.connect_read_only(path)) as connection, pytest.raises(sqlite3.OperationalError):
        connection.execute("DELETE FROM session")


async def test_its_files_are_for_its_group_and_not_for_all_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with opened(tmp_path / "deep" / "store.db") as kept:
            kept.put_second(NOON_S, [(KEY, packed(1))])
            await kept.flush()
            modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "deep").iterdir()}
    finally:
        os.umask(before)
    names = ("store.db", "store.db-wal", "store.db-shm", "store.db-lock")
    assert modes == dict.fromkeys(names, 0o640)
    assert (tmp_path / "deep").stat().st_mode & 0o007 == 0
