"""The daemon with a real store and a real packet plane: what was seen is there again, over a restart too."""

from __future__ import annotations

import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from twoway.analysis import samples
from twoway.config.plan import StorePlan
from twoway.daemon import daemon as daemon_module
from twoway.daemon.daemon import Daemon
from twoway.daemon.kept import DaemonStore
from twoway.drivers.reflector import Reflector
from twoway.drivers.session_plane import merge_packed
from twoway.drivers.summaries import PackedSummaries
from twoway.store.store import Store

from ..drivers.serving import eventually
from .plans import MS, connection, light, plan
from .test_loopback import where

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from twoway.config.plan import Plan, SessionKey

KEY = ("near", "probe")
NANOS = 10**9
QUANTILES = (0.0, 0.5, 0.9, 0.99, 0.999, 1.0)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds follow each other quickly."""
    monkeypatch.setattr(daemon_module, "_SECOND_S", 0.05)


class Overheard(DaemonStore):
    """A store, and what was put into it."""

    def __init__(self, store: Store, seen: list[tuple[int, bytes]]) -> None:
        super().__init__(store)
        self.real = store

        def put_second(second: int, summaries: Sequence[tuple[SessionKey, bytes]]) -> bool:
            seen.extend((second, octets) for key, octets in summaries if key == KEY)
            return store.put_second(second, summaries)

        self.put_second = put_second


@asynccontextmanager
async def running(asked: Plan, path: Path, seen: list[tuple[int, bytes]]) -> AsyncIterator[tuple[Daemon, Store]]:
    store = Store(StorePlan(path), PackedSummaries(), lambda _: None)
    await store.open()
    daemon = Daemon(asked, store=Overheard(store, seen))
    await daemon.open()
    try:
        yield daemon, store
    finally:
        await daemon.close()
        await store.close()


def windows(seen: Sequence[tuple[int, bytes]]) -> Iterator[tuple[int, int]]:
    """Whole seconds: every window that begins and ends with one in which something was seen."""
    seconds = sorted({second for second, _ in seen})
    return ((start, end + 1) for start, end in itertools.combinations_with_replacement(seconds, 2))


async def test_any_window_over_a_restart_is_what_the_packet_plane_saw_in_it(tmp_path: Path) -> None:
    path, seen = tmp_path / "store.db", list[tuple[int, bytes]]()
    with Reflector(listen=["127.0.0.1:0"], stateful=True) as reflector:
        asked = plan(connection(light(target=where(reflector), interval_ns=5 * MS, persistent=True)))
        for _ in (1, 2, 3):
            async with running(asked, path, seen) as (daemon, _):
                begun = daemon.results(KEY).tests_run
                await eventually(lambda: daemon.results(KEY).tests_run >= begun + 40)  # noqa: B023
                last = daemon.results(KEY)
    # The numbers of the tests go on.
    assert last.tests_run >= 120
    store = Store(StorePlan(path), PackedSummaries(), lambda _: None)
    await store.open()
    checked = 0
    for start, end in windows(seen):
        kept = (await store.summary(KEY, start * NANOS, end * NANOS)).summary
        saw = merge_packed([octets for second, octets in seen if start <= second < end])
        assert kept is not None
        assert kept.counter("received") == saw.counter("received")
        checked += saw.counter("received") > 0
        for name in ("round_trip", "forward", "backward", "send_lateness"):
            found, expected = kept.distribution(name), saw.distribution(name)
            assert (found.count, found.min_ns, found.max_ns) == (expected.count, expected.min_ns, expected.max_ns)
            assert [found.quantile(q) for q in QUANTILES] == [expected.quantile(q) for q in QUANTILES]
    assert checked
    everything = merge_packed([octets for _, octets in seen])
    assert everything.counter("sent") >= 3 * 40 * 5
    await store.close()


async def test_every_probe_of_a_session_that_wants_it_is_in_the_store_once(tmp_path: Path) -> None:
    path, seen = tmp_path / "store.db", list[tuple[int, bytes]]()
    with Reflector(listen=["127.0.0.1:0"], stateful=True) as reflector:
        asked = plan(connection(light(target=where(reflector), interval_ns=5 * MS, raw=True)))
        for _ in (1, 2):
            async with running(asked, path, seen) as (daemon, _):
                await eventually(lambda: daemon.results(KEY).tests_run >= 40)
    store = Store(StorePlan(path), PackedSummaries(), lambda _: None)
    await store.open()
    rows = [row for rows in await store.history(KEY, 0, 2**62) for row in samples.rows(rows)]
    await store.close()
    names = [column.name for column in samples.COLUMNS]
    status, sequence = names.index("status"), names.index("sequence")
    sent = [row[sequence] for row in rows if row[status] != "not_sent"]
    starts = [at for at, number in enumerate(sent) if number == 0]
    assert len(starts) == 2
    assert sent == [*range(starts[1]), *range(len(sent) - starts[1])]
    everything = merge_packed([octets for _, octets in seen])
    assert len(sent) == everything.counter("sent")
    assert sum(row[status] == "received" for row in rows) == everything.counter("received")
