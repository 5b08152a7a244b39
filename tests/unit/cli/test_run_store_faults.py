"""A disk that is full, a store that is locked, damaged or cut off by `kill -9`, through the running daemon.

Each time the same is wanted: measuring goes on, what could not be kept is counted, `twoway show` says so, and what is
on the disk opens again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ports import free_port
from twoway.analysis.samples import Status
from twoway.drivers.reflector import Reflector
from twoway.drivers.summaries import PackedSummaries
from twoway.store import Reader, schema

from .service import configuration, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .service import Service

KEY = ("near", "probe")
PROBES = 5
RAW = "          raw-history: on\n"


def kept(path: Path) -> tuple[int, int, int]:
    """Probes sent by the summaries, probes sent that are kept one by one, and those that this host left out."""
    with contextlib.closing(Reader(schema.connect_read_only(path), PackedSummaries())) as reader:
        summary = reader.summary(KEY, 0, time.time_ns() + 10**9).summary
        statuses = [status for batch in reader.history(KEY) for status in batch.rows.status.tolist()]
        assert reader.unreadable == 0
    left_out = statuses.count(Status.NOT_SENT)
    return 0 if summary is None else summary.counter("sent"), len(statuses) - left_out, left_out


def sent(path: Path) -> tuple[int, int]:
    """Probes sent by the summaries, and probes sent that are kept one by one."""
    return kept(path)[:2]


def is_complete(path: Path, least: int) -> None:
    """Whatever was measured is in the file: each probe once, and as many as the seconds count."""
    in_seconds, one_by_one, left_out = kept(path)
    assert in_seconds == one_by_one
    assert in_seconds + left_out >= least


def may_mount() -> bool:
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not may_mount(), reason="a small disk of one's own needs the right to mount one")
def test_a_disk_that_is_full_for_a_while_costs_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    file = configuration(tmp_path, free_port(), RAW, store=disk / "store.sqlite")
    # A mount of the daemon alone, which goes with it.
    on_small_disk = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs -o size=2m none {disk} && exec "$@"', "sh"]
    with running(file, before=on_small_disk) as service:
        service.hears("READY=1")
        service.await_tests()
        service.await_store("ok")
        its_disk = Path(f"/proc/{service.process.pid}/root{disk}")
        filler = its_disk / "filler"
        filler.write_bytes(bytes(_room(its_disk)))
        state = service.await_store("degraded", "no room")
        assert state["queue_items"] > 0
        said = service.shows("health")
        assert "degraded (no room: free some on the disk, or raise max-size" in said
        service.await_tests()
        assert service.told("store-degraded") == ["store-degraded raised"]
        filler.unlink()
        service.await_store("ok")
        service.eventually(lambda: service.told("store-degraded")[1:] == ["store-degraded cleared"])
        results = service.await_tests()
        assert not service.blames_the_network()
        assert not [name for name, count in service.store().items() if name.startswith("lost_") and count]
        folder = os.open(its_disk, os.O_RDONLY)  # which holds the disk when the daemon has ended
        try:
            assert service.end(signal.SIGTERM)[1] == ""
            for kept in Path(f"/proc/self/fd/{folder}").iterdir():
                shutil.copy(kept, tmp_path)
        finally:
            os.close(folder)
    is_complete(tmp_path / "store.sqlite", PROBES * results["tests_run"])


def _room(disk: Path) -> int:
    system = os.statvfs(disk)
    return system.f_bavail * system.f_frsize


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process has the file for itself."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


@contextlib.contextmanager
def ready(file: Path) -> Iterator[Service]:
    with running(file) as service:
        service.hears("READY=1")
        yield service


def test_a_lock_at_the_start_and_one_later_hold_up_no_probe(tmp_path: Path) -> None:
    file, path = configuration(tmp_path, free_port(), RAW), tmp_path / "store.sqlite"
    schema.connect(path).close()
    with contextlib.ExitStack() as lock:
        lock.enter_context(locked(path))
        with ready(file) as service:
            for number in (1, 2):
                service.await_store("degraded", "another process has it locked")
                service.await_tests()
                assert "degraded (another process has it locked: end what else writes it" in service.shows("health")
                lock.close()
                service.await_store("ok")
                assert service.told("store-degraded") == ["store-degraded raised", "store-degraded cleared"] * number
                if number == 1:
                    lock.enter_context(locked(path))
            results = service.await_tests()
            assert not service.blames_the_network()
            assert service.end(signal.SIGTERM)[1] == ""
    is_complete(path, PROBES * results["tests_run"])


def test_damage_at_the_start_and_damage_later_are_set_aside(tmp_path: Path) -> None:
    file, path = configuration(tmp_path, free_port(), RAW), tmp_path / "store.sqlite"
    path.write_bytes(b"this is a text, and no database\n" * 1000)
    with ready(file) as service:
        service.await_tests()
        assert service.await_store("ok")["set_aside"] == 1
        for name in ("store.sqlite", "store.sqlite-wal"):
            with (tmp_path / name).open("r+b") as octets:
                octets.write(b"\xa5" * (tmp_path / name).stat().st_size)
        # What the writer has in memory is well: it is whoever asks that meets the damage.
        service.eventually(lambda: service.ask("/v1/store/sessions") and service.store()["set_aside"] == 2)
        measured = service.await_tests()["tests_run"]
        state = service.await_store("ok")
        assert "set aside 2" in service.shows("health")
        assert service.told("store-degraded") == ["store-degraded raised", "store-degraded cleared"] * 2
        assert not service.blames_the_network()
        since = state["written_seconds"]
        service.eventually(lambda: service.store()["written_seconds"] >= since + 2)
        assert service.end(signal.SIGTERM)[1] == ""
    assert len([entry for entry in tmp_path.iterdir() if ".corrupt-" in entry.name and "-wal" not in entry.name]) >= 2
    in_seconds, one_by_one = sent(path)
    assert in_seconds == one_by_one > 0
    with ready(file) as service:  # results and history were in memory all the while
        assert service.results()["tests_run"] >= measured


def test_kill_and_a_new_start_leave_everything_where_it_was(tmp_path: Path) -> None:
    port = free_port()
    thresholds = f"{RAW}          thresholds: {{successive-loss: 0, total-loss: 1}}\n"
    file, path = configuration(tmp_path, port, thresholds, reflect=False), tmp_path / "store.sqlite"
    raised, cleared = "test-failure raised", "test-failure cleared"
    with Reflector(listen=[f"127.0.0.1:{port}"], stateful=True), ready(file) as service:
        before = service.await_tests()
        written = service.store()["written_collections"]
        service.eventually(lambda: service.store()["written_collections"] > written, "its results are on the disk")
        service.end(signal.SIGKILL)
    # Nobody answers from here on.
    with ready(file) as service:
        service.eventually(lambda: service.results()["alarms"] == ["test-failure"], "the alarm is raised")
        assert service.results()["tests_passed"] >= before["tests_passed"]
        failed, seconds = service.results()["tests_failed"], service.store()["written_seconds"]
        service.eventually(lambda: service.store()["written_seconds"] > seconds + 1, "the alarm is on the disk")
        service.end(signal.SIGKILL)
    in_seconds, one_by_one = sent(path)
    assert in_seconds > 0
    assert abs(in_seconds - one_by_one) <= 2 * 50, "at most a second of either was under way"
    with ready(file) as service:
        assert service.store()["set_aside"] == 0
        results = service.results()
        assert results["tests_passed"] >= before["tests_passed"]
        assert results["tests_failed"] >= failed
        assert results["alarms"] == ["test-failure"], "it goes on"
        service.eventually(lambda: service.results()["tests_failed"] > results["tests_failed"])
        assert service.told("test-failure") == [raised], "and is not told again"
        assert service.told("started") == ["started once"] * 3
        with Reflector(listen=[f"127.0.0.1:{port}"], stateful=True):
            service.eventually(lambda: service.results()["alarms"] == [])
            assert service.told("test-failure") == [raised, cleared], service.ask("/v1/events")
        assert service.end(signal.SIGTERM)[1] == ""
    assert sent(path)[0] > in_seconds
