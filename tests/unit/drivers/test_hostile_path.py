"""Somebody between our Control-Client and our Server, who alters, replays and reflects what they say, and reads logs.

That every octet of every message is protected is shown on the machines (`tests/unit/control/test_hostile.py`); here the
same is seen over sockets, with what it comes to.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import traceback
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from twoway.config.managed import ControlOptions
from twoway.drivers.control_client import ControlClient
from twoway.errors import ControlConnectionError, RemoteControlError, SessionRefusedError, TwowayError

from .serving import MODES, PATIENCE_S, eventually, options, received, request, serving, target, up_to_ready

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator

    from twoway.drivers.server import Server

SECURE = MODES[1:]
GREETING, SET_UP_RESPONSE, SERVER_START = 64, 164, 48
REQUEST, ACCEPT, COMMAND = 112, 48, 32
AT_REQUEST, AT_START = SET_UP_RESPONSE, SET_UP_RESPONSE + REQUEST
"""Where they begin in the client's stream."""
AT_ACCEPT, AT_ACK = GREETING + SERVER_START, GREETING + SERVER_START + ACCEPT
"""Where they begin in the Server's."""


class Between:
    """Carries octets both ways, keeps them, and alters one of them if told to."""

    def __init__(self, server: Server, altered: str = "", at: int = -1) -> None:
        self._server = server
        self._altered, self._at = altered, at
        self.said = {"client": bytearray(), "server": bytearray()}
        self.where = ""

    async def _carry(self, who: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while octets := bytearray(await reader.read(65536)):
                begin = len(self.said[who])
                self.said[who] += octets
                if who == self._altered and begin <= self._at < len(self.said[who]):
                    octets[self._at - begin] ^= 0x10
                writer.write(octets)
            writer.write_eof()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, host, port = self._server.local_addresses[0]
        far_reader, far_writer = await asyncio.open_connection(host, port)
        try:
            await asyncio.gather(self._carry("client", reader, far_writer), self._carry("server", far_reader, writer))
        finally:
            for end in (writer, far_writer):
                end.close()
                with suppress(ConnectionError):
                    await end.wait_closed()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Between]:
        tasks: list[asyncio.Task[None] | None] = []

        async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.append(asyncio.current_task())
            await self._meet(reader, writer)

        listener = await asyncio.start_server(meet, "127.0.0.1", 0)
        self.where = "{}:{}".format(*listener.sockets[0].getsockname())
        try:
            yield self
        finally:
            listener.close()
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*filter(None, tasks))


async def measured(where: str, mode: str) -> None:
    """A whole measurement, or what it fails with."""
    async with await ControlClient.connect(where, options(mode)) as client:
        session = await client.request_session(request(count=3))
        await client.start()
        async for _ in session:
            pass
        await client.stop()
        # With TWAMP nothing is answered to a stop; a request after it waits for its turn.
        await client.request_session(request())


@pytest.mark.parametrize("mode", SECURE)
@pytest.mark.parametrize(
    "at",
    [
        SET_UP_RESPONSE - 16,
        AT_REQUEST + 40,
        *(AT_REQUEST + REQUEST - n for n in (16, 9, 1)),
        *(AT_START + COMMAND - n for n in (16, 1)),
        *(AT_START + 2 * COMMAND - n for n in (16, 1)),
    ],
)
async def test_an_octet_of_the_client_altered(mode: str, at: int) -> None:
    async with serving() as server:
        async with Between(server, "client", at).listening() as between:
            with pytest.raises((ControlConnectionError, SessionRefusedError)):
                await measured(between.where, mode)
        await eventually(lambda: server.connections == 0)
        (event,) = server.take_events()
        # The Client-IV is the first block's; that may then be any command.
        names = ("violated:hmac", "violated:command_unknown") if at < AT_REQUEST else ("violated:hmac",)
        assert event.name in names
        assert event.section in ("RFC 4656 section 3.2", "RFC 5357 section 3.5")
        assert not server.sessions()


@pytest.mark.parametrize("mode", SECURE)
@pytest.mark.parametrize(
    "at",
    [GREETING + 16, AT_ACCEPT, *(AT_ACCEPT + ACCEPT - n for n in (16, 9, 1)), *(AT_ACK + COMMAND - n for n in (16, 1))],
)
async def test_an_octet_of_the_server_altered(mode: str, at: int) -> None:
    async with serving() as server:
        async with Between(server, "server", at).listening() as between:
            with pytest.raises(RemoteControlError) as caught:
                await measured(between.where, mode)
            assert (caught.value.rule, caught.value.section) == ("hmac", "RFC 4656 section 3.2")
        await eventually(lambda: server.connections == 0)
        assert not server.sessions()


