"""A daemon that measures nothing behind a real management API, in a thread of its own, which commands ask."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from twoway.api.service import ManagementApi
from twoway.config.plan import ApiPlan

from ..api.conftest import KeptOfOne
from ..watched import FakeDaemon

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


TOKEN = "correct-horse-battery"  # noqa: S105  (of a test)


@dataclass
class Served:
    """Where it can be asked."""

    daemon: FakeDaemon
    socket: Path
    url: str
    token_file: Path


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """The API, on a Unix socket that commands find by themselves, and over TCP with a token."""
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o600)
    daemon = FakeDaemon(loss={("core-par", "bulk"): 0.2})
    plan = ApiPlan(tmp_path / "api.sock", listen=("127.0.0.1", 0), token_file=token)
    api = ManagementApi(
        plan, daemon, KeptOfOne(), lambda: {"receive_stamps": (True, "after 9 us"), "xdp": (False, "none")}
    )
    running, ended = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def life() -> None:
        await api.start()
        running.set()
        await ended.wait()
        await api.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(life(),))
    thread.start()
    try:
        assert running.wait(20)
        monkeypatch.setenv("TWOWAY_API", str(plan.socket))
        host, port = api.local_addresses["listen"]
        yield Served(daemon, plan.socket, f"http://{host}:{port}", token)
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()
