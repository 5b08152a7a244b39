"""Clients that mean no good, or cannot do better, against our Server: each gets what the threat model's table says.

Nearly every test has a bystander: another client whose session runs throughout, and must not notice. What a client does
wrong is one event, which names the rule and its section.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

import pytest

from twoway import measure_managed
from twoway.config.managed import ControlOptions
from twoway.control import codec
from twoway.control.owamp_codec import OwampStopSessions, RequestSession, ScheduleSlot, SendRecord
from twoway.control.registry import Accept, Mode
from twoway.drivers.control_client import ControlClient
from twoway.drivers.managed_plane import timestamp_of
from twoway.errors import SessionRefusedError

from .serving import (
    MODES,
    MS,
    PATIENCE_S,
    SECRET,
    FakeClock,
    eventually,
    options,
    received,
    request,
    serving,
    target,
    up_to_ready,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from twoway.drivers.server import Server, ServerEvent

SECURE = MODES[1:]
GREETING, SERVER_START, ACCEPT, ACK = 64, 48, 48, 32
"""Octets of what a Server says."""
ALL_ONES = 0xFFFFFFFF
ASK = codec.RequestTwSession(4, 4000, 0, bytes(16), bytes(16), 0, 0, 1 << 32, 0)
ASK_ONE_WAY = RequestSession(
    4, False, True, 5, 4000, 0, bytes(16), bytes(16), bytes(16), 0, 0, 1 << 32, 0, (ScheduleSlot(1, 1 << 32),)
)
START = codec.StartSessions()


class Sayable(Protocol):
    def segments(self) -> codec.Segments: ...


def clear(*messages: Sayable) -> bytes:
    """As said in the clear, where nobody looks at HMACs."""
    return b"".join(segment + bytes(16) for message in messages for segment in message.segments())


def set_up(mode: int, key_id: bytes = b"", token: bytes = bytes(64)) -> bytes:
    return codec.SetUpResponse(mode, key_id.ljust(80, b"\0"), token, bytes(16)).octets()


@asynccontextmanager
async def bystander(server: Server) -> AsyncIterator[None]:
    """Another client, whose session goes on through all that happens."""
    protocol = server.local_addresses[0][0]
    settings = options("unauthenticated", protocol)
    async with await ControlClient.connect(target(server), settings) as client:
        session = await client.request_session(request(count=1_000_000 if protocol == "owamp" else None))
        await client.start()
        counter = "sent" if protocol == "owamp" else "received"
        await eventually(lambda: session.summary().counter(counter) > 0)
        yield
        before = session.summary().counter(counter)
        await eventually(lambda: session.summary().counter(counter) > before + 2)
        assert not client.closed
        await client.stop()


class Client:
    """A client by hand, in the clear unless it says otherwise."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.socket = up_to_ready(server)
        self.name = "{}:{}".format(*self.socket.getsockname())

    async def say(self, octets: bytes) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.get_running_loop().sock_sendall(self.socket, octets)

    async def hear(self, count: int) -> bytes:
        octets = await received(self.socket, count)
        assert len(octets) == count
        return octets

    async def get_ready(self, mode: int = 1) -> None:
        await self.hear(GREETING)
        await self.say(set_up(mode))
        assert (await self.hear(SERVER_START))[15] == Accept.OK

    async def run_session(self) -> int:
        """Ask and start; the port of the session."""
        await self.say(clear(ASK, START))
        accepted = await self.hear(ACCEPT + ACK)
        assert (accepted[0], accepted[ACCEPT]) == (0, 0)
        return int.from_bytes(accepted[2:4])

    async def closed(self) -> bytes:
        """What the Server still says before it closes."""
        octets = b""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while piece := await asyncio.get_running_loop().sock_recv(self.socket, 65536):
                    octets += piece
            except ConnectionResetError:
                pass
        return octets

    async def event(self) -> ServerEvent:
        """The only thing that the Server has to tell of this client."""
        found: list[ServerEvent] = []

        def told() -> bool:
            found.extend(event for event in self.server.take_events() if event.peer == self.name)
            return bool(found)

        await eventually(told)
        (event,) = found
        assert event.section.startswith("RFC ")
        assert event.meaning
        assert self.server.counters()[event.name] == 1
        return event

    def vanish(self) -> None:
        """Go with a reset and no word."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


@dataclass(frozen=True)
class Case:
    """What a client says after the greeting, or after set-up, and what that comes to."""

    name: str
    said: bytes
    counted: str
    answer: int = 0
    """Octets that the Server says before it closes, or at all."""
    mode: int = 1
    """Of the set-up before; 0: there is none."""
    protocol: str = "twamp"

    def __str__(self) -> str:
        return self.name


WEB = b"GET / HTTP/1.1\r\nHost: there\r\n\r\n".ljust(164, b"x")
SID = b"sixteen octets!!"
INDIVIDUAL = int(Mode.UNAUTHENTICATED | Mode.INDIVIDUAL_SESSION_CONTROL)
CLOSING = [
    Case("no mode", set_up(0), "set_up_refused:no_common_mode", mode=0),
    Case("two modes", set_up(3), "set_up_refused:mode_not_one", SERVER_START, mode=0),
    Case("every bit", bytes([255]) * 164, "set_up_refused:mode_not_one", SERVER_START, mode=0),
    Case("not offered", set_up(Mode.AUTHENTICATED | Mode.IKEV2_DERIVED), "set_up_refused:mode_not_offered", 48, mode=0),
    Case("a web browser", WEB, "set_up_refused:mode_not_one", SERVER_START, mode=0),
    Case("no secret", set_up(4, b"alice"), "set_up_refused:key_id_unknown", SERVER_START, mode=0),
    Case("unknown KeyID", set_up(4, b"mallory"), "set_up_refused:key_id_unknown", SERVER_START, mode=0),
    Case("no KeyID", set_up(2), "set_up_refused:key_id_unknown", SERVER_START, mode=0),
    Case("KeyID of all ones", set_up(8, bytes([255]) * 80), "set_up_refused:key_id_unknown", SERVER_START, mode=0),
    *(Case(f"command {n}", bytes([n]) * 16, "violated:command_unknown", 48) for n in (0, 1, 4, 6, 255)),
    *(Case(f"OWAMP, {n}", bytes([n]) * 16, "violated:command_unknown", 48, protocol="owamp") for n in (0, 5, 7)),
    Case("set-up twice", set_up(1), "violated:command_unknown", ACCEPT),
    Case("stop of nothing", clear(codec.StopSessions(Accept.OK, 0)), "violated:stop_count"),
    Case("stop of too few", clear(ASK, START, codec.StopSessions(Accept.OK, 0)), "violated:stop_count", ACCEPT + ACK),
    Case("stop of all", clear(ASK, START, codec.StopSessions(Accept.OK, ALL_ONES)), "violated:stop_count", 80),
    Case(
        "more SIDs than sessions",
        struct.pack("!B11xI", 7, ALL_ONES),
        "violated:too_many_sids",
        mode=INDIVIDUAL,
    ),
    Case(
        "more skip ranges than there can be",
        clear(ASK_ONE_WAY, START)
        + struct.pack("!BB2xI8x", 3, 0, 1)
        + struct.pack("!16sII", SID, 0, ALL_ONES).ljust(32, b"\0"),
        "violated:too_many_skip_ranges",
        ACCEPT + ACK,
        protocol="owamp",
    ),
    Case(
        "stop of a session of somebody else",
        clear(ASK_ONE_WAY, START, OwampStopSessions(Accept.OK, (SendRecord(SID, 5),))),
        "violated:stop_session_unknown",
        ACCEPT + ACK,
        protocol="owamp",
    ),
    Case(
        "more sessions stopped than there can be",
        clear(ASK_ONE_WAY, START) + struct.pack("!BB2xI8x", 3, 0, ALL_ONES),
        "violated:stop_count",
        ACCEPT + ACK,
        protocol="owamp",
    ),
]


@pytest.mark.parametrize("case", CLOSING, ids=str)
async def test_what_closes_the_connection(case: Case) -> None:
    async with serving(case.protocol) as server, bystander(server):
        with Client(server) as client:
            if case.mode:
                await client.get_ready(case.mode)
            else:
                await client.hear(GREETING)
            await client.say(case.said)
            assert len(await client.closed()) == case.answer
            assert (await client.event()).name == case.counted
            await eventually(lambda: not any(state.client == client.name for state in server.sessions()))


REFUSED = [
    ("Conf-Sender", clear(replace(ASK, conf_sender=1)), "request_refused:conf_not_zero", 3),
    ("schedule slots", clear(replace(ASK, schedule_slots=ALL_ONES)), "request_refused:schedule_not_zero", 3),
    ("packets", clear(replace(ASK, packets=1)), "request_refused:schedule_not_zero", 3),
    ("IPVN 5", clear(replace(ASK, ip_version=5)), "request_refused:ip_version", 3),
    ("IPVN 6", clear(replace(ASK, ip_version=6)), "request_refused:ip_version", 3),
    ("a third party", clear(replace(ASK, sender_address=b"\xc0\0\2\1".ljust(16))), "request_refused:address_policy", 3),
    ("sender port 0", clear(replace(ASK, sender_port=0)), "request_refused:sender_port_zero", 3),
    ("Type-P", clear(replace(ASK, type_p=ALL_ONES)), "request_refused:type_p", 3),
    ("padding of all ones", clear(replace(ASK, padding_length=ALL_ONES)), "request_refused:padding_too_long", 3),
    ("padding of 9001", clear(replace(ASK, padding_length=9001)), "request_refused:padding_too_long", 4),
    ("timeout of all ones", clear(replace(ASK, timeout=2**64 - 1)), "request_refused:timeout_too_long", 4),
    ("start of nothing", clear(START), "command_refused:nothing_to_start", 1),
    ("Start-N", clear(codec.StartNSessions((SID,))), "command_refused:command_unexpected", 3),
    ("Stop-N", clear(codec.StopNSessions((SID,))), "command_refused:command_unexpected", 3),
]


@pytest.mark.parametrize(("said", "counted", "accept"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED])
async def test_what_is_refused_leaves_the_connection_alone(said: bytes, counted: str, accept: int) -> None:
    async with serving() as server, bystander(server):
        with Client(server) as client:
            await client.get_ready()
            await client.say(said)
            answer = await client.hear(ACK if said[0] == 2 else ACCEPT)
            assert answer[0] == accept
            assert not any(answer[1:32])
            assert (await client.event()).name == counted
            await client.run_session()


REFUSED_ONE_WAY = [
    ("both ends", replace(ASK_ONE_WAY, conf_sender=True), "conf_both", 3),
    ("neither end", replace(ASK_ONE_WAY, conf_receiver=False), "conf_neither", 3),
    ("no packets", replace(ASK_ONE_WAY, packets=0), "no_slots", 3),
    ("packets of all ones", replace(ASK_ONE_WAY, packets=ALL_ONES), "too_many_packets", 4),
    ("padding of all ones", replace(ASK_ONE_WAY, padding_length=ALL_ONES), "padding_too_long", 3),
    ("slot of no type", replace(ASK_ONE_WAY, slots=(ScheduleSlot(9, 1),)), "slot_type", 3),
    ("to a third party", replace(ASK_ONE_WAY, conf_sender=True, conf_receiver=False, receiver_port=9,
                                 receiver_address=b"\xc0\0\2\1".ljust(16, b"\0")), "address_policy", 3),
]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "counted", "accept"), [case[1:] for case in REFUSED_ONE_WAY], ids=[c[0] for c in REFUSED_ONE_WAY]
)
async def test_what_owamp_refuses_leaves_the_connection_alone(asked: RequestSession, counted: str, accept: int) -> None:
    async with serving("owamp") as server:
        with Client(server) as client:
            await client.get_ready()
            await client.say(clear(asked))
            assert (await client.hear(ACCEPT))[0] == accept
            assert (await client.event()).name == f"request_refused:{counted}"
            await client.say(clear(ASK_ONE_WAY, START))
            assert (await client.hear(ACCEPT + ACK))[::ACCEPT] == bytes(2)


async def test_slots_of_all_ones_are_never_waited_for() -> None:
    """They are read past, not kept; that no message lasts longer than half a minute ends it."""
    clock = FakeClock()
    async with serving("owamp", clock=clock) as server:
        with Client(server) as client:
            await client.get_ready()
            octets = bytearray(clear(ASK_ONE_WAY))
            octets[4:8] = b"\xff" * 4
            await client.say(bytes(octets) + bytes(1 << 20))
            await eventually(lambda: _drained(client))
            clock.pass_by(31)
            await client.closed()
            assert (await client.event()).name == "violated:message_too_slow"


def _drained(client: Client) -> bool:
    """Whether the Server has read all that the client said."""
    import fcntl
    import termios

    unsent = fcntl.ioctl(client.socket, termios.TIOCOUTQ, bytes(4))
    return not int.from_bytes(unsent, "little")


STOP = codec.StopSessions(Accept.OK, 1)
MESSAGES = {"set-up": set_up(1), "request": clear(ASK), "start": clear(START), "stop": clear(STOP)}


@pytest.mark.parametrize(
    ("message", "length"),
    [("set-up", n) for n in (1, 4, 163)]
    + [("request", n) for n in (1, 16, 96, 111)]
    + [(name, n) for name in ("start", "stop") for n in (1, 16, 31)],
)
async def test_half_a_message_is_truncated(message: str, length: int) -> None:
    async with serving() as server, bystander(server):
        with Client(server) as client:
            if message == "set-up":
                await client.hear(GREETING)
            else:
                await client.get_ready()
            if message == "stop":
                await client.run_session()
            await client.say(MESSAGES[message][:length])
            client.socket.shutdown(socket.SHUT_WR)
            assert await client.closed() == b""
            assert (await client.event()).name == "violated:truncated"


@pytest.mark.parametrize("goodbye", ["half closed", "closed", "reset"])
async def test_a_client_that_goes_takes_its_sessions_along(goodbye: str) -> None:
    async with serving() as server, bystander(server):
        with Client(server) as client:
            await client.get_ready()
            port = await client.run_session()
            assert len(server.sessions()) == 2
            if goodbye == "half closed":
                client.socket.shutdown(socket.SHUT_WR)
                assert await client.closed() == b""
            elif goodbye == "closed":
                client.socket.close()
            else:
                client.vanish()
            await eventually(lambda: len(server.sessions()) == server.connections == 1)
        counters = server.counters()
        assert counters["session_ended:connection"] == 1
        assert counters[f"connection_closed:{'lost' if goodbye == 'reset' else 'peer'}"] == 1
        # It is no mistake, so there is nothing to tell; and the port is free.
        assert not server.take_events()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", port))


async def test_a_client_whose_machine_is_gone_is_noticed_by_keepalive() -> None:
    """Its kernel says nothing when the connection ends, and afterwards knows nothing of it."""
    async with serving(tcp_keepidle_s=1, tcp_keepintvl_s=1, tcp_keepcnt=1) as server, bystander(server):
        with Client(server) as client:
            await client.get_ready()
            await client.run_session()
            # With nothing under way, nothing but keepalive can notice.
            await eventually(lambda: _acknowledged(client))
            tcp_repair = 19
            try:
                client.socket.setsockopt(socket.IPPROTO_TCP, tcp_repair, 1)
            except PermissionError:
                pytest.skip("TCP_REPAIR, to vanish without a word, needs CAP_NET_ADMIN: run as root")
            client.socket.close()
            assert server.connections == 2
            await eventually(lambda: server.connections == 1)
        assert server.counters()["connection_closed:lost"] == 1


def _acknowledged(client: Client) -> bool:
    """Whether the client's kernel has acknowledged all that the Server said."""
    ports = [f":{client.socket.getpeername()[1]:04X}", f":{client.socket.getsockname()[1]:04X}"]
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        local, remote, _, queues = line.split()[1:5]
        if [local[8:], remote[8:]] == ports:
            return queues.startswith("00000000:")
    return False


