"""Files with secrets that change under a daemon: a reload reads them anew, and disturbs nobody else."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from ports import free_port
from twoway.config.check import check
from twoway.daemon import daemon as daemon_module
from twoway.daemon import managed as managed_module
from twoway.daemon.daemon import Daemon
from twoway.drivers.rehearsal import NativeRehearsal

from ..drivers.serving import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from twoway.config.plan import Plan
    from twoway.drivers.session_plane import PlaneSession

SESSION = (
    "{target: 127.0.0.1, probe-count: 5, probe-interval: 20ms, destination-port: %d, key-file: %s, thresholds: {}}"
)
LIGHT = """
client: {control-connection: {near: {control-type: light, test-session: {changed: %s, same: %s}}}}
server: {light: {port: [%d], address: 127.0.0.1, key-file: reflector, require-authentication: on}}
"""
MANAGED = """
client:
  control-connection:
    far:
      target: 127.0.0.1
      destination-port: %d
      test-interval: 20ms
      authentication: {mode: encrypted, key-file: client}
      test-session: {probe: {probe-count: 5, probe-interval: 20ms}}
server:
  managed: {port: [%d], address: [127.0.0.1], key-file: server, client-list: {all: {address: [127.0.0.0/8]}}}
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts and seconds follow each other quickly."""
    monkeypatch.setattr(managed_module, "_LEAST_PAUSE_S", 0.02)
    monkeypatch.setattr(daemon_module, "_SECOND_S", 0.02)


class Folder:
    """A configuration and its files."""

    def __init__(self, path: Path, text: str, **secrets: str) -> None:
        self._path = path
        (path / "twoway.yaml").write_text(text)
        self.change(**secrets)

    def change(self, **secrets: str) -> None:
        for name, content in secrets.items():
            (self._path / name).write_text(content)
            (self._path / name).chmod(0o600)

    def read(self) -> Plan | Sequence[str]:
        checked = check(str(self._path / "twoway.yaml"), NativeRehearsal())
        return tuple(map(str, checked.errors)) if checked.plan is None else checked.plan


@asynccontextmanager
async def running(folder: Folder) -> AsyncIterator[Daemon]:
    plan = folder.read()
    assert not isinstance(plan, tuple), plan
    daemon = Daemon(plan, read_plan=folder.read)  # type: ignore[arg-type]  # no sequence of lines
    await daemon.open()
    try:
        yield daemon
    finally:
        await daemon.close()


def sender(daemon: Daemon, *key: str) -> PlaneSession | None:
    return daemon._session((key[0], key[1])).sender  # noqa: SLF001  (whether it is the same one)


async def more_tests_pass(daemon: Daemon, *key: str) -> None:
    until = daemon.results((key[0], key[1])).tests_passed + 2
    await eventually(lambda: daemon.results((key[0], key[1])).tests_passed >= until)


async def test_keys_of_light_sessions_and_of_their_reflector(tmp_path: Path) -> None:
    port = free_port()
    text = LIGHT % (SESSION % (port, "one"), SESSION % (port, "two"), port)
    old = {"one": "k1 text:old\n", "two": "k2 text:same\n", "reflector": "k1 text:old\nk2 text:same\n"}
    folder = Folder(tmp_path, text, **old)
    async with running(folder) as daemon:
        for name in ("changed", "same"):
            await more_tests_pass(daemon, "near", name)
        before = [sender(daemon, "near", name) for name in ("changed", "same")]
        assert (await daemon.reload()).message == "no test-session differs"
        # Each alone is of no use to the other: what the reflector does not know it does not answer.
        folder.change(one="k1 text:new\n")
        assert (await daemon.reload()).message == "test-sessions: 1 started, 1 stopped"
        assert sender(daemon, "near", "same") is before[1]
        assert sender(daemon, "near", "changed") is not before[0]
        await eventually(lambda: daemon.results(("near", "changed")).verdict == "fail")
        assert daemon.results(("near", "changed")).last_probe is not None
        folder.change(reflector="k1 text:new\nk2 text:same\n")
        changed = sender(daemon, "near", "changed")
        (counted,) = daemon.reflector_counters().values()
        assert "light reflectors: 1 adjusted" in (await daemon.reload()).message
        (after,) = daemon.reflector_counters().values()
        assert all(after[name] >= count for name, count in counted.items())
        for name in ("changed", "same"):
            await more_tests_pass(daemon, "near", name)
        assert [sender(daemon, "near", name) for name in ("changed", "same")] == [changed, before[1]]


async def test_secrets_of_control_connections_and_of_their_server(tmp_path: Path) -> None:
    port = free_port()
    folder = Folder(tmp_path, MANAGED % (port, port), client="alice text:old\n", server="alice text:old\n")
    async with running(folder) as daemon:
        await more_tests_pass(daemon, "far", "probe")
        before = sender(daemon, "far", "probe")
        (server,) = daemon.server_connections()
        # Whoever is in is not disturbed.
        folder.change(server="alice text:new\n")
        assert (await daemon.reload()).message.endswith("the server differs")
        await more_tests_pass(daemon, "far", "probe")
        assert sender(daemon, "far", "probe") is before
        assert [one.name for one in daemon.server_connections()] == [server.name]
        # But who comes in again needs the new one.
        assert (await daemon.clear("server-control", None)).ok
        await eventually(lambda: daemon.client_connections()[0].retries >= 2)
        assert "the KeyID or its secret may be wrong" in str(daemon.client_connections()[0].reason)
        folder.change(client="alice text:new\n")
        assert (await daemon.reload()).ok
        await more_tests_pass(daemon, "far", "probe")
        assert daemon.client_connections()[0].mode == "encrypted"


async def test_a_file_that_cannot_be_read_any_more_changes_nothing(tmp_path: Path) -> None:
    port = free_port()
    folder = Folder(tmp_path, MANAGED % (port, port), client="alice text:old\n", server="alice text:old\n")
    async with running(folder) as daemon:
        (tmp_path / "server").chmod(0o644)
        answer = await daemon.reload()
        assert not answer.ok
        assert "mode 0644 lets others read it" in answer.affected[0]
        await more_tests_pass(daemon, "far", "probe")
