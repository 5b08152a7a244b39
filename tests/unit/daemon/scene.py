"""A daemon with a packet plane, clocks and a store that do what a test says."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from twoway.analysis.notices import Condition, Notice, State
from twoway.daemon import connection as connection_module
from twoway.daemon import daemon as daemon_module
from twoway.daemon import session as session_module
from twoway.daemon.daemon import Daemon
from twoway.daemon.seams import NoStore
from twoway.drivers.session_plane import News

from ..drivers.serving import eventually
from .faked import FakeCollection, FakeCollections, FakePlane, Merging
from .test_own_faults import MadeClocks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    import pytest

    from twoway.config.plan import Plan, SessionKey


class MadeStore(NoStore):
    """Remembers what is put."""

    def __init__(self) -> None:
        self.seconds: list[tuple[int, Sequence[tuple[SessionKey, bytes]]]] = []
        self.saved: dict[SessionKey, bytes] = {}
        self.kept: dict[SessionKey, bytes] = {}
        self.raised: dict[Condition, None] = {}
        self.probes: list[tuple[SessionKey, object]] = []
        self.puts_of_probes = 0

    def put_second(self, second: int, packed: Sequence[tuple[SessionKey, bytes]], /) -> None:
        self.seconds.append((second, packed))

    def put_collections(self, key: SessionKey, packed: bytes, /) -> None:
        self.saved[key] = packed

    async def collections(self) -> Mapping[SessionKey, bytes]:
        return self.kept

    def put_history(self, rows: Sequence[tuple[SessionKey, object]], _at_ns: int, /) -> None:
        self.probes += rows
        self.puts_of_probes += 1

    def put_notice(self, notice: Notice, /) -> None:
        if notice.state is State.RAISED:
            self.raised[notice.condition] = None
        elif notice.state is State.CLEARED:
            self.raised.pop(notice.condition, None)

    async def conditions(self) -> Sequence[Condition]:
        return list(self.raised)


class Scene:
    """A daemon, its plane, and what it told."""

    def __init__(self, daemon: Daemon, plane: FakePlane, clocks: MadeClocks, store: MadeStore) -> None:
        self.daemon = daemon
        self.plane = plane
        self.clocks = clocks
        self.store = store
        self.next: Plan | Sequence[str] = daemon.plan

    async def second(self) -> None:
        """A second passes, and is looked at."""
        self.clocks.pass_()
        collector = self.daemon._collector  # noqa: SLF001  (time is made here)
        assert collector is not None
        await collector.second()

    def into(self, number: int = 0) -> FakeCollections:
        into = self.plane.senders[number].collections
        assert into is not None
        return into

    async def ends(self, test: FakeCollection, number: int = 0) -> None:
        """A test of the session of this Session-Sender ends."""
        into = self.into(number)
        into.finished.append(test)
        into.known["last-test"] = test
        self.plane.news.append((self.plane.senders[number], News.TESTS))
        await self.second()

    def told(self, *names: str) -> list[tuple[str, str]]:
        """(name, state) of the notices of test-sessions and connections, or of these names."""
        notices = [seen for seen in self.daemon.notices(None, 1000) if seen.name in names or not names]
        return [(seen.name, seen.state.value) for seen in notices if seen.name not in ("started", "stopping")]

    def last(self, name: str) -> Notice:
        return [seen for seen in self.daemon.notices(None, 1000) if seen.name == name][-1]

    async def until(self, what: str) -> None:
        """Wait until the only session has this status."""
        await eventually(lambda: self.daemon.client_tests()[0].status == what)


def plane_of(monkeypatch: pytest.MonkeyPatch) -> FakePlane:
    """The packet plane that the next daemon gets, whose seconds pass when a test says so."""
    fake = FakePlane()
    monkeypatch.setattr(daemon_module, "SessionPlane", lambda **_: fake)
    monkeypatch.setattr(session_module, "collections", FakeCollections)
    monkeypatch.setattr(session_module, "unpack_summary", Merging.unpack)
    monkeypatch.setattr(daemon_module, "_SECOND_S", 3600.0)
    monkeypatch.setattr(connection_module, "_RETRY_S", 0.01)
    return fake


@asynccontextmanager
async def running(plan: Plan, plane: FakePlane, store: MadeStore | None = None) -> AsyncIterator[Scene]:
    """A daemon that runs, and ends."""
    clocks, store = MadeClocks(), store or MadeStore()
    daemon = Daemon(plan, configuration="twoway.yaml", read_plan=lambda: scene.next, store=store, clocks=clocks)
    scene = Scene(daemon, plane, clocks, store)
    await daemon.open()
    try:
        yield scene
    finally:
        await daemon.close()


KEY = ("near", "probe")