async def test_half_open_connections_have_half_a_minute() -> None:
    clock = FakeClock()
    async with serving(clock=clock) as server, bystander(server):
        clients = [Client(server) for _ in range(60)]
        for client in clients:
            await client.hear(GREETING)
        clock.pass_by(29)
        assert server.connections == 61
        clock.pass_by(2)
        await eventually(lambda: server.connections == 1)
        assert server.counters()["violated:message_too_slow"] == 60
        for client in clients:
            assert await client.closed() == b""
            client.socket.close()


@pytest.mark.parametrize("message", ["set-up", "request", "start"])
async def test_an_octet_a_minute_is_too_slow(message: str) -> None:
    clock = FakeClock()
    async with serving(clock=clock) as server, bystander(server):
        with Client(server) as client:
            if message == "set-up":
                await client.hear(GREETING)
            else:
                await client.get_ready()
                # Nothing is owed between commands: SERVWAIT is much longer.
                clock.pass_by(600)
            await client.say(MESSAGES[message][:1])
            await eventually(lambda: _drained(client))
            clock.pass_by(29)
            assert server.connections == 2
            clock.pass_by(31)
            assert await client.closed() == b""
            assert (await client.event()).name == "violated:message_too_slow"


async def test_a_thousand_connections_at_once_of_one_address() -> None:
    clock = FakeClock()
    async with serving(clock=clock) as server, bystander(server):
        crowd = []
        told = []
        for _ in range(1000):
            crowd.append(Client(server))
            told.append(await crowd[-1].hear(GREETING))
        assert server.counters()["connections"] == 1001
        assert server.connections == server.options.maximum_connections_per_client == 64
        assert server.counters()["maximum_connections"] == 1000 - 63
        # Those that have a place lose it, as they say nothing; the others were told that there is none.
        clock.pass_by(31)
        await eventually(lambda: server.connections == 1)
        assert [await client.closed() for client in crowd] == [b""] * 1000
        assert sum(not any(octets[12:16]) for octets in told) == 1000 - 63
        for client in crowd:
            client.socket.close()
        (managed,) = await measure_managed(target(server), [request()], options())
        assert managed.result.summary.counter("received") == 5


