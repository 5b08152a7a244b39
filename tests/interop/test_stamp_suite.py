"""asmie/stamp-suite: every STAMP TLV that it knows, each end with the other, as docs/interop.md writes it up.

Where it does not do as the RFCs say, the case has what it does; a version that does better fails, and is written up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from .relay import ReflectorProcess, Relay
from .stamp_peers import COUNT, Asked, StampSuite, ask_with_ours, cases, check_asked, key_file, placed

if TYPE_CHECKING:
    from pathlib import Path

_U, _M, _I, _C = 0x80, 0x40, 0x20, 0x10
_UNKNOWN: Final = ("tlv_unrecognized",)
_NET: Final = {4: "127.0.0.0/8", 6: "::1/128"}

ASKED: Final = (
    Asked("extra-padding", ("-s", "200"), ((1, 0),), modes=(False,)),
    # It adds an HMAC TLV to a lone Extra Padding, so that the reply is longer than the request.
    Asked("extra-padding", ("-s", "200"), ((1, 0),), modes=(True,)),
    # Sub-TLVs of its own making, in a Value of another length.
    Asked("location", ("--tlv", "location"), ((2, 0),), ("tlv_malformed",), modes=(False,)),
    Asked("location", ("--tlv", "location"), ((2, 0),), ("tlv_malformed", "tlv_integrity_failed"), modes=(True,)),
    Asked(
        "timestamp-information",
        ("--tlv", "timestamps"),
        ((3, 0),),
        counted=(
            ("far_sync_source_out", "ntp"),
            ("far_timestamp_out", "software-local"),
            ("far_timestamp_in", "code 0"),
        ),
    ),
    # DSCP2 and ECN stand elsewhere: 46 is read as 11.
    Asked("class-of-service", ("--tlv", "cos=af41", "-D", "ef"), ((4, 0),), ("remarked_forward",)),
    Asked("direct-measurement", ("--tlv", "direct"), ((5, 0),)),
    # It takes a Value of 2 octets only.
    Asked("access-report", ("--tlv", "access-report=3gpp:available"), ((6, _M),), counted=(("tlv_malformed", 1),)),
    Asked("follow-up-telemetry", ("--tlv", "follow-up"), ((7, 0),)),
    Asked("destination-node-address", ("--tlv", "node=HERE"), ((9, 0),)),
    Asked("another-node", ("--tlv", "node=OTHER"), ((9, _U),), ("other_node", *_UNKNOWN)),
    Asked("return-path-same-link", ("--return-path", "same-link"), ((10, 0),)),
    Asked("return-path-none", ("--return-path", "none")),
    Asked("return-path-address", ("--return-path", "address:HERE"), ((10, 0),)),
    Asked("return-path-mpls", ("--return-path", "mpls:16001"), ((10, _U),), ("return_path_refused", *_UNKNOWN)),
    Asked(
        "return-path-srv6",
        ("--return-path", "srv6:2001:db8::1"),
        ((10, _U),),
        ("return_path_refused", *_UNKNOWN),
        families=(6,),
    ),
    Asked("micro-session-id", ("--tlv", "micro-session=7"), ((11, 0),), counted=(("rejected_micro_session", 0),)),
    # It answers whoever asks, and leaves U on the Extra Padding that it adds.
    Asked("reflected-test-packet-control", ("--tlv", "control=3x200@1ms"), ((12, 0), (1, _U)), _UNKNOWN),
    Asked("reflected-fixed-header", ("--tlv", "fixed-header"), ((247, _U),), ("headers_refused", *_UNKNOWN)),
    Asked(
        "reflected-ipv6-extension-header",
        ("--tlv", "extension-header=8"),
        ((246, _U),),
        ("headers_refused", *_UNKNOWN),
    ),
)


@pytest.mark.parametrize(("case", "family", "authenticated"), cases(*ASKED))
def test_our_sender_and_its_reflector(case: Asked, family: int, authenticated: bool, tmp_path: Path) -> None:
    peer = StampSuite(tmp_path, family, authenticated=authenticated)
    running, port = peer.reflector("--reflector-member-link-id", "11")
    keys = ("--auth-key-file", key_file(tmp_path)) if authenticated else ()
    with running, Relay(port, family) as relay:
        options = [*placed(case.options, family), *keys]
        seen = ask_with_ours(relay, family, options, authenticated=authenticated)
    check_asked(case, seen)
    received = seen.counter("received")
    assert isinstance(received, int)
    match case.tlv:
        case "direct-measurement":
            # The first reply has none before it to compare with.
            names = ("direct_sent", "direct_received", "direct_reflected", "direct_returned")
            assert [seen.counter(name) for name in names] == [received - 1] * 4
        case "follow-up-telemetry":
            assert seen.counter("followed_up") == received - 1
        case "micro-session-id":
            assert seen.value(11) == bytes([0, 7, 0, 11])
        case "reflected-test-packet-control":
            assert seen.counter("further_replies") == seen.counter("further_expected") == 2 * received
            assert {len(reply) for reply in seen.exchange.replies} == {200}


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("same_key", [True, False])
def test_our_sender_with_an_hmac_tlv_and_its_reflector(family: int, same_key: bool, tmp_path: Path) -> None:
    """RFC 8972 section 4.8 in unauthenticated mode."""
    running, port = StampSuite(tmp_path, family, keyed=True).reflector("--verify-tlv-hmac")
    with running, Relay(port, family) as relay:
        keys = ("--auth-key-file", key_file(tmp_path) if same_key else _another_key(tmp_path))
        seen = ask_with_ours(relay, family, ["--tlv", "timestamps", "--tlv-hmac", *keys])
    received = seen.counter("received")
    assert received
    assert seen.counter("tlv_integrity_failed") == (0 if same_key else received)
    assert [flags & _I for _, flags in seen.flags()] == ([0, 0] if same_key else [_I, _I])
    assert seen.counter("far_timestamp_out") == ("software-local" if same_key else None)


def _another_key(folder: Path) -> str:
    path = folder / "another"
    path.touch(0o600)
    path.write_text("k1 text:another key of nobody here\n", encoding="ascii")
    return str(path)


@dataclass(frozen=True, slots=True)
class Told:
    """What its Session-Sender asks for, and what ours answers."""

    tlv: str
    options: tuple[str, ...]
    flags: tuple[tuple[int, int], ...] = ()
    """(Type, Flags) in our reply. Empty: there is none."""
    said: str = ""
    """What it says of them, beside their number."""
    obeyed: bool = False
    """Return paths and controls of everyone."""
    families: tuple[int, ...] = (4, 6)
    modes: tuple[bool, ...] = (False, True)


TOLD: Final = (
    Told("location", ("--location",), ((2, 0),)),
    Told("timestamp-information", ("--timestamp-info",), ((3, 0),)),
    Told("class-of-service", ("--cos", "--dscp", "34"), ((4, 0),)),
    Told("direct-measurement", ("--direct-measurement",), ((5, 0),)),
    # Its Value has 2 octets, which the RFC does not know; authenticated: no HMAC TLV is found after what is malformed.
    Told("access-report", ("--access-report", "1"), ((6, _M),), ", 1M", modes=(False,)),
    Told("access-report", ("--access-report", "1"), ((6, _M | _I), (8, _U)), ", 1M, 1I", modes=(True,)),
    Told("follow-up-telemetry", ("--follow-up-telemetry",), ((7, 0),)),
    Told("destination-node-address", ("--dest-node-addr", "HERE"), ((9, 0),)),
    Told("another-node", ("--dest-node-addr", "OTHER"), ((9, _U),), ", 1U"),
    Told("return-path-same-link", ("--return-path-cc", "1"), ((10, 0),), obeyed=True),
    Told("return-path-none", ("--return-path-cc", "0"), obeyed=True),
    Told("return-path-address", ("--return-address", "HERE"), ((10, 0),), obeyed=True),
    Told("return-path-mpls", ("--return-sr-mpls-labels", "16001,16002"), ((10, _U),), ", 1U"),
    Told("return-path-srv6", ("--return-srv6-sids", "2001:db8::1"), ((10, _U),), ", 1U", families=(6,)),
    Told("micro-session-id", ("--micro-session-id", "7"), ((11, 0),), ", MSID:ok(reflector=11)"),
    Told(
        "reflected-test-packet-control",
        ("--reflected-control-count", "3", "--reflected-control-length", "200"),
        ((12, _U),),
        ", 1U",
        obeyed=True,
        modes=(False,),
    ),
    Told(
        "reflected-test-packet-control",
        ("--reflected-control-count", "3", "--reflected-control-length", "200"),
        ((12, 0), (1, 0)),
        obeyed=True,
        modes=(True,),
    ),
    Told("reflected-fixed-header", ("--reflected-fixed-hdr",), ((247, 0),)),
    Told("reflected-ipv6-extension-header", ("--reflected-ipv6-ext-hdr",), ((246, _C),)),
    Told("bit-errors", ("--ber",), ((1, 0), (240, _U), (241, _U), (242, _U)), ", 3U"),
)


@pytest.mark.parametrize(("case", "family", "authenticated"), cases(*TOLD))
def test_its_sender_and_our_reflector(case: Told, family: int, authenticated: bool, tmp_path: Path) -> None:
    peer = StampSuite(tmp_path, family, authenticated=authenticated)
    allowed = ("--return-path-allow", _NET[family], "--control-allow", _NET[family], "--control-rate", "10M")
    known = ("--stateful", "--reflect-headers", "--micro-session", "lo=11", "--auth-key-file", key_file(tmp_path))
    policy = allowed if case.obeyed else ("--return-paths", "off")
    with ReflectorProcess(*known, *policy, family=family) as reflector, Relay(reflector.port, family) as relay:
        seen = peer.ask(relay, *placed(case.options, family))
    lines = [line for line in seen.text.splitlines() if line.startswith("seq=")]
    if not case.flags:
        assert (lines, seen.exchange.replies) == ([], []), seen.text
        return
    signature = [(8, 0)] if authenticated and not any(kind == 8 for kind, _ in case.flags) else []
    flags = [*case.flags, *signature]
    assert seen.flags() == flags
    verified = "" if not authenticated else (", HMAC:fail" if any(bits & _I for _, bits in flags) else ", HMAC:ok")
    assert len(lines) == COUNT, seen.text
    for line in lines:
        assert line.endswith(f" tlv=[{len(flags)} TLVs{case.said}{verified}]"), line
    match case.tlv:
        case "timestamp-information":
            assert seen.value(3)[1::2] == bytes([2, 2]), "software local, whatever it filled in"
        case "class-of-service":
            assert seen.value(4)[0] >> 2 == 34
        case "direct-measurement":
            counts = seen.value(5)
            assert counts == COUNT.to_bytes(4) * 3
        case "follow-up-telemetry":
            assert seen.value(7)[:4] == (COUNT - 2).to_bytes(4)
            assert seen.value(7)[12] == 2
        case "micro-session-id":
            assert seen.value(11) == bytes([0, 7, 0, 11])
        case "reflected-test-packet-control" if authenticated:
            assert len(seen.exchange.replies) == 3 * COUNT
            assert {len(reply) for reply in seen.exchange.replies} == {200}
        case "reflected-fixed-header":
            assert seen.value(247)[0] >> 4 == family


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("same_key", [True, False])
def test_its_sender_with_an_hmac_tlv_and_our_reflector(family: int, same_key: bool, tmp_path: Path) -> None:
    keys = ("--auth-key-file", key_file(tmp_path) if same_key else _another_key(tmp_path))
    with ReflectorProcess("--stateful", *keys, family=family) as reflector, Relay(reflector.port, family) as relay:
        seen = StampSuite(tmp_path, family, keyed=True).ask(relay, "--timestamp-info")
    assert seen.flags() == ([(3, 0), (8, 0)] if same_key else [(3, _I), (8, _I)])
    said = "2 TLVs, HMAC:ok" if same_key else "2 TLVs, 2I, HMAC:unverified"
    assert seen.text.count(f"tlv=[{said}]") == COUNT, seen.text