@pytest.mark.parametrize("mode", SECURE)
async def test_a_stream_that_is_replayed_to_the_server(mode: str) -> None:
    """Its Token answers another Challenge."""
    async with serving() as server:
        async with Between(server).listening() as between:
            await measured(between.where, mode)
        await eventually(lambda: server.connections == 0)
        sessions = server.counters()["sessions"]
        assert not server.take_events()
        with up_to_ready(server) as connection:
            with suppress(ConnectionError):
                await asyncio.get_running_loop().sock_sendall(connection, between.said["client"])
                refusal = (await received(connection, GREETING + SERVER_START))[GREETING:]
                assert refusal == bytes(15) + b"\1" + bytes(32)
            await eventually(lambda: server.connections == 0)
        (event,) = server.take_events()
        assert (event.name, event.section) == ("set_up_refused:key_id_unknown", "RFC 4656 section 3.1")
        assert server.counters()["sessions"] == sessions


@pytest.mark.parametrize("mode", SECURE)
@pytest.mark.parametrize("what", ["the Server's words of another time", "its own words"])
async def test_a_stream_that_is_replayed_to_the_client(mode: str, what: str) -> None:
    """Its session keys are new, and each direction has its own IV."""
    async with serving() as server, Between(server).listening() as between:
        await measured(between.where, mode)
        words = bytes(between.said["server"])

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words[:GREETING])
        response = await reader.readexactly(SET_UP_RESPONSE)
        if what == "its own words":
            # Even with its own IV as the Server's.
            writer.write(bytes(16) + response[-16:] + bytes(16))
            writer.write((await reader.readexactly(REQUEST))[:ACCEPT])
        else:
            writer.write(words[GREETING:AT_ACCEPT])
            await reader.readexactly(REQUEST)
            writer.write(words[AT_ACCEPT:])
        with suppress(ConnectionError):
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        done.set()

    done = asyncio.Event()
    listener = await asyncio.start_server(play, "127.0.0.1", 0)
    async with listener:
        where = "{}:{}".format(*listener.sockets[0].getsockname())
        with pytest.raises(RemoteControlError) as caught:
            await measured(where, mode)
        assert (caught.value.rule, caught.value.section) == ("hmac", "RFC 4656 section 3.2")
        async with asyncio.timeout(PATIENCE_S):
            await done.wait()


def told_by(things: list[object]) -> str:
    """All that these say of themselves: errors with the variables of each frame of ours that they came through."""
    texts = []
    for thing in things:
        texts += [repr(thing), str(thing)]
        if isinstance(thing, BaseException):
            for frame, _ in traceback.walk_tb(thing.__traceback__):
                if "/twoway/" in frame.f_code.co_filename:
                    texts += map(repr, frame.f_locals.values())
    return "\n".join(texts)


SENTINEL = b"sentinel battery staple"


@pytest.mark.parametrize("mode", SECURE)
async def test_a_secret_is_told_nowhere(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    """With every failure above, the loop in debug mode, and everything of ours that is alive asked what it is."""
    asyncio.get_running_loop().set_debug(True)
    caplog.set_level(logging.DEBUG)
    things: list[object] = []
    secrets = (("alice", SENTINEL),)
    wanted = ControlOptions(modes=(mode,), key_id="alice", passphrase=lambda: SENTINEL)
    wrong = ControlOptions(modes=(mode,), key_id="alice", passphrase=lambda: SENTINEL + b"?")
    async with serving(secrets=secrets, port_range=(15060, 15061)) as server:
        for altered, at in (("client", AT_REQUEST + REQUEST - 1), ("server", AT_ACCEPT + ACCEPT - 1), ("", -1)):
            async with Between(server, altered, at).listening() as between:
                try:
                    async with await ControlClient.connect(between.where, wanted) as client:
                        things += [client, await client.request_session(request())]
                        things += [client, await client.request_session(request())]
                        await client.request_session(request())
                except TwowayError as error:
                    things.append(error)
        with pytest.raises(SessionRefusedError) as refused:
            await ControlClient.connect(target(server), wrong)
        assert sum(isinstance(thing, TwowayError) for thing in things) == 3
        things += [refused.value, wanted, wrong, server.options, server.state(), *server.take_events()]
        things += [thing for thing in gc.get_objects() if str(type(thing).__module__).startswith("twoway")]
        await eventually(lambda: server.connections == 0)
    text = told_by(things) + caplog.text
    for form in (SENTINEL.decode(), SENTINEL.hex(), repr(SENTINEL)[2:-1]):
        assert form not in text


def test_no_option_takes_a_secret() -> None:
    """What is in argv is seen by everybody on the machine: secrets come from files."""
    from twoway.cli.ping_arguments import ping_parser
    from twoway.cli.server import server_parser

    for parser in (ping_parser(), server_parser()):
        actions: list[argparse.Action] = parser._actions  # noqa: SLF001  (argparse has no other list of them)
        named = {option for action in actions for option in action.option_strings}
        secretive = {name for name in named if any(word in name for word in ("key", "pass", "secret"))}
        assert all(name.endswith(("-file", "-id")) for name in secretive), secretive
        assert any(name.endswith("-file") for name in secretive)
