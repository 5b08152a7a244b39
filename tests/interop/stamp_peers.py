"""asmie/stamp-suite and cerfcast/teaparty against our two ends on loopback, and the TLVs that pass between them.

A relay stands between, which keeps the octets of both directions: what is said of a TLV here is read from them.
"""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import pytest

from ports import LOOPBACK, free_port
from twoway._native import decode_test_packet

from .peers import Running, at, documents
from .relay import TWOWAY, Exchange, Relay

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

KEY: Final = "a key of both ends"
COUNT: Final = 3
SSID: Final = 5
_BOUND_S: Final = 30.0
ELSEWHERE: Final = {4: "192.0.2.9", 6: "2001:db8::9"}
"""Addresses of nobody (RFC 5737, RFC 3849)."""
_ONE_LINE_OF_KEYS: Final = f"k1 text:{KEY}\n"


def program(name: str, source: str) -> str:
    """Where a peer's program is. Skips the test if it is not on PATH."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on PATH: build github.com/{source} and put its program on PATH")
    return found


def stamp_suite() -> str:
    return program("stamp-suite", "asmie/stamp-suite")


def teaparty() -> str:
    return program("teaparty", "cerfcast/teaparty")


@dataclass(frozen=True, slots=True)
class Tlv:
    """One TLV, or sub-TLV, as it was on the wire."""

    flags: int
    kind: int
    value: bytes

    @property
    def sub_tlvs(self) -> list[Tlv]:
        """Those of a Value that begins with them."""
        return _split(self.value)


def _split(octets: bytes) -> list[Tlv]:
    found = []
    while octets:
        length = int.from_bytes(octets[2:4])
        assert len(octets) >= 4 + length, "a TLV goes past its end"
        found.append(Tlv(octets[0], octets[1], octets[4 : 4 + length]))
        octets = octets[4 + length :]
    return found


def tlvs(octets: bytes, role: str, *, authenticated: bool) -> list[Tlv]:
    """What follows the base packet, whose HMAC, where it has one, verifies."""
    decoded = decode_test_packet(
        octets,
        format="stamp-authenticated" if authenticated else "stamp",
        role=role,
        stamp_key=KEY.encode() if authenticated else None,
        twamp_aes_key=None,
        twamp_hmac_key=None,
        near_ns=time.time_ns(),
    )
    assert decoded.tlvs is not None
    return [Tlv(*tlv) for tlv in decoded.tlvs]


@dataclass(frozen=True, slots=True)
class Seen:
    """One run: what passed, and what the Session-Sender said of it."""

    exchange: Exchange
    authenticated: bool
    text: str

    @property
    def document(self) -> dict[str, Any]:
        """The JSON of our Session-Sender."""
        (document,) = documents(self.text)
        return document

    def counter(self, name: str) -> object:
        return next(
            self.document[part][name] for part in ("packets", "tlvs", "tool", "marks") if name in self.document[part]
        )

    def asked(self, number: int = -1) -> list[Tlv]:
        return tlvs(self.exchange.requests[number], "sender", authenticated=self.authenticated)

    def answered(self, number: int = -1) -> list[Tlv]:
        return tlvs(self.exchange.replies[number], "reflector", authenticated=self.authenticated)

    def flags(self, number: int = -1) -> list[tuple[int, int]]:
        """(Type, Flags) of each TLV of a reply."""
        return [(tlv.kind, tlv.flags) for tlv in self.answered(number)]

    def value(self, kind: int, number: int = -1) -> bytes:
        """Value of the only TLV of that type in a reply."""
        (value,) = (tlv.value for tlv in self.answered(number) if tlv.kind == kind)
        return value


def key_file(folder: Path) -> str:
    """The key for our ends."""
    path = folder / "key"
    path.touch(0o600)
    path.write_text(_ONE_LINE_OF_KEYS, encoding="ascii")
    return str(path)


def ask_with_ours(relay: Relay, family: int, options: Sequence[str], *, authenticated: bool = False) -> Seen:
    """What our Session-Sender hears of a reflector behind the relay."""
    command = [TWOWAY, "ping", "-c", str(COUNT), "-i", "20ms", "-W", "1s", "--ssid", str(SSID), "--json", *options]
    done = subprocess.run(
        [*command, at(family, relay.port)], capture_output=True, text=True, timeout=_BOUND_S, check=False
    )
    assert done.stdout, done.stderr
    return Seen(relay.exchange, authenticated, done.stdout)


def _ends_by_itself(command: Sequence[str], bound_s: float) -> str:
    """What it says, both streams; it is ended if it waits for a reply that does not come."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            return process.communicate(timeout=bound_s)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            return process.communicate()[0] + "\nno end"


