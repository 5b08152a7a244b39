"""Clients that mean no good, or cannot do better, against our Server: each gets what the threat model's table says.

Nearly every test has a bystander: another client whose session runs throughout, and must not notice. What a client does
wrong is one event, which names the rule and its section.
"""

from __future__ import annotations

import random
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest

from twoway.config.managed import ControlOptions
from twoway.control import codec, owamp_codec
from twoway.control.owamp_codec import OwampStopSessions, RequestSession, ScheduleSlot, SendRecord
from twoway.control.registry import Accept, Mode
from twoway.drivers.control_client import ControlClient
from twoway.errors import SessionRefusedError

from .hostile import (
    ACCEPT,
    ACK,
    ALL_ONES,
    ASK,
    ASK_ONE_WAY,
    GREETING,
    MESSAGES,
    SERVER_START,
    START,
    STOP,
    Client,
    bystander,
    clear,
    set_up,
)
from .serving import (
    MODES,
    SECRET,
    eventually,
    serving,
    target,
)

SECURE = MODES[1:]


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
FETCH = clear(owamp_codec.FetchSession(0, ALL_ONES, SID))
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
        await eventually(lambda: is_free(port))


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wanted:
        try:
            wanted.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


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


def spoiled(messages: list[bytes], chance: random.Random) -> bytes:
    """A conversation with messages dropped, doubled, out of order, cut short, and octets altered."""
    said = list(messages)
    for _ in range(chance.randrange(4)):
        at = chance.randrange(len(said))
        match chance.randrange(4):
            case 0:
                said.insert(at, said[chance.randrange(len(said))])
            case 1:
                said[at] = said[at][: chance.randrange(len(said[at]) + 1)]
            case 2:
                said[at], said[0] = said[0], said[at]
            case 3:
                octets = bytearray(said[at] or b"x")
                octets[chance.randrange(len(octets))] = chance.randrange(256)
                said[at] = bytes(octets)
    return b"".join(said)


@pytest.mark.parametrize("protocol", ["twamp", "owamp"])
@pytest.mark.parametrize("seed", range(4))
async def test_spoiled_conversations(protocol: str, seed: int) -> None:
    """Whatever becomes of each, the Server has nothing of it in the end, and nobody else notices."""
    chance = random.Random(seed)  # noqa: S311  (the same each time)
    if protocol == "twamp":
        talk = [set_up(chance.choice((1, INDIVIDUAL))), clear(ASK), clear(ASK), clear(START), clear(STOP), clear(ASK)]
    else:
        talk = [set_up(1), clear(ASK_ONE_WAY), clear(START), clear(OwampStopSessions(Accept.OK, ())), FETCH]
    async with serving(protocol) as server, bystander(server):
        for _ in range(50):
            with Client(server) as client, suppress(ConnectionError):
                await client.say(spoiled(talk, chance))
                client.socket.shutdown(socket.SHUT_WR)
                await client.closed()
        await eventually(lambda: server.connections == 1 and len(server.sessions()) == 1)
        assert all(event.section or event.name == "stopped_invalid" for event in server.take_events())
        counters = server.counters()
        assert counters["connections"] == 51
        # What did not end by itself is what the bystander has.
        ended = sum(number for name, number in counters.items() if name.startswith("session_ended:"))
        assert counters["sessions"] == ended + 1
