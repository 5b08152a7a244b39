"""Wireshark's TWAMP-Control dissector (Debian's tshark) on what both of our ends say.

It wants one message in each segment, and requests and answers in turn; encrypted connections it can follow no further
than set-up.
"""

from __future__ import annotations

import datetime as dt
import os
import secrets
import shutil
import subprocess
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw
from scapy.utils import wrpcap

from twoway.control.configuration import ClientConfiguration, ServerConfiguration
from twoway.control.control_client import ControlClient
from twoway.control.events import SessionRequested, StartRequested
from twoway.control.negotiated import SessionRequest
from twoway.control.registry import Mode
from twoway.control.security import Passphrase, PassphraseCredentials
from twoway.control.server import Server
from twoway.control.transitions import State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_START_TIME = 0xEEAE4CBB_80000000
_NTP_TO_UNIX_S = 2_208_988_800
_FIELDS = [
    "modes",
    "mode",
    "count",
    "keyid",
    "challenge",
    "salt",
    "iv",
    "accept",
    "server_uptime",
    "command",
    "ipvn",
    "conf_sender",
    "conf_receiver",
    "number_of_schedule_slots",
    "number_of_packets",
    "sender_port",
    "receiver_port",
    "sender_ipv4",
    "receiver_ipv4",
    "sender_ipv6",
    "receiver_ipv6",
    "session_id",
    "padding_length",
    "start_time",
    "timeout",
    "type-p",
    "numsessions",
]
_REQUEST = SessionRequest(
    sender_port=5001,
    receiver_port=6001,
    timeout=5 << 32,  # whole seconds: this dissector takes the fraction for something else
    padding_length=1234,
    start_time=_START_TIME + (60 << 32),
    dscp=46,
)


@pytest.fixture(autouse=True)
def _needs_tshark(request: pytest.FixtureRequest) -> None:
    if shutil.which("tshark") is None:
        pytest.skip(f"{request.node.name}: the program tshark is not installed (Debian package tshark)")


def _conversation(mode: Mode, client_address: str, server_address: str) -> Iterator[tuple[bool, bytes]]:
    """Each message of a whole connection, and whether the client said it."""
    here, there = ip_address(client_address), ip_address(server_address)
    secret = Passphrase(b"secret")
    client = ControlClient(
        ClientConfiguration(preference=(mode,), credentials=PassphraseCredentials("alice", secret)),
        local_address=here,
        peer_address=there,
        random_octets=secrets.token_bytes,
    )
    server = Server(
        ServerConfiguration(_START_TIME, modes=Mode.UNAUTHENTICATED | Mode.ENCRYPTED),
        local_address=there,
        peer_address=here,
        random_octets=secrets.token_bytes,
        passphrase=lambda _: secret,
    )
    client.connection_made(0)
    server.connection_made(0)
    request = replace(_REQUEST, sender_address=here, receiver_address=there)
    commands = [
        lambda: client.request_session(request, 0),
        lambda: client.start_sessions(0),
        lambda: client.stop_sessions(0),
    ]
    while True:
        if octets := server.data_to_send():
            yield False, octets
            client.receive_data(octets, 0)
        if client.state in (State.READY, State.ACTIVE):
            if not commands:
                return
            commands.pop(0)()
        if octets := client.data_to_send():
            yield True, octets
            server.receive_data(octets, 0)
        while (event := server.next_event()) is not None:
            if isinstance(event, SessionRequested):
                server.accept_session(7001, 0, timestamp=_START_TIME)
            elif isinstance(event, StartRequested):
                server.answer_start(0)


def _decode(folder: Path, mode: Mode, client: str = "192.0.2.1", server: str = "192.0.2.2") -> list[dict[str, str]]:
    """What tshark reads in each message."""
    frames = []
    sequence = {True: 1000, False: 2000}
    layer = IPv6 if ":" in client else IP
    for by_client, octets in _conversation(mode, client, server):
        source, destination, ports = (client, server, (40000, 862)) if by_client else (server, client, (862, 40000))
        tcp = TCP(sport=ports[0], dport=ports[1], flags="PA", seq=sequence[by_client], ack=sequence[not by_client])
        frames.append(layer(src=source, dst=destination) / tcp / Raw(octets))
        sequence[by_client] += len(octets)
    pcap = folder / "connection.pcap"
    wrpcap(str(pcap), frames, linktype=101)  # LINKTYPE_RAW: starts with the IP header
    command = ["tshark", "-n", "-r", str(pcap), "-T", "fields", "-E", "separator=|"]
    for name in _FIELDS:
        command += ["-e", f"twamp.control.{name}"]
    done = subprocess.run(
        [*command, "-e", "_ws.malformed"],
        env={**os.environ, "TZ": "UTC"},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    rows = [line.split("|") for line in done.stdout.splitlines()]
    assert len(rows) == len(frames)
    followed = rows if mode is Mode.UNAUTHENTICATED else rows[:3]
    assert not any(row[-1] for row in followed), "a message is malformed"
    return [dict(zip(_FIELDS, row[:-1], strict=True)) for row in followed]


def _seconds(text: str) -> int:
    moment = dt.datetime.strptime(text.rsplit(".", 1)[0], "%b %d, %Y %H:%M:%S").replace(tzinfo=dt.UTC)
    return int(moment.timestamp()) + _NTP_TO_UNIX_S


@pytest.mark.parametrize(
    ("client", "server", "version"), [("192.0.2.1", "192.0.2.2", 4), ("2001:db8::1", "2001:db8::2", 6)]
)
def test_a_connection_in_the_clear(tmp_path: Path, client: str, server: str, version: int) -> None:
    greeting, response, start, request, accept, _, ack, stop = _decode(tmp_path, Mode.UNAUTHENTICATED, client, server)
    assert (greeting["modes"], greeting["count"]) == ("5", "2048")
    assert int(response["mode"], 0) == 1
    assert (start["accept"], _seconds(start["server_uptime"])) == ("0", _START_TIME >> 32)
    wanted = {
        "command": "5",
        "ipvn": str(version),
        "conf_sender": "0",
        "conf_receiver": "0",
        "number_of_schedule_slots": "0",
        "number_of_packets": "0",
        "sender_port": "5001",
        "receiver_port": "6001",
        f"sender_ipv{version}": client,
        f"receiver_ipv{version}": server,
        "padding_length": "1234",
        "timeout": "5.000000000",
    }
    assert {name: request[name] for name in wanted} == wanted
    assert _seconds(request["start_time"]) == (_START_TIME >> 32) + 60
    assert int(request["type-p"], 0) == 46 << 24
    assert (accept["accept"], accept["receiver_port"]) == ("0", "7001")
    assert accept["session_id"].replace(":", "")[8:24] == f"{_START_TIME:016x}"
    assert ack["accept"] == "0"
    assert (stop["command"], stop["accept"], stop["numsessions"]) == ("3", "0", "1")


def test_the_set_up_of_an_encrypted_connection(tmp_path: Path) -> None:
    greeting, response, start = _decode(tmp_path, Mode.ENCRYPTED)
    assert greeting["modes"] == "5"
    assert int(response["mode"], 0) == 4
    assert bytes.fromhex(response["keyid"].replace(":", "")).rstrip(b"\0") == b"alice"
    assert start["accept"] == "0"