class StampSuite:
    """asmie/stamp-suite."""

    def __init__(self, folder: Path, family: int, *, authenticated: bool = False, keyed: bool = False) -> None:
        self.family = family
        self.authenticated = authenticated
        self._program = stamp_suite()
        self._folder = folder
        self._common = ["-A", "A"] if authenticated else []
        if authenticated or keyed:
            self._common += ["--hmac-key", KEY.encode().hex()]

    def reflector(self, *options: str) -> tuple[Running, int]:
        port = free_port(self.family)
        listen = ["-i", "-S", LOOPBACK[self.family], "-o", str(port), "--stateful-reflector"]
        command = [self._program, *listen, *self._common, *options]
        return Running(command, self._folder / "stamp-suite.log", port, "udp"), port

    def ask(self, relay: Relay, *options: str) -> Seen:
        host = LOOPBACK[self.family]
        command = [self._program, "-r", host, "-p", str(relay.port), "-S", host, "-o", str(free_port(self.family))]
        command += ["-c", str(COUNT), "-d", "20", "-L", "1", "-R", "--ssid", str(SSID), *self._common, *options]
        return Seen(relay.exchange, self.authenticated, _ends_by_itself(command, _BOUND_S))


class Teaparty:
    """cerfcast/teaparty. Its sender sends one packet."""

    def __init__(self, folder: Path, family: int, *, authenticated: bool = False) -> None:
        self.family = family
        self.authenticated = authenticated
        self._program = teaparty()
        self._folder = folder
        self._management = free_port()
        self._port = free_port(family)

    def reflector(self) -> tuple[Running, int]:
        config = self._folder / "teaparty.yaml"
        listen = {"ip": LOOPBACK[self.family], "port": self._port}
        management = {"ip": LOOPBACK[4], "port": self._management}
        config.write_text(json.dumps([[{"general": {"listen": listen, "meta_addr": management}}]]), encoding="ascii")
        command = [self._program, "-dd", "reflector", "--config", str(config)]
        # Nothing else ends it: its web server takes SIGTERM for itself.
        return Running(command, self._folder / "teaparty.log", self._port, "udp", signal.SIGKILL), self._port

    def know(self, relay: Relay) -> None:
        """Tells its reflector the key of a session, which it takes for IPv4 alone."""
        session = {"src_ip": LOOPBACK[4], "src_port": relay.inner_port, "dst_ip": LOOPBACK[4], "dst_port": self._port}
        deadline = time.monotonic() + _BOUND_S
        while True:
            connection = http.client.HTTPConnection(LOOPBACK[4], self._management, timeout=_BOUND_S)
            try:
                body = json.dumps({**session, "ssid": SSID, "key": KEY})
                connection.request("POST", "/session", body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                assert response.status == http.HTTPStatus.OK, response.read()
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, "its management interface does not listen"
            else:
                return
            finally:
                connection.close()

    def ask(self, relay: Relay, *chain: str, options: Sequence[str] = (), bound_s: float = 5) -> Seen:
        command = [self._program, "-dd", "sender", LOOPBACK[self.family], str(relay.port), "--ssid", str(SSID)]
        if self.authenticated:
            command += ["--authenticated", KEY]
        command += [*options, *(("tlvs", *chain) if chain else ())]
        return Seen(relay.exchange, self.authenticated, _ends_by_itself(command, bound_s))


@dataclass(frozen=True, slots=True)
class Asked:
    """What our Session-Sender asks for, and what comes of it at a peer's Session-Reflector."""

    tlv: str
    options: tuple[str, ...]
    """`HERE` and `OTHER` become addresses of the family."""
    flags: tuple[tuple[int, int], ...] = ()
    """(Type, Flags) in the first reply; the HMAC TLV of authenticated ones is added. Empty: there is no reply."""
    each: tuple[str, ...] = ()
    """Counters that count every reply. Other flags of TLVs are in none."""
    counted: tuple[tuple[str, object], ...] = ()
    """What else stands in the document."""
    families: tuple[int, ...] = (4, 6)
    modes: tuple[bool, ...] = (False, True)
    """Unauthenticated, authenticated."""
    hmac_flags: int = 0
    signed: bool = True
    """Whether authenticated packets have an HMAC TLV: those with Extra Padding alone have none."""


class Case(Protocol):
    """What is put to both ends."""

    @property
    def tlv(self) -> str: ...
    @property
    def families(self) -> tuple[int, ...]: ...
    @property
    def modes(self) -> tuple[bool, ...]: ...


def cases(*asked: Case, authenticated: tuple[int, ...] = (4, 6)) -> list[Any]:
    """Each case for each family and mode that it is for. `authenticated`: families in which that can be."""
    return [
        pytest.param(case, family, mode, id=f"{case.tlv}-ipv{family}-{'authenticated' if mode else 'open'}")
        for case in asked
        for family in case.families
        for mode in case.modes
        if not mode or family in authenticated
    ]


def placed(options: Sequence[str], family: int) -> list[str]:
    here, elsewhere = LOOPBACK[family], ELSEWHERE[family]
    return [option.replace("HERE", here).replace("OTHER", elsewhere) for option in options]


def check_asked(case: Asked, seen: Seen) -> None:
    """That a peer's Session-Reflector answered as it does."""
    received = seen.counter("received")
    if not case.flags:
        assert (received, seen.exchange.replies) == (0, [])
        return
    assert isinstance(received, int)
    assert received >= 1
    signature = [(8, case.hmac_flags)] if seen.authenticated and case.signed else []
    assert seen.flags(0) == [*case.flags, *signature]
    for name in ("tlv_unrecognized", "tlv_malformed", "tlv_integrity_failed", *case.each):
        if name not in dict(case.counted):
            assert seen.counter(name) == (received if name in case.each else 0), name
    for name, value in case.counted:
        assert seen.counter(name) == value, name
