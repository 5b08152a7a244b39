"""A disk that is full, a file that is locked, damaged or gone, an end at any moment: measuring goes on."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from twoway.analysis.notices import Notice, State
from twoway.errors import StoreError
from twoway.store import Store, queued, schema
from twoway.store.writer import Writer

from .counted import KEY, NANOS, NOON_S, Told, packed, store

ROOT = Path(__file__).resolve().parents[3]
BOUND_S = 60.0
"""Patience: a host that is busy takes its time for a day of seconds, and nothing is measured by it."""
ALL_NS = 9 * 10**18


def child(what: str, path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.unit.store.child", what, str(path)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def set_aside(directory: Path) -> list[Path]:
    return [entry for entry in directory.iterdir() if ".corrupt-" in entry.name]


async def told_of(told: Told, count: int) -> None:
    async with asyncio.timeout(BOUND_S):
        while len(told) < count:  # noqa: ASYNC110  (another thread's doing, which sets no event)
            await asyncio.sleep(0.01)


async def sent(kept: Store) -> list[int]:
    summary = (await kept.summary(KEY, 0, ALL_NS)).summary
    return [] if summary is None else summary.distribution("round_trip").values  # type: ignore[attr-defined]  # of tests.unit.measured


async def fill(path: Path, seconds: int = 200) -> None:
    """A store with something in every table."""
    kept = store(path)
    await kept.open()
    for number in range(seconds):
        kept.put_second(NOON_S + number * 20, [(KEY, packed(number))])
        kept.put_notice(Notice(number, "started", State.ONCE, "x" * 500))
    kept.put_collections(KEY, b"state")
    await kept.flush()
    async with asyncio.timeout(BOUND_S):
        while int(kept.state()["pending_spans"]) > 3:  # noqa: ASYNC110  (as above)
            await asyncio.sleep(0.01)
    await kept.close()


async def test_who_waits_no_longer_does_not_end_the_writer(tmp_path: Path) -> None:
    kept = store(tmp_path / "store.db")
    await kept.open()
    try:
        for number in range(5):
            kept.put_second(NOON_S + number, [(KEY, packed(number))])
            waiting = asyncio.create_task(kept.flush())
            await asyncio.sleep(0)  # it has asked
            waiting.cancel()
        await kept.flush()
        assert kept.state()["state"] == "ok"
        assert await sent(kept) == list(range(5))
    finally:
        await kept.close()


def test_kill_loses_at_most_the_last_second_and_never_the_file(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    moments = random.Random(4)  # noqa: S311  (dice, not secrets)
    written = 0
    for _ in range(8):
        writing = child("write", path)
        try:
            assert writing.stdout is not None
            assert writing.stdout.readline(), "it writes"
            time.sleep(moments.uniform(0.0, 1.6))  # not a wait for anything: the moment of the end is what is tested
            killed = time.monotonic()
            writing.kill()
            lines = [line.split() for line in writing.stdout.read().splitlines()]
        finally:
            writing.kill()
            writing.wait(BOUND_S)
            if writing.stdout is not None:
                writing.stdout.close()
        due = [int(line[0]) for line in lines if len(line) == 2 and float(line[1]) < killed - 1.0]

        async def kept() -> list[int]:
            again = store(path)
            await again.open()
            assert again.state()["set_aside"] == 0
            found = await sent(again)
            await again.close()
            return found

        values = asyncio.run(kept())
        assert values == list(range(len(values))), "each once, and none missing before the last"
        assert len(values) > (due[-1] if due else written - 1)
        assert len(values) >= written
        written = len(values)
    assert written > 500


def test_a_full_disk_degrades_and_room_mends_it(tmp_path: Path) -> None:
    with child("full", tmp_path / "store.db") as process:
        try:
            output, _ = process.communicate(timeout=BOUND_S)
        finally:
            process.kill()
    found = json.loads(output)
    assert found["states"] == ["raised", "cleared"]
    assert found["waiting"]["state"] == "degraded"
    assert found["waiting"]["queue_items"] >= 1
    assert found["after"]["state"] == "ok"
    assert found["sent"] == 50_002
    assert str(tmp_path) in found["message"]


async def test_a_lock_of_another_process_is_waited_out(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    told = Told()
    kept = store(path, told.append)
    await kept.open()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        kept.put_second(NOON_S, [(KEY, packed(1))])
        await told_of(told, 1)
        assert "another process has it locked" in told[0].message
        assert kept.state()["state"] == "degraded"
        with pytest.raises(StoreError, match="locked"):
            await kept.flush()
        kept.put_second(NOON_S + 1, [(KEY, packed(2))])
        other.execute("COMMIT")
    await told_of(told, 2)
    assert told.states == ["raised", "cleared"]
    await kept.flush()
    assert await sent(kept) == [1, 2]
    await kept.close()


async def test_a_directory_that_is_not_to_be_had_is_tried_again(tmp_path: Path) -> None:
    in_the_way = tmp_path / "var"
    in_the_way.write_text("a file")
    told = Told()
    kept = store(in_the_way / "store.db", told.append)
    await kept.open()
    kept.put_second(NOON_S, [(KEY, packed(1))])
    await told_of(told, 1)
    with pytest.raises(StoreError, match="cannot be read"):
        await sent(kept)
    in_the_way.unlink()
    await told_of(told, 2)
    await kept.flush()
    assert await sent(kept) == [1]
    await kept.close()


async def test_what_cannot_be_written_at_the_end_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    kept = store(path)
    await kept.open()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        kept.put_second(NOON_S, [(KEY, packed(1))])
        kept.put_collections(KEY, b"state")
        await kept.close()
    assert kept.state()["lost_at_close"] == 2
    assert kept.state()["state"] == "closed"


async def test_a_second_daemon_is_refused_by_the_number_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    first, second = store(path), store(path)
    await first.open()
    with pytest.raises(StoreError, match=f"process {os.getpid()} writes it already"):
        await second.open()
    await first.close()
    third = store(path)
    await third.open()
    await third.close()


async def test_a_file_of_a_later_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await fill(path, 5)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    kept = store(path)
    with pytest.raises(StoreError, match="a newer twoway wrote it"):
        await kept.open()
    assert set_aside(tmp_path) == []


async def test_a_file_that_somebody_else_put_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.db"
    await fill(path, 5)
    if os.geteuid() == 0:
        os.chown(path, 12_345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(StoreError, match=r"belongs to user \d+: it must be yours or root's"):
        await store(path).open()
    assert set_aside(tmp_path) == []


async def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "store.db")
    with pytest.raises(StoreError, match="there is something that is no file"):
        await store(tmp_path / "store.db").open()


async def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("of somebody else")
    (tmp_path / "store.db-lock").symlink_to(precious)
    kept = store(tmp_path / "store.db")
    await kept.open()
    assert kept.state()["state"] == "degraded"
    (tmp_path / "store.db-lock").unlink()
    async with asyncio.timeout(BOUND_S):
        while kept.state()["state"] != "ok":  # noqa: ASYNC110  (as above)
            await asyncio.sleep(0.01)
    await kept.close()
    assert precious.read_text() == "of somebody else"


async def test_a_file_that_is_no_store_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"this is a text, and no database" * 1000)
    told = Told()
    kept = store(path, told.append)
    await kept.open()
    kept.put_second(NOON_S, [(KEY, packed(1))])
    await told_of(told, 2)
    await kept.flush()
    assert await sent(kept) == [1]
    assert kept.state()["set_aside"] == 1
    (aside,) = set_aside(tmp_path)
    assert aside.read_bytes().startswith(b"this is a text")
    assert told.states == ["raised", "cleared"]
    await kept.close()


async def test_what_is_worth_most_is_salvaged_from_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await fill(path)
    with contextlib.closing(schema.connect_read_only(path)) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = 'minute_journal'"
        (page,) = connection.execute(query).fetchone()
    with path.open("r+b") as octets:
        octets.seek((page - 1) * schema.PAGE_OCTETS)
        octets.write(b"\xa5" * schema.PAGE_OCTETS)
    told = Told()
    kept = store(path, told.append)
    await kept.open()
    await told_of(told, 2)
    assert kept.state()["set_aside"] == 1
    assert await kept.collections() == {KEY: b"state"}
    assert len(await kept.events(limit=1000)) == 200
    kept.put_second(NOON_S, [(KEY, packed(10**6))])
    await kept.flush()
    assert 10**6 in await sent(kept)
    await kept.close()


async def test_damage_that_only_a_question_meets_is_dealt_with_too(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await fill(path)
    with contextlib.closing(schema.connect_read_only(path)) as connection:
        query = "SELECT rootpage FROM sqlite_schema WHERE name = 'minute_block'"
        (page,) = connection.execute(query).fetchone()
    with path.open("r+b") as octets:
        octets.seek((page - 1) * schema.PAGE_OCTETS)
        octets.write(b"\xa5" * schema.PAGE_OCTETS)
    told = Told()
    kept = store(path, told.append)
    with contextlib.suppress(StoreError):  # either it was met when opening, or now
        await kept.open()
        await kept.summary(KEY, NOON_S * NANOS, (NOON_S + 4000) * NANOS)
    await told_of(told, 2)
    assert kept.state()["set_aside"] == 1
    assert len(await kept.events(limit=1000)) == 200
    # Who had the old file open may meet the damage after all that: the new one is not to be blamed for it.
    kept._writer.damaged("as said", 0)  # noqa: SLF001  (a reader's answer that comes late)
    await kept.flush()
    await kept.flush()
    assert kept.state()["set_aside"] == 1
    assert kept.state()["state"] == "ok"
    await kept.close()


@pytest.mark.parametrize("seed", range(12))
async def test_octets_flipped_anywhere_stop_nothing(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "store.db"
    await fill(path, 60)
    dice = random.Random(seed)  # noqa: S311  (as above)
    octets = bytearray(path.read_bytes())
    for _ in range(dice.choice([1, 20, 400])):
        octets[dice.randrange(len(octets))] ^= 1 << dice.randrange(8)
    path.write_bytes(octets)
    kept = store(path)
    with contextlib.suppress(StoreError):  # of a later version, by one octet
        await kept.open()
    if kept.state()["state"] == "closed":
        assert "a newer twoway" in str(kept.state()["reason"])
        return
    kept.put_second(NOON_S + 86400 * 50, [(KEY, packed(10**6))])
    async with asyncio.timeout(BOUND_S):
        while True:
            try:
                await kept.flush()
                window = await kept.summary(KEY, (NOON_S + 86400 * 50) * NANOS, ALL_NS)
                await kept.events()
                break
            except StoreError:
                await asyncio.sleep(0.02)
    # The file may have been found damaged once the second was in it: then it is in what was set aside.
    assert window.summary is not None or kept.state()["set_aside"] == 1
    await kept.close()


async def test_the_end_waits_as_long_as_the_writer_gets_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = store(tmp_path / "store.db")
    await kept.open()
    waiting = itertools.chain((5, 3), itertools.repeat(3))
    joined: list[float] = []

    def join(_: Writer, timeout_s: float) -> bool:
        joined.append(timeout_s)
        return False

    with monkeypatch.context() as patch:
        patch.setattr(queued.Queue, "__len__", lambda _: next(waiting))
        patch.setattr(Writer, "join", join)
        await kept.close(0.5)
    assert joined == [0.5, 0.5]
    assert kept._writer.join(BOUND_S)  # noqa: SLF001  (that nothing of this test is left)


@pytest.mark.parametrize("how", ["removed", "removed with its log and its lock", "replaced"])
async def test_a_file_that_goes_while_it_is_written_is_begun_anew(tmp_path: Path, how: str) -> None:
    path, told = tmp_path / "store.db", Told()
    kept = store(path, told.append)
    await kept.open()
    kept.put_second(NOON_S, [(KEY, packed(1))])
    await kept.flush()
    if how == "replaced":
        shutil.copy(path, tmp_path / "copy")
        (tmp_path / "copy").replace(path)
    else:
        for suffix in ("",) if how == "removed" else ("", "-wal", "-shm", "-lock"):
            path.with_name(path.name + suffix).unlink()
    await told_of(told, 2)
    assert told.states == ["raised", "cleared"]
    assert "removed or replaced" in told[0].message
    kept.put_second(NOON_S + 1, [(KEY, packed(2))])
    await kept.flush()
    assert (await sent(kept))[-1:] == [2]
    await kept.close()
    again = store(path)
    await again.open()
    assert (await sent(again))[-1:] == [2]
    assert again.state()["set_aside"] == 0
    await again.close()
