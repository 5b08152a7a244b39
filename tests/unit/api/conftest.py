"""A management API on loopback with a daemon that measures nothing, and a client for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from twoway.analysis import samples
from twoway.api.answers import KeptEvent
from twoway.api.service import ManagementApi
from twoway.config.plan import ApiPlan
from twoway.store import Page, Point

from ..measured import START_NS, Span
from ..watched import SECOND, FakeDaemon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from twoway.analysis.result import Summary
    from twoway.config.plan import SessionKey
    from twoway.errors import StoreError

EVENTS_NS = [START_NS + number // 3 * SECOND for number in range(25)]
TOKEN = "correct-horse-battery"  # noqa: S105  (of a test)


class KeptOfOne:
    """A store that knows one test-session, and takes the times that SQLite does."""

    def __init__(self, *keys: SessionKey) -> None:
        self._keys = keys or (("core-fra", "voice"),)
        self.failure: StoreError | None = None

    async def summary(self, key: SessionKey, start_ns: int, end_ns: int) -> Summary | None:
        self._check(start_ns, end_ns)
        return measured(start_ns, end_ns) if key in self._keys else None

    async def series(self, key: SessionKey, start_ns: int, end_ns: int, step_ns: int) -> Sequence[Point]:
        self._check(start_ns, end_ns)
        first, end = start_ns // step_ns * step_ns, -(-end_ns // step_ns) * step_ns
        steps = range(first, end, step_ns) if key in self._keys else ()
        return [Point(at, at + step_ns, measured(at, at + step_ns)) for at in steps]

    async def page(self, key: SessionKey, first: int, since_ns: int, until_ns: int, limit: int) -> Page:
        self._check(since_ns, until_ns)
        cells = tuple(() if column.bits else 0 for column in samples.COLUMNS)
        numbers = range(first, min(first + limit, 25)) if key in self._keys else range(0)
        return Page([(number, cells) for number in numbers], numbers.stop, numbers.stop < 25 and bool(numbers))

    async def keys(self) -> Sequence[SessionKey]:
        self._check(0, 1)
        return self._keys

    async def events(self, since_ns: int, until_ns: int, limit: int) -> Sequence[KeptEvent]:
        self._check(since_ns, until_ns)
        found = [(number, at) for number, at in enumerate(EVENTS_NS) if since_ns <= at < until_ns]
        return [KeptEvent(number, at, "started", "once", None, None, "it runs") for number, at in found[-limit:]]

    def _check(self, start_ns: int, end_ns: int) -> None:
        assert 0 <= start_ns < end_ns < 1 << 63
        if self.failure is not None:
            raise self.failure


def measured(start_ns: int, end_ns: int) -> Span:
    return Span(
        {"sent": 10, "received": 10}, {"round_trip": list(range(1000, 11_000, 1000))}, start_ns=start_ns, end_ns=end_ns
    )


def capabilities() -> dict[str, tuple[bool, str]]:
    return {"receive_stamps": (True, "stamped by the kernel"), "xdp": (False, "no such socket")}


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon()


@pytest.fixture
def plan(tmp_path: Path) -> ApiPlan:
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o600)
    return ApiPlan(
        tmp_path / "run" / "api.sock",
        listen=("127.0.0.1", 0),
        token_file=token,
        metrics_listen=("127.0.0.1", 0),
    )


@pytest.fixture
def kept() -> KeptOfOne:
    return KeptOfOne()


@pytest.fixture
async def api(plan: ApiPlan, daemon: FakeDaemon, kept: KeptOfOne) -> AsyncIterator[ManagementApi]:
    service = ManagementApi(plan, daemon, kept, capabilities)
    await service.start()
    yield service
    await service.close()


@pytest.fixture
async def client(api: ManagementApi, plan: ApiPlan) -> AsyncIterator[httpx.AsyncClient]:
    del api
    transport = httpx.AsyncHTTPTransport(uds=str(plan.socket))
    async with httpx.AsyncClient(transport=transport, base_url="http://twoway") as opened:
        yield opened