async def test_a_client_that_reads_nothing_is_not_read() -> None:
    clock = FakeClock()
    async with serving(clock=clock) as server, bystander(server):
        with Client(server) as client:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            await client.get_ready()
            commands = clear(*[START] * 128)
            said = 0
            # Until the Server reads no more, and its kernel takes no more.
            while True:
                try:
                    async with asyncio.timeout(0.2):
                        await asyncio.get_running_loop().sock_sendall(client.socket, commands)
                        await asyncio.sleep(0)
                except TimeoutError:
                    break
                said += len(commands)
                assert said < 1 << 28
            stuck = server.counters()["command_refused:nothing_to_start"]
            assert stuck * ACK < 1 << 24
            clock.pass_by(899)
            assert server.connections == 2
            clock.pass_by(2)
            await eventually(lambda: server.counters().get("connection_closed:servwait") == 1)
            # Its last octets are waited for no longer than a moment.
            clock.pass_by(6)
            await eventually(lambda: server.connections == 1)


async def test_more_commands_at_once_than_may_wait() -> None:
    async with serving() as server, bystander(server):
        with Client(server) as client:
            await client.get_ready()
            with suppress(ConnectionError):
                await client.say(clear(*[START] * 65536))
            await client.closed()
            await eventually(lambda: "violated:too_much_unread" in server.counters())
            told = [event for event in server.take_events() if event.name.startswith("violated")]
            assert [event.section for event in told] == ["RFC 4656 section 6.5"]


