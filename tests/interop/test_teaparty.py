"""cerfcast/teaparty: every STAMP TLV that it knows, each end with the other, as docs/interop.md writes it up.

Where it does not do as the RFCs say, the case has what it does; a version that does better fails, and is written up.
Keys reach its Session-Reflector by its management interface, which takes sessions over IPv4 alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from .relay import ReflectorProcess, Relay
from .stamp_peers import Asked, Teaparty, ask_with_ours, cases, check_asked, key_file, placed

if TYPE_CHECKING:
    from pathlib import Path

_U, _M, _I, _C = 0x80, 0x40, 0x20, 0x10
_UNKNOWN: Final = ("tlv_unrecognized",)
_NET: Final = {4: "127.0.0.0/8", 6: "::1/128"}

ASKED: Final = (
    Asked("extra-padding", ("-s", "200"), ((1, 0),), signed=False),
    # It says neither ports nor the destination, and knows no IPv6 here: then its thread ends, without a reply.
    Asked("location", ("--tlv", "location"), ((2, 0),), counted=(("location_source", "127.0.0.1"),), families=(4,)),
    Asked("location", ("--tlv", "location"), families=(6,)),
    Asked(
        "timestamp-information",
        ("--tlv", "timestamps"),
        ((3, 0),),
        counted=(("far_sync_source_in", "ntp"), ("far_timestamp_out", "software-local")),
    ),
    Asked(
        "class-of-service",
        ("--tlv", "cos=af41", "-D", "ef"),
        ((4, 0),),
        counted=(("remarked_forward", 0), ("remarked_backward", 0), ("dscp_refused", 0)),
    ),
    Asked("direct-measurement", ("--tlv", "direct"), ((5, _U),), _UNKNOWN),
    Asked(
        "access-report",
        ("--tlv", "access-report=3gpp:available"),
        ((6, 0),),
        counted=(("access_reports_acknowledged", 1),),
        modes=(False,),
    ),
    Asked("follow-up-telemetry", ("--tlv", "follow-up"), ((7, 0),)),
    Asked("destination-node-address", ("--tlv", "node=HERE"), ((9, 0),), modes=(False,)),
    # A session that it was told the key of has no SSID for it, without which it takes no such TLV.
    Asked(
        "destination-node-address", ("--tlv", "node=HERE"), ((9, _U | _M),), ("tlv_malformed",), (), (4,), (True,), _U
    ),
    # It makes any address that it is told its own, and cannot send.
    Asked("another-node", ("--tlv", "node=OTHER"), modes=(False,)),
    Asked("return-path-address", ("--return-path", "address:HERE"), ((10, 0),)),
    # All that it knows of Return Path is the address; at anything else its thread ends.
    Asked("return-path-same-link", ("--return-path", "same-link")),
    Asked("return-path-none", ("--return-path", "none")),
    Asked("return-path-mpls", ("--return-path", "mpls:16001")),
    Asked("return-path-srv6", ("--return-path", "srv6:2001:db8::1"), families=(6,)),
    Asked("micro-session-id", ("--tlv", "micro-session=7"), ((11, _U),), _UNKNOWN),
    # It takes a Value of 8 octets only, and does not answer another one.
    Asked("reflected-test-packet-control", ("--tlv", "control=3x200@1ms")),
    Asked("reflected-fixed-header", ("--tlv", "fixed-header"), ((247, _U),), ("headers_refused", *_UNKNOWN)),
    Asked(
        "reflected-ipv6-extension-header",
        ("--tlv", "extension-header=8"),
        ((246, _U),),
        ("headers_refused", *_UNKNOWN),
    ),
)


@pytest.mark.parametrize(("case", "family", "authenticated"), cases(*ASKED, authenticated=(4,)))
def test_our_sender_and_its_reflector(case: Asked, family: int, authenticated: bool, tmp_path: Path) -> None:
    peer = Teaparty(tmp_path, family, authenticated=authenticated)
    running, port = peer.reflector()
    keys = ("--auth-key-file", key_file(tmp_path)) if authenticated else ()
    with running, Relay(port, family) as relay:
        if authenticated:
            peer.know(relay)
        options = [*placed(case.options, family), *keys]
        seen = ask_with_ours(relay, family, options, authenticated=authenticated)
    check_asked(case, seen)
    if case.tlv == "follow-up-telemetry":
        received = seen.counter("received")
        assert isinstance(received, int)
        assert seen.counter("followed_up") == received - 1


def test_our_authenticated_access_report_and_its_reflector(tmp_path: Path) -> None:
    """In packets without the report Extra Padding stands in its place, and the HMAC that it makes of that is wrong.

    RFC 8972 section 4.8 has all TLVs before the HMAC TLV in it. Of Extra Padding it takes the header alone.
    """
    peer = Teaparty(tmp_path, 4, authenticated=True)
    running, port = peer.reflector()
    with running, Relay(port, 4) as relay:
        peer.know(relay)
        options = ["--tlv", "access-report=3gpp:available", "--auth-key-file", key_file(tmp_path)]
        seen = ask_with_ours(relay, 4, options, authenticated=True)
    received = seen.counter("received")
    assert isinstance(received, int)
    assert seen.flags(0) == [(6, 0), (8, 0)]
    assert seen.counter("access_reports_acknowledged") == 1
    assert seen.counter("tlv_integrity_failed") == received - 1


@dataclass(frozen=True, slots=True)
class Told:
    """What its Session-Sender asks for, and what ours answers."""

    tlv: str
    chain: tuple[str, ...]
    flags: tuple[tuple[int, int], ...]
    """(Type, Flags) in our reply."""
    said: str = "malformed: None }, raw_length"
    """What stands in what it made of our reply."""
    value: bytes | None = None
    """Of the TLV in our reply."""
    families: tuple[int, ...] = (4, 6)
    modes: tuple[bool, ...] = (False, True)


_UNREADABLE: Final = "Reserved bits contain non-zero data"
"""It takes C, which RFC 10052 defines, for a reserved bit, and what follows for malformed."""

TOLD: Final = (
    Told("extra-padding", ("padding",), ((1, 0),), modes=(False,)),
    Told("location", ("location",), ((2, 0),)),
    Told("timestamp-information", ("time",), ((3, 0),), "method_out: SWLocal"),
    Told("class-of-service", ("class-of-service", "--dscp", "af41"), ((4, 0),), "dscp1: AF41, dscp2: CS0"),
    Told(
        "class-of-service-ecn",
        ("class-of-service", "--dscp", "af41", "--ecn", "ect0"),
        ((4, 0),),
        "ecn1: Ect0, ecn2: NotEct, rpd: 0, rpe: 3",
    ),
    Told("access-report", ("access-report", "three-gpp", "-a"), ((6, 0),), value=bytes([0x10, 1, 0, 0])),
    Told("follow-up-telemetry", ("followup",), ((7, 0),), value=bytes(16)),
    Told("destination-node-address", ("destination-address", "--address", "HERE"), ((9, 0),)),
    Told("another-node", ("destination-address", "--address", "OTHER"), ((9, _U),), "Unrecognized: true"),
    Told("return-path-address", ("return-path", "--address", "HERE"), ((10, 0),)),
    # Its Value has 8 octets, four less than RFC 10052 asks for.
    Told(
        "reflected-test-packet-control",
        ("reflected-control", "--reflected-length", "200", "--count", "3", "--interval", "0"),
        ((12, _M),),
        "Malformed is indicated",
        modes=(False,),
    ),
    Told("reflected-fixed-header", ("reflected-fixed-header-data", "-t", "ipv4"), ((247, 0),), families=(4,)),
    Told("reflected-fixed-header", ("reflected-fixed-header-data", "-t", "ipv6"), ((247, 0),), families=(6,)),
    Told("reflected-ipv6-extension-header", ("reflected-v6-extension-header-data",), ((246, _C),), _UNREADABLE),
    Told("reserved-type", ("unrecognized",), ((255, _U),), "Unrecognized: true"),
    Told("bit-errors", ("bit-error-rate",), ((241, _U), (1, 0)), modes=(False,)),
)


@pytest.mark.parametrize(("case", "family", "authenticated"), cases(*TOLD))
def test_its_sender_and_our_reflector(case: Told, family: int, authenticated: bool, tmp_path: Path) -> None:
    peer = Teaparty(tmp_path, family, authenticated=authenticated)
    allowed = ("--return-path-allow", _NET[family], "--control-allow", _NET[family])
    known = ("--stateful", "--reflect-headers", "--auth-key-file", key_file(tmp_path))
    chain = [*placed(case.chain, family), *(("--", "hmac") if authenticated else ())]
    with ReflectorProcess(*known, *allowed, family=family) as reflector, Relay(reflector.port, family) as relay:
        seen = peer.ask(relay, *chain)
    signature = [(8, 0)] if authenticated else []
    assert seen.flags() == [*case.flags, *signature]
    (line,) = (line for line in seen.text.splitlines() if "Deserialized response" in line)
    assert case.said in line, line
    if case.value is not None:
        assert seen.value(case.flags[0][0]) == case.value


@pytest.mark.parametrize("family", [4, 6])
def test_its_authenticated_sender_without_an_hmac_tlv(family: int, tmp_path: Path) -> None:
    """RFC 8972 section 4.8: then all comes back with I. It does not look after the HMAC TLV itself."""
    with (
        ReflectorProcess("--auth-key-file", key_file(tmp_path), family=family) as reflector,
        Relay(reflector.port, family) as relay,
    ):
        seen = Teaparty(tmp_path, family, authenticated=True).ask(relay, "time")
    assert seen.flags() == [(3, _I)]
    assert "Integrity: false" in seen.text
