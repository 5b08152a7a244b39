"""Listeners: who may ask, what is refused, and what slow or greedy clients get."""

from __future__ import annotations

import asyncio
import grp
import os
import socket
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import pytest

from twoway.api import app, connection
from twoway.api.service import ManagementApi
from twoway.api.sockets import tcp_listener, unix_listener
from twoway.errors import ConfigError, KeyFileError, PlaneError, TwowayError

from .conftest import TOKEN, capabilities

if TYPE_CHECKING:
    from pathlib import Path

    from twoway.config.plan import ApiPlan

    from ..watched import FakeDaemon

BOUND_S = 20


async def answer(path: Path, request: bytes) -> bytes:
    """What comes back for some octets until the other end closes."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), BOUND_S)
    finally:
        writer.close()


async def test_the_sockets_mode_and_group_say_who_may_ask(api: ManagementApi, plan: ApiPlan) -> None:
    del api
    status = plan.socket.stat()
    assert stat.S_ISSOCK(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o660
    assert stat.S_IMODE(plan.socket.parent.stat().st_mode) == 0o755


def test_the_umask_cannot_narrow_the_mode_nor_a_race_widen_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    chown = os.chown

    def noted(path: Path, uid: int, gid: int, *, follow_symlinks: bool) -> None:
        seen.append(stat.S_IMODE(path.stat().st_mode))
        chown(path, uid, gid, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "chown", noted)
    group = grp.getgrgid(os.getgid()).gr_name
    before = os.umask(0o777)
    try:
        with unix_listener(tmp_path / "a", 0o660, group):
            assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o660
        os.umask(0)
        with unix_listener(tmp_path / "b", 0o660, group):
            assert (tmp_path / "b").stat().st_gid == os.getgid()
    finally:
        os.umask(before)
    assert seen == [0, 0o600]


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    unix_listener(path, 0o600, None).close()  # as a killed daemon leaves it
    assert path.exists()
    with unix_listener(path, 0o600, None), pytest.raises(PlaneError, match="another daemon answers there"):
        unix_listener(path, 0o600, None)


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "api.sock"
    path.write_text("precious")
    with pytest.raises(PlaneError, match="no socket: move it away"):
        unix_listener(path, 0o600, None)
    assert path.read_text() == "precious"


def test_a_folder_that_everybody_can_write_to_will_not_do(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(PlaneError, match="everybody can write to it, and put another socket there"):
        unix_listener(folder / "api.sock", 0o600, None)
    folder.chmod(0o1777)  # as /tmp, where nobody replaces what is another's
    unix_listener(folder / "api.sock", 0o600, None).close()


def test_sockets_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"api\.group: no group 'nobodys-group'"):
        unix_listener(tmp_path / "a", 0o600, "nobodys-group")
    with pytest.raises(PlaneError, match="make the API's folder"):
        unix_listener(tmp_path / "no" / "such" / "folder", 0o600, None)
    with tcp_listener("127.0.0.1", 0) as taken, pytest.raises(PlaneError, match="another program has this port"):
        tcp_listener("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(PlaneError):
        tcp_listener("192.0.2.1", 0)


async def test_the_socket_goes_with_the_daemon_unless_it_is_anothers(plan: ApiPlan, daemon: FakeDaemon) -> None:
    plan = replace(plan, listen=None, metrics_listen=None)
    first = ManagementApi(plan, daemon, None, capabilities)
    await first.start()
    await first.close()
    assert not plan.socket.exists()
    second, third = ManagementApi(plan, daemon, None, capabilities), ManagementApi(plan, daemon, None, capabilities)
    await second.start()
    plan.socket.rename(plan.socket.with_name("moved"))
    await third.start()
    await second.close()
    assert plan.socket.exists()
    await third.close()


async def test_tcp_needs_the_token(api: ManagementApi, daemon: FakeDaemon) -> None:
    address, port = api.local_addresses["listen"]
    async with httpx.AsyncClient(base_url=f"http://{address}:{port}") as client:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}, {"authorization": "Bearer x"}):
            response = await client.post("/v1/reload", headers=headers)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
        assert daemon.requests == []
        assert api.counters["unauthorized"] == 4
        response = await client.get("/v1/health", headers={"authorization": f"Bearer {TOKEN}"})
        assert response.status_code == 200


async def test_what_answers_is_made_before_it_listens_and_once(
    plan: ApiPlan, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = ManagementApi(plan, daemon, None, capabilities)
    service.build()
    for name in ("application", "metrics_application"):
        monkeypatch.setattr(app, name, None)
    await service.start()
    assert plan.socket.exists()
    await service.close()


OTHER_TOKEN = "another-battery-staple"  # noqa: S105  (of a test)


async def test_another_token_is_needed_from_a_reload_on(api: ManagementApi, plan: ApiPlan) -> None:
    address, port = api.local_addresses["listen"]
    async with httpx.AsyncClient(base_url=f"http://{address}:{port}") as client:

        async def statuses() -> list[int]:
            headers = [{"authorization": f"Bearer {token}"} for token in (TOKEN, OTHER_TOKEN)]
            return [(await client.get("/v1/health", headers=each)).status_code for each in headers]

        assert await statuses() == [200, 401]
        api.change(replace(plan, token=OTHER_TOKEN))
        assert await statuses() == [401, 200]


async def test_scrapers_get_the_metrics_and_nothing_else(api: ManagementApi) -> None:
    address, port = api.local_addresses["metrics-listen"]
    async with httpx.AsyncClient(base_url=f"http://{address}:{port}") as client:
        assert "twoway_build_info" in (await client.get("/metrics")).text
        for path in ("/v1/health", "/v1/openapi.json", "/"):
            assert (await client.get(path)).status_code == 404
        assert (await client.post("/v1/reload")).status_code == 404


@pytest.mark.parametrize(
    ("content", "mode", "message"),
    [
        (TOKEN, 0o644, "lets others read it"),
        ("short", 0o600, "at least 16"),
        ("a token with blanks in it", 0o600, "at least 16 printable"),
        ("", 0o600, "exactly one line"),
        (None, 0, "No such file"),
    ],
)
async def test_tokens_that_will_not_do(
    plan: ApiPlan, daemon: FakeDaemon, content: str | None, mode: int, message: str
) -> None:
    assert plan.token_file is not None
    plan.token_file.unlink()
    if content is not None:
        plan.token_file.write_text(content)
        plan.token_file.chmod(mode)
    with pytest.raises((ConfigError, KeyFileError), match=message) as caught:
        await ManagementApi(plan, daemon, None, capabilities).start()
    assert TOKEN not in str(caught.value)
    assert not plan.socket.exists()


async def test_tcp_without_a_token_is_refused(plan: ApiPlan, daemon: FakeDaemon) -> None:
    with pytest.raises(ConfigError, match=r"api\.token-file"):
        await ManagementApi(replace(plan, token_file=None), daemon, None, capabilities).start()


async def test_a_listener_that_fails_leaves_no_other_behind(plan: ApiPlan, daemon: FakeDaemon) -> None:
    with tcp_listener("127.0.0.1", 0) as taken:
        plan = replace(plan, metrics_listen=taken.getsockname())
        with pytest.raises(TwowayError, match="another program has this port"):
            await ManagementApi(plan, daemon, None, capabilities).start()
    assert not plan.socket.exists()


async def test_whoever_is_too_slow_is_cut_off(
    plan: ApiPlan, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection.Listening.__init__, "__defaults__", (0.2,))
    api = ManagementApi(plan, daemon, None, capabilities)
    await api.start()
    silent = answer(plan.socket, b"")
    half = answer(plan.socket, b"GET /v1/health HTTP/1.1\r\nHost: x\r\n")
    body = answer(plan.socket, b"POST /v1/request/start HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{")
    outcomes = await asyncio.gather(silent, half, body, return_exceptions=True)
    assert all(outcome in (b"",) or isinstance(outcome, ConnectionResetError) for outcome in outcomes)
    assert api.counters["overdue_connections"] == 3
    assert daemon.requests == []
    await api.close()


async def test_whoever_reads_nothing_is_cut_off(
    plan: ApiPlan, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection.Listening.__init__, "__defaults__", (0.5,))
    daemon.__init__([(f"connection-{number}", "s") for number in range(1000)])  # type: ignore[misc]  # it is shared
    api = ManagementApi(plan, daemon, None, capabilities)
    await api.start()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(plan.socket))
        client.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(BOUND_S * 100):
            if api.counters["overdue_connections"]:
                break
            await asyncio.sleep(0.01)
    assert api.counters["overdue_connections"] == 1
    await api.close()


async def test_connections_are_limited(api: ManagementApi, plan: ApiPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 3)
    held = [await asyncio.open_unix_connection(str(plan.socket)) for _ in range(3)]
    reader, writer = await asyncio.open_unix_connection(str(plan.socket))
    assert await asyncio.wait_for(reader.read(), BOUND_S) == b""
    assert api.counters["refused_connections"] == 1
    for _, other in (*held, (None, writer)):
        other.close()


@pytest.mark.parametrize(
    "octets",
    [
        b"\x00\xff\x16\x03garbage\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_refused_without_a_word_in_a_log(
    api: ManagementApi, plan: ApiPlan, octets: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    del api
    assert (await answer(plan.socket, octets)).startswith(b"HTTP/1.1 400 ")
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


async def test_two_scrapes_at_a_time(api: ManagementApi, plan: ApiPlan, daemon: FakeDaemon) -> None:
    daemon.__init__([(f"connection-{number}", "s") for number in range(50)])  # type: ignore[misc]  # it is shared
    transport = httpx.AsyncHTTPTransport(uds=str(plan.socket))
    async with httpx.AsyncClient(transport=transport, base_url="http://x", timeout=60) as client:
        answers = await asyncio.gather(*(client.get("/metrics") for _ in range(6)))
        codes = sorted(response.status_code for response in answers)
        assert codes[0] == 200
        assert codes[-1] == 503
        assert api.counters["refused_scrapes"] == codes.count(503)
        assert (await client.get("/metrics")).status_code == 200


async def test_an_end_amid_an_answer_is_bounded(plan: ApiPlan, daemon: FakeDaemon) -> None:
    api = ManagementApi(plan, daemon, None, capabilities)
    await api.start()
    reader, writer = await asyncio.open_unix_connection(str(plan.socket))
    writer.write(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await asyncio.wait_for(reader.readline(), BOUND_S)).startswith(b"HTTP/1.1 200")
    await asyncio.wait_for(api.close(), BOUND_S)
    await asyncio.wait_for(reader.read(), BOUND_S)
    writer.close()
