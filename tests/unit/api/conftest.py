"""A management API on loopback with a daemon that measures nothing, and a client for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from twoway.api.service import ManagementApi
from twoway.config.plan import ApiPlan

from ..measured import Span
from ..watched import FakeDaemon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from twoway.analysis.result import Summary
    from twoway.config.plan import SessionKey

TOKEN = "correct-horse-battery"  # noqa: S105  (of a test)


async def window(key: SessionKey, start_ns: int, end_ns: int) -> Summary | None:
    """A store that knows one test-session, and takes the times that SQLite does."""
    assert 0 <= start_ns < end_ns < 1 << 63
    if key != ("core-fra", "voice"):
        return None
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
async def api(plan: ApiPlan, daemon: FakeDaemon) -> AsyncIterator[ManagementApi]:
    service = ManagementApi(plan, daemon, window, capabilities)
    await service.start()
    yield service
    await service.close()


@pytest.fixture
async def client(api: ManagementApi, plan: ApiPlan) -> AsyncIterator[httpx.AsyncClient]:
    del api
    transport = httpx.AsyncHTTPTransport(uds=str(plan.socket))
    async with httpx.AsyncClient(transport=transport, base_url="http://twoway") as opened:
        yield opened