async def test_a_range_of_ports_that_others_hold() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second,
    ):
        first.bind(("127.0.0.1", 23041))
        second.bind(("127.0.0.1", 23042))
        async with serving(port_range=(23040, 23042)) as server, bystander(server):
            with Client(server) as client:
                await client.get_ready()
                await client.say(clear(ASK))
                assert (await client.hear(ACCEPT))[0] == Accept.TEMPORARY_LIMIT
                event = await client.event()
                assert (event.name, event.section) == ("no_port", "RFC 4656 section 6.5")
                second.close()
                assert await client.run_session() == 23042


async def test_a_clock_that_steps_ends_nothing_before_its_time() -> None:
    clock = FakeClock()
    async with serving(clock=clock) as server, bystander(server):
        with Client(server) as client:
            await client.get_ready()
            clock.pass_by(-100_000)
            await client.run_session()
            clock.pass_by(100_000 + 899)
            # Its session runs, and had no packet: REFWAIT is that of the packet plane, whose clock did not step.
            assert len(server.sessions()) == 2
            await client.say(clear(STOP))
            await eventually(lambda: any(state.state == "stopping" for state in server.sessions()))
            clock.pass_by(2)
            await eventually(lambda: len(server.sessions()) == 1)
            assert not server.take_events()


@pytest.mark.parametrize("days", [-10_000, -1, 1, 10_000])
async def test_a_wall_clock_that_is_wrong_is_no_reason_not_to_reflect(days: int) -> None:
    """Start Time is the client's; a Session-Reflector answers what comes, from the start on (RFC 5357 section 4.2)."""
    async with serving() as server:
        with Client(server) as client, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind(("127.0.0.1", 0))
            sender.setblocking(False)
            start_time = timestamp_of(time.time_ns() + days * 86400 * 1000 * MS)
            await client.get_ready()
            await client.say(clear(replace(ASK, sender_port=sender.getsockname()[1], start_time=start_time), START))
            accepted = await client.hear(ACCEPT + ACK)
            assert accepted[::ACCEPT] == bytes(2)
            # An Error Estimate of Multiplier 0 would be none (RFC 4656 section 4.1.2).
            sender.sendto(bytes(13) + b"\1" + bytes(27), ("127.0.0.1", int.from_bytes(accepted[2:4])))
            assert len(await received(sender, 41)) == 41


@pytest.mark.parametrize("mode", SECURE)
@pytest.mark.parametrize(("key_id", "secret"), [("alice", b"battery staple"), ("mallory", SECRET)])
async def test_a_wrong_secret_and_an_unknown_key_id_are_one(mode: str, key_id: str, secret: bytes) -> None:
    async with serving() as server, bystander(server):
        wanted = ControlOptions(modes=(mode,), key_id=key_id, passphrase=lambda: secret)
        with pytest.raises(SessionRefusedError, match="the KeyID or its secret may be wrong") as caught:
            await ControlClient.connect(target(server), wanted)
        assert caught.value.accept == Accept.FAILURE
        (event,) = server.take_events()
        assert (event.name, event.section) == ("set_up_refused:key_id_unknown", "RFC 4656 section 3.1")
        await eventually(lambda: server.connections == 1)
