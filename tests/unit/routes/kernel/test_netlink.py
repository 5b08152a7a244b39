"""Both sockets, before this machine's own kernel where that needs no privilege, and before a made one."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from functools import partial
from typing import TYPE_CHECKING

import pytest

from twoway.routes.kernel import messages, netlink
from twoway.routes.kernel.netlink import AskingSocket, ListeningSocket, NetlinkError
from twoway.routes.policy.reconciliation import Hop, How, Refusal, Request, Slot

from .made import route_message

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOT = Slot(4, "203.0.113.0/24", 254, 1)


class Pair:
    """A made kernel: what is asked comes out of one end of a pair of sockets."""

    def __init__(self) -> None:
        self.ours, self.kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (self.ours, self.kernel):
            end.setblocking(False)

    async def asked(self) -> list[int]:
        """The sequence numbers of what was asked next."""
        datagram = await asyncio.get_running_loop().sock_recv(self.kernel, 1 << 18)
        return [sequence for _, _, sequence, _, _ in messages.split(datagram)]

    def say(self, *octets: bytes | bytearray) -> None:
        self.kernel.send(b"".join(octets))


def done(sequence: int, number: int = 0) -> bytes:
    body = struct.pack("=i", -number) + messages.HEADER.pack(36, messages.RTM_NEWROUTE, 0, sequence, 0)
    return messages.HEADER.pack(16 + len(body), messages.NLMSG_ERROR, 0, sequence, 0) + body


def finished(sequence: int, flags: int = 0) -> bytes:
    return messages.HEADER.pack(20, messages.NLMSG_DONE, flags, sequence, 0) + bytes(4)


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.kernel.close()


@pytest.fixture
def asking(pair: Pair) -> Iterator[AskingSocket]:
    made = AskingSocket(None)
    made._socket.close()  # noqa: SLF001  (the kernel is made here)
    made._socket = pair.ours  # noqa: SLF001
    yield made
    made.close()


async def test_the_interfaces_and_routes_of_this_machine_are_read() -> None:
    asking = AskingSocket(None)
    links = [messages.link_seen(one) for one in await asking.dump(messages.links_wanted)]
    assert "lo" in [link.name for link in links if link is not None]
    for family in (4, 6):
        assert await asking.dump(partial(messages.routes_wanted, family, 253)) == []
    asking.close()


async def test_each_of_many_requests_has_its_answer(asking: AskingSocket, pair: Pair) -> None:
    wanted = [Request(How.FIRST, SLOT, (Hop(f"192.0.2.{n % 250 + 1}", 1),)) for n in range(300)]
    answers = asyncio.create_task(asking.ask(wanted, 94))
    while not answers.done() and (numbers := await asyncio.wait_for(pair.asked(), 5)):
        for number in reversed(numbers):
            pair.say(done(number, errno.EEXIST if number % 3 == 0 else 0))
            await asyncio.sleep(0)
        if numbers[-1] == 300:
            break
    found = await answers
    assert [place + 1 for place, one in enumerate(found) if one is not None] == list(range(3, 301, 3))
    assert found[2] == Refusal(errno.EEXIST, "File exists")


async def test_what_was_asked_before_is_no_answer(asking: AskingSocket, pair: Pair) -> None:
    answer = asyncio.create_task(asking.ask([Request(How.FIRST, SLOT, (Hop("192.0.2.1", 1),))], 94))
    (number,) = await pair.asked()
    pair.say(done(number + 7, errno.EPERM), finished(number), done(number))
    assert await answer == [None]


async def test_a_dump_that_was_interrupted_is_begun_anew(asking: AskingSocket, pair: Pair) -> None:
    found = asyncio.create_task(asking.dump(messages.links_wanted))
    (number,) = await pair.asked()
    octets = bytearray(route_message(SLOT, (Hop("192.0.2.1", 1),), 94))
    octets[8:12] = struct.pack("=I", number)
    octets[6:8] = struct.pack("=H", messages.NLM_F_DUMP_INTR)
    pair.say(octets, finished(number))
    (again,) = await pair.asked()
    octets[8:12] = struct.pack("=I", again)
    octets[6:8] = bytes(2)
    pair.say(octets, finished(again))
    assert len(await found) == 1


async def test_a_dump_that_never_is_whole_ends(asking: AskingSocket, pair: Pair) -> None:
    found = asyncio.create_task(asking.dump(messages.links_wanted))
    for _ in range(10):
        (number,) = await pair.asked()
        pair.say(finished(number, messages.NLM_F_DUMP_INTR))
    with pytest.raises(NetlinkError, match="changes too fast to be read"):
        await found


async def test_a_refused_dump_is_an_error(asking: AskingSocket, pair: Pair) -> None:
    found = asyncio.create_task(asking.dump(messages.links_wanted))
    (number,) = await pair.asked()
    pair.say(done(number, errno.EPERM))
    with pytest.raises(NetlinkError, match=r"^reading the kernel's table: Operation not permitted$"):
        await found


async def test_silence_ends(asking: AskingSocket, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink, "_PATIENCE_S", 0.01)
    with pytest.raises(NetlinkError, match=r"^the kernel has not answered a request for 0\.01 s$"):
        await asking.dump(messages.links_wanted)
    assert await pair.asked() == [1]


class Silent(socket.socket):
    """Receives what a test says: octets, or an error."""

    said: list[bytes | OSError]

    def recv(self, *_: object) -> bytes:
        if not self.said:
            raise BlockingIOError
        said = self.said.pop(0)
        if isinstance(said, OSError):
            raise said
        return said


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Silent:
    made = Silent(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    made.said = []
    monkeypatch.setattr(netlink, "_socket", lambda _netns: made)
    return made


async def test_what_others_did_is_told_and_an_overrun(silent: Silent) -> None:
    kinds: list[int] = []
    overruns: list[int] = []
    listening = ListeningSocket(None, lambda kind, _: kinds.append(kind), lambda: overruns.append(1), 77)
    ours = bytearray(route_message(SLOT, (Hop("192.0.2.1", 1),), 94))
    theirs = bytes(ours)
    ours[12:16] = struct.pack("=I", 77)
    silent.said = [
        theirs + bytes(ours),
        OSError(errno.ENOBUFS, "No buffer space available"),
        theirs,
        OSError(errno.EIO, "?"),
    ]
    listening._read()  # noqa: SLF001  (as the event loop does)
    assert kinds == [messages.RTM_NEWROUTE] * 2
    assert overruns == [1]
    assert silent.said == []
    listening.close()
    listening.close()
