"""The ways to a receiver, over loopback: receivers that are away, come back, never read, or have no name."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from twoway.config.endpoint import parse_endpoint
from twoway.errors import OutputError
from twoway.notify import link
from twoway.notify.link import DatagramLink, Link, Resolver, StreamLink

from .made import until

if TYPE_CHECKING:
    from pathlib import Path


def resolver(address: str, kind: socket.SocketKind = socket.SOCK_DGRAM) -> Resolver:
    return Resolver(parse_endpoint(address), 514, kind)


def bound(kind: socket.SocketKind) -> tuple[socket.socket, str]:
    """A socket on loopback, and how it is written."""
    opened = socket.socket(socket.AF_INET, kind)
    opened.bind(("127.0.0.1", 0))
    opened.settimeout(10)
    return opened, f"127.0.0.1:{opened.getsockname()[1]}"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "BOUND_S", 0.2)
    monkeypatch.setattr(link, "SETTLE_S", 5)


async def test_udp_carries_datagrams_both_ways() -> None:
    with bound(socket.SOCK_DGRAM)[0] as far:
        received: list[bytes] = []
        near = await DatagramLink.udp(resolver(f"127.0.0.1:{far.getsockname()[1]}"), received.append)
        await near.send(b"one")
        octets, address = await asyncio.to_thread(far.recvfrom, 100)
        assert octets == b"one"
        far.sendto(b"two", address)
        await until(lambda: received == [b"two"], "the answer came")
        near.close()


@pytest.mark.usefixtures("short")
async def test_udp_hears_of_a_port_where_nobody_listens() -> None:
    far, address = bound(socket.SOCK_DGRAM)
    far.close()
    near = await DatagramLink.udp(resolver(address))
    await near.send(b"one")
    with pytest.raises(ConnectionRefusedError):
        await near.settle()
    with pytest.raises(ConnectionRefusedError):
        await near.send(b"two")
    near.close()


async def test_bad_news_of_udp_is_not_waited_for_longer_than_it_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "SETTLE_S", 0.02)
    far, address = bound(socket.SOCK_DGRAM)
    with far:
        near = await DatagramLink.udp(resolver(address))
        await near.send(b"one")
        await near.settle()
        near.close()


async def test_a_link_that_was_closed_says_so() -> None:
    far, address = bound(socket.SOCK_DGRAM)
    with far:
        near = await DatagramLink.udp(resolver(address))
        near.close()
        await until(lambda: near._transport is None, "it is closed")  # noqa: SLF001  (what asyncio told it)
        with pytest.raises(ConnectionError, match="closed"):
            await near.send(b"one")


@pytest.mark.usefixtures("short")
async def test_a_local_socket_that_is_not_read_is_given_up(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    with pytest.raises(FileNotFoundError):
        await DatagramLink.local(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as far:
        far.bind(path)
        near = await DatagramLink.local(path)
        await near.settle()  # at once
        with pytest.raises(TimeoutError, match="not taken within"):
            await _send_for_ever(near, b"x" * 1000)
        near.close()
    with pytest.raises(ConnectionRefusedError):
        await DatagramLink.local(path)


async def _send_for_ever(near: Link, message: bytes) -> None:
    while True:
        await near.send(message)


async def test_tcp_counts_octets() -> None:
    with bound(socket.SOCK_STREAM)[0] as far:
        far.listen()
        address = f"127.0.0.1:{far.getsockname()[1]}"
        near = await StreamLink.tcp(resolver(address, socket.SOCK_STREAM))
        taken, _ = await asyncio.to_thread(far.accept)
        with taken:
            await near.send(b"one")
            await near.send("µ".encode() * 6)
            near.close()
            octets = await asyncio.to_thread(_read_all, taken)
        assert octets == b"3 one12 " + "µ".encode() * 6


def _read_all(taken: socket.socket) -> bytes:
    octets = b""
    while more := taken.recv(1000):
        octets += more
    return octets


@pytest.mark.usefixtures("short")
async def test_tcp_gives_up_a_receiver_that_never_reads_and_holds_no_more_than_the_kernel_takes() -> None:
    with bound(socket.SOCK_STREAM)[0] as far:
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        far.listen()
        address = f"127.0.0.1:{far.getsockname()[1]}"
        near = await StreamLink.tcp(resolver(address, socket.SOCK_STREAM))
        message = b"x" * 65_536
        with pytest.raises(TimeoutError, match="not taken within"):
            await _send_for_ever(near, message)
        assert near._transport is not None  # noqa: SLF001  (what it holds)
        assert near._transport.get_write_buffer_size() <= len(message) + 10  # noqa: SLF001  (as above)
        near.close()


async def test_tcp_notices_at_once_that_its_receiver_went() -> None:
    with bound(socket.SOCK_STREAM)[0] as far:
        far.listen()
        address = f"127.0.0.1:{far.getsockname()[1]}"
        near = await StreamLink.tcp(resolver(address, socket.SOCK_STREAM))
        taken, _ = await asyncio.to_thread(far.accept)
        taken.close()
        await until(lambda: near._end is not None, "the end was noticed")  # noqa: SLF001  (before anything is sent)
        with pytest.raises(ConnectionError, match="closed the connection"):
            await near.send(b"one")
        near.close()


async def test_tcp_is_refused_where_nobody_listens() -> None:
    far, address = bound(socket.SOCK_STREAM)
    far.close()
    with pytest.raises(ConnectionRefusedError):
        await StreamLink.tcp(resolver(address, socket.SOCK_STREAM))


@pytest.mark.usefixtures("short")
async def test_tcp_waits_for_an_answer_no_longer_than_it_may() -> None:
    # A backlog that is full lets SYNs fall: the kernel neither accepts nor refuses.
    with (
        bound(socket.SOCK_STREAM)[0] as far,
        bound(socket.SOCK_STREAM)[0] as first,
        bound(socket.SOCK_STREAM)[0] as second,
    ):
        far.listen(0)
        address = far.getsockname()
        for other in (first, second):
            other.setblocking(False)
            other.connect_ex(address)
        with pytest.raises(TimeoutError, match="not taken within"):
            await StreamLink.tcp(resolver(f"127.0.0.1:{address[1]}", socket.SOCK_STREAM))


async def test_a_name_that_does_not_exist_is_told_with_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object, **_options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(OutputError, match=r"nms\.invalid: the name cannot be resolved: .*Name or service not known"):
        await resolver("nms.invalid").addresses()


@pytest.mark.usefixtures("short")
async def test_a_resolver_that_hangs_is_asked_once_and_heard_when_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = [], threading.Event()

    def hang(*arguments: object, **_options: object) -> list[object]:
        asked.append(arguments[0])
        answer.wait(20)
        return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("192.0.2.1", 514))]

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    slow = resolver("nms.example.net")
    for _ in range(2):
        with pytest.raises(OutputError, match="was not resolved within"):
            await slow.addresses()
    assert asked == ["nms.example.net"]
    answer.set()
    assert await slow.addresses() == [(socket.AF_INET, ("192.0.2.1", 514))]
    assert asked == ["nms.example.net"]


def _two_addresses(monkeypatch: pytest.MonkeyPatch, there: tuple[str, int]) -> None:
    """A name has an address where nobody listens, and then this one."""
    away, _ = bound(socket.SOCK_STREAM)
    nobody = away.getsockname()
    away.close()

    def found(*_arguments: object, **_options: object) -> list[object]:
        return [(socket.AF_INET, 0, 0, "", address) for address in (nobody, there)]

    monkeypatch.setattr(socket, "getaddrinfo", found)


async def test_a_receiver_at_the_second_address_of_a_name_is_found_over_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    far, _ = bound(socket.SOCK_STREAM)
    with far:
        far.listen()
        _two_addresses(monkeypatch, far.getsockname())
        near = await StreamLink.tcp(resolver("nms.example.net", socket.SOCK_STREAM))
        await near.send(b"one")
        connection, _ = await asyncio.to_thread(far.accept)
        with connection:
            assert await asyncio.to_thread(connection.recv, 100) == b"3 one"
        near.close()


@pytest.mark.usefixtures("short")
async def test_a_receiver_at_the_second_address_of_a_name_is_found_over_udp(monkeypatch: pytest.MonkeyPatch) -> None:
    far, _ = bound(socket.SOCK_DGRAM)
    with far:
        _two_addresses(monkeypatch, far.getsockname())
        name = resolver("nms.example.net")
        near = await DatagramLink.udp(name)
        await near.send(b"one")
        with pytest.raises(ConnectionRefusedError):
            await near.settle()
        near.close()
        near = await DatagramLink.udp(name)
        await near.send(b"two")
        assert await asyncio.to_thread(far.recv, 100) == b"two"
        near.close()
