"""Octets that are no requests, and clients that behave badly: nobody notices, nothing is left of them, no log line."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twoway.api import connection as connection_module
from twoway.api.connection import BoundedConnection
from twoway.api.guard import MAX_BODY, MAX_HEAD
from twoway.api.service import ManagementApi
from twoway.config.plan import ApiPlan

from ..watched import FakeDaemon
from .asking import rest, served, wait_until, write
from .conftest import KeptOfOne, capabilities

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twoway.analysis.views import RequestView

    from .asking import Served

GET = b"GET /v1/health HTTP/1.1\r\nHost: x\r\n"
CLOSE = b"Connection: close\r\n\r\n"
POST = b"POST /v1/request/start HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def daemon() -> FakeDaemon:
    return FakeDaemon()


@pytest.fixture
def api(tmp_path_factory: pytest.TempPathFactory, daemon: FakeDaemon) -> Iterator[Served]:
    plan = ApiPlan(tmp_path_factory.mktemp("run") / "api.sock")
    with served(plan, lambda plan: ManagementApi(plan, daemon, KeptOfOne(), capabilities)) as it:
        yield it


@pytest.fixture(autouse=True)
def nothing_is_written(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Whatever a client does, there is no log line."""
    yield
    gc.collect()  # what nobody took is reported when it is collected
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def sized(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n" % len(body) + CLOSE + body


@pytest.mark.parametrize(
    ("octets", "statuses"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200) + b"\r\n\r\n", [400]),  # TLS
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), [404, 400]),
        (b"GET /v1/health HTTP/9.9\r\nHost: x\r\n" + CLOSE, [200]),  # h11 takes it for 1.1
        (b"GET /v1/health HTTP/1.0\r\n\r\n", [200]),
        (b"GET /v1/health HTTP/1.1\r\n\r\n", [400]),
        # A request whose end depends on who reads it, and what a proxy may have taken for its body.
        (POST + b"Content-Length: 39\r\n" + CHUNKED + b"0\r\n\r\n" + GET + CLOSE, [400]),
        (b"POST /v1/reload HTTP/1.0\r\n" + CHUNKED + b"0\r\n\r\n" + GET + CLOSE, [400]),
        (GET + b"Host: y\r\n\r\n", [400]),
        (GET + b": x\r\n\r\n", [400]),
        (GET + b"a b: x\r\n\r\n", [400]),
        (GET + b"a: \x00\r\n\r\n", [400]),
        (GET + b"folded: x\r\n y\r\n" + CLOSE, [200]),
        (GET + b"Upgrade: websocket\r\nSec-WebSocket-Key: x\r\nConnection: upgrade, close\r\n\r\n", [200]),
        (GET + b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nConnection: Upgrade, close\r\n\r\n", [200]),
        (b"CONNECT evil:443 HTTP/1.1\r\nHost: x\r\n" + CLOSE, [404]),
        (b"GET http://evil/v1/health HTTP/1.1\r\nHost: x\r\n" + CLOSE, [404]),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n" + CLOSE, [404]),
        (GET + b"Content-Length: -1\r\n\r\n", [400]),
        (GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", [400]),
        (GET + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n", [400]),
        (GET + b"Transfer-Encoding: gzip\r\n\r\n", [400]),
        (GET + b"Content-Length: 5\r\n" + CLOSE + b"12345", [200]),
        (GET + b"\r\n" + GET + b"\r\n" + GET + CLOSE, [200, 200, 200]),
        (GET + b"\r\n\x00\xff rubbish\r\n\r\n", [200, 400]),
        (GET + CLOSE + GET + b"\r\n", [200]),
        (GET + CHUNKED + b"zz\r\n", [400]),
        (GET + CHUNKED + b"1\r\nxx", [400]),
        (POST + CHUNKED + b"2\r\n{}\r\nzz\r\n", [400]),
        (POST + b"Content-Encoding: gzip\r\n" + sized(b"\x1f\x8b\x08\x00"), [400]),
        (POST + sized(b"{}" * 9000), [413]),
        (POST + b"Transfer-Encoding: chunked\r\n" + CLOSE + b"1\r\n \r\n" * (MAX_BODY + 1), [413]),
        (POST + b"Expect: 100-continue\r\n" + sized(b"{}"), [200]),
        (POST + sized("{}".encode("utf-16")), [200]),
        (POST + sized(b'{"control-connection": "\xff"}'), [400]),
        (POST + sized(b'{"control-connection": "\\ud800"}'), [400]),
        (POST + sized(b'{"repeat": NaN}'), [400]),
        (POST.replace(b"json", b"xml") + sized(b"{}"), [400]),
        (GET + b"a: b\r\n" * (MAX_HEAD // 2) + CLOSE, [431]),
        (GET + b"a: " + b"b" * MAX_HEAD + b"\r\n" + CLOSE, [431]),
        (b"GET /v1/health?" + b"b" * MAX_HEAD + b" HTTP/1.1\r\nHost: x\r\n" + CLOSE, [431]),
        (b"GET /v1/health?" + b"b" * MAX_HEAD * 2, [400]),
    ],
)
def test_what_is_no_good_request_gets_one_answer_or_none(api: Served, octets: bytes, statuses: list[int]) -> None:
    found = api.ask(octets)
    assert [answer.status for answer in found] == statuses
    for answer in found:
        assert answer.media == ("application/json" if answer.status == 200 else "application/problem+json")
    assert api.api.counters["errors"] == 0
    wait_until(lambda: api.connections() == 0)
    assert api.get("/v1/health").status == 200


def test_the_answer_to_head_has_no_body(api: Served) -> None:
    with api.connect() as client:
        client.sendall(b"HEAD /v1/health HTTP/1.1\r\nHost: x\r\n" + CLOSE)
        answer = rest(client)
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert answer.endswith(b"\r\n\r\n")


def test_a_request_is_heard_to_its_end_also_where_its_body_says_nothing(api: Served) -> None:
    """Whoever sends the body after the head finds nobody who has hung up already."""
    with api.connect() as client:
        client.sendall(b"POST /v1/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n" + CLOSE)
        assert [api.get("/v1/health").status for _ in range(3)] == [200] * 3  # time enough to answer
        client.sendall(b"{}")
        assert rest(client).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("head", [GET + CHUNKED, b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + CHUNKED])
def test_rubbish_after_an_answer_has_begun_ends_the_connection(api: Served, daemon: FakeDaemon, head: bytes) -> None:
    daemon.__init__([(f"connection-{number}", "s") for number in range(200)])  # type: ignore[misc]  # it is shared
    with api.connect() as client:
        client.sendall(head)
        assert client.recv(12) == b"HTTP/1.1 200"
        write(client, b"no chunk\r\n\r\n")
        rest(client)
    wait_until(lambda: api.connections() == 0)
    assert api.api.counters["malformed_requests"] == 1
    assert api.get("/metrics").status == 200


REQUESTS = st.sampled_from(
    [
        GET + b"\r\n",
        GET + CLOSE,
        GET + CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",
        POST + sized(b'{"control-connection": "core-fra"}'),
        POST + b"Content-Length: 2\r\n\r\n{}",
        POST + CHUNKED + b'e\r\n{"repeat": 20}\r\n0\r\n\r\n',
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: text/plain;q=0.5, */*\r\n\r\n",
        b"GET /v1/client/probe-results HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
)
PIECES = st.binary(max_size=30) | st.sampled_from(
    [b"\r\n", b"\r\n\r\n", b" ", b":", b"0\r\n\r\n", b"Content-Length: 9\r\n"]
)


@st.composite
def garbled(draw: st.DrawFn) -> list[bytes]:
    """Requests one after the other, spoilt at some places, in pieces."""
    octets = bytearray(b"".join(draw(st.lists(REQUESTS, min_size=1, max_size=4))))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(octets)))
        octets[at : at + draw(st.integers(0, 20))] = draw(PIECES)
    cuts = sorted(draw(st.lists(st.integers(0, len(octets)), max_size=4)))
    return [bytes(octets[a:b]) for a, b in zip([0, *cuts], [*cuts, len(octets)], strict=True)]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(pieces=garbled(), reading=st.booleans(), reset=st.booleans())
def test_whoever_garbles_and_hangs_up_leaves_nothing(
    api: Served, pieces: list[bytes], *, reading: bool, reset: bool
) -> None:
    bystander = api.connect()
    with bystander, api.connect() as client:
        for number, piece in enumerate(pieces):
            write(client, piece)
            if number == 0:
                bystander.sendall(GET + b"\r\n")
                assert bystander.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        if reading:
            client.settimeout(0.002)
            with contextlib.suppress(TimeoutError, ConnectionResetError):
                client.recv(1 << 16)
        if not reset:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_WR)
    wait_until(lambda: api.connections() == 0)
    assert api.api.counters["errors"] == 0
    assert api.get("/v1/health").status == 200


def test_whoever_hangs_up_amid_an_answer_leaves_nothing(api: Served, daemon: FakeDaemon) -> None:
    daemon.__init__([(f"connection-{number}", "s") for number in range(1000)])  # type: ignore[misc]  # it is shared
    targets = [b"/metrics", b"/v1/client/probe-results", b"/v1/client/history-results", b"/v1/client/sessions"]
    for target in targets * 5:
        with api.connect() as client:
            client.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(12).startswith(b"HTTP/1.1 ")
    wait_until(lambda: api.connections() == 0)
    daemon.__init__()  # type: ignore[misc]  # as above
    assert api.get("/metrics").status == 200  # room for scrapes was given back
    assert api.api.counters["errors"] == 0


def test_whoever_hangs_up_amid_an_action_does_not_undo_it(api: Served, daemon: FakeDaemon) -> None:
    begun, allowed = asyncio.Event(), asyncio.Event()
    ended = []

    async def reload() -> RequestView:
        begun.set()
        await allowed.wait()
        ended.append(True)
        return daemon.answer

    daemon.reload = reload  # type: ignore[method-assign]
    with api.connect() as client:
        client.sendall(b"POST /v1/reload HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_until(begun.is_set)
    api.loop.call_soon_threadsafe(allowed.set)
    wait_until(lambda: api.connections() == 0)
    assert ended == [True]


def test_a_crowd_that_says_nothing_keeps_others_out_for_no_longer_than_the_deadline(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module.Listening.__init__, "__defaults__", (2.0,))
    plan = ApiPlan(tmp_path_factory.mktemp("run") / "api.sock")
    with (
        served(plan, lambda plan: ManagementApi(plan, FakeDaemon(), KeptOfOne(), capabilities)) as it,
        contextlib.ExitStack() as stack,
    ):
        crowd = [stack.enter_context(it.connect()) for _ in range(connection_module.MAX_CONNECTIONS)]
        for client in crowd:
            client.sendall(GET)
        with it.connect() as client:
            assert rest(client) == b""  # one too many
        for client in crowd:
            assert rest(client) == b""
        assert it.get("/v1/health").status == 200
        assert it.api.counters["overdue_connections"] == len(crowd)
        assert it.api.counters["refused_connections"] == 1


def test_scrapers_that_read_nothing_do_not_keep_out_those_who_may_ask(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    daemon = FakeDaemon([(f"connection-{number}", "s") for number in range(1000)])
    plan = ApiPlan(tmp_path_factory.mktemp("run") / "api.sock", metrics_listen=("127.0.0.1", 0))
    with (
        served(plan, lambda plan: ManagementApi(plan, daemon, KeptOfOne(), capabilities)) as it,
        contextlib.ExitStack() as stack,
    ):
        for _ in range(2):
            client = stack.enter_context(socket.create_connection(it.api.local_addresses["metrics-listen"]))
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
        with socket.create_connection(it.api.local_addresses["metrics-listen"]) as third:
            third.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + CLOSE)
            assert rest(third).startswith(b"HTTP/1.1 503 ")
        with it.connect() as own:
            own.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + CLOSE)
            assert own.recv(12) == b"HTTP/1.1 200"


def test_a_scrape_that_fails_gives_its_room_back(api: Served, daemon: FakeDaemon) -> None:
    daemon.failure = ZeroDivisionError()
    assert [api.get("/metrics").status for _ in range(5)] == [500] * 5
    daemon.failure = None
    assert api.get("/metrics").status == 200


def test_nothing_is_left_of_a_thousand_clients(api: Served) -> None:
    def once() -> None:
        for number in range(200):
            with api.connect() as client:
                write(
                    client, [b"", GET, GET + CLOSE, b"\x00\r\n\r\n", POST + b"Content-Length: 9\r\n\r\n{"][number % 5]
                )
                if number % 3 == 0:
                    client.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        client.recv(100)
        # The loop lets go of a connection one turn after it has ceased to count it.
        wait_until(lambda: api.connections() == 0 and kept() == 0)

    def kept() -> int:
        gc.collect()
        return sum(isinstance(one, BoundedConnection) for one in gc.get_objects())

    once()
    before = len(gc.get_objects())
    for _ in range(4):
        once()
    assert len(gc.get_objects()) < before + 500


@pytest.mark.parametrize("path", ["/v1/health", "/metrics", "/v1/reload"])
def test_a_token_is_not_guessed_by_what_is_near_it(tmp_path_factory: pytest.TempPathFactory, path: str) -> None:
    folder = tmp_path_factory.mktemp("run")
    token = "correct-horse-battery"  # noqa: S105  (of a test)
    (folder / "token").write_text(token + "\n")
    (folder / "token").chmod(0o600)
    plan = ApiPlan(folder / "api.sock", listen=("127.0.0.1", 0), token_file=folder / "token")
    daemon = FakeDaemon()
    near = [token[:-1], token + "x", token.upper(), f" {token}", f"{token},", f'"{token}"', "", "*", token + "\xff"]
    headers = [f"Authorization: Bearer {guess}\r\n".encode("latin-1") for guess in near]
    headers += [f"Authorization: {scheme} {token}\r\n".encode() for scheme in ("Basic", "Digest", "Token", token)]
    headers += [f"Authorization: Bearer {token}\r\n".encode() * 2, f"Cookie: Bearer {token}\r\n".encode()]
    headers += [f"Proxy-Authorization: Bearer {token}\r\n".encode(), b""]
    with served(plan, lambda plan: ManagementApi(plan, daemon, KeptOfOne(), capabilities)) as it:
        for header in headers:
            with socket.create_connection(it.api.local_addresses["listen"], 20) as client:
                write(
                    client, f"POST {path} HTTP/1.1\r\nHost: x\r\n".encode() + header + b"Content-Length: 99999\r\n\r\n"
                )
                answer = rest(client)  # it ends, though the body never came
                assert answer.startswith((b"HTTP/1.1 401 ", b"HTTP/1.1 400 ")), header
                assert token.encode() not in answer
        assert daemon.requests == []
        assert it.api.counters["unauthorized"] >= len(headers) - 2  # some are no HTTP in the first place
