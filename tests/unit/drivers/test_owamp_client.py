"""What the Control-Client tells an OWAMP Server of itself, over loopback."""

from __future__ import annotations

import time
from ipaddress import ip_address

import pytest

from twoway.drivers.control_client import ControlClient
from twoway.drivers.managed_plane import wall_ns_of

from .serving import MS, eventually, options, request, serving, target


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("server_sends", [False, True])
async def test_both_addresses_and_a_start_that_is_yet_to_come(server_sends: bool, host: str) -> None:
    async with serving("owamp", host) as server:
        async with await ControlClient.connect(target(server), options(protocol="owamp")) as client:
            before_ns = time.time_ns()
            session = await client.request_session(request(server_sends=server_sends, start_ns=None))
            (state,) = server.sessions()
            assert state.sid == session.sid
            agreed = session.negotiated.request
            assert agreed.sender_address == agreed.receiver_address == ip_address(host)
            start_ns = wall_ns_of(agreed.start_time, before_ns)
            assert 1000 * MS <= start_ns - before_ns <= 3000 * MS
            assert client.round_trip_ns > 0
            # RFC 4656 section 3.5: an IPv4 address, a timestamp, four random octets; whoever receives makes it.
            assert session.sid[:4] == ip_address(host).packed[-4:]
            made_ns = wall_ns_of(int.from_bytes(session.sid[4:12]), before_ns)
            assert abs(made_ns - before_ns) < 60_000 * MS
        await eventually(lambda: not server.sessions())


async def test_the_addresses_can_be_left_to_the_server() -> None:
    async with (
        serving("owamp") as server,
        await ControlClient.connect(target(server), options(protocol="owamp")) as client,
    ):
        anybody = str(ip_address(0))
        await client.request_session(request(sender_address=anybody, receiver_address=anybody))
        (state,) = server.sessions()
        assert state.sender[0] == state.receiver[0] == "127.0.0.1"
