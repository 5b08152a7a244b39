"""What twoway speaks: each section of the RFCs that asks for something, what of it there is, who verified it.

`docs/protocols.md` is made of this table, of the catalogue of TLVs, and of what was seen with independent
implementations (`tests/interop/stamp_peers.toml`). Sections that ask nothing of an implementation (introductions,
acknowledgements, rules of registries, references) are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

EVIDENCE: Final = {
    "vectors": ("Octets with their meaning, read by Rust, Python and the fuzz targets", "vectors/README.md"),
    "own tests": ("Our two ends against each other, and against octets made by hand", "tests/unit"),
    "capture": ("Captures at the nodes of networks in namespaces", "tests/netns"),
    "tshark": ("Wireshark's dissectors", "tests/interop/test_tshark.py"),
    "Scapy": ("Scapy's STAMP layer, and its MPLS and SRv6 layers", "tests/interop/test_scapy.py"),
    "perfSONAR": ("perfSONAR's programs, each end with the other", "tests/interop/test_perfsonar.py"),
    "recorded": ("Control connections of perfSONAR's, reproduced to the octet", "vectors/control-perfsonar.toml"),
    "twampy": ("Nokia's twampy, each end with the other", "tests/interop/test_twampy.py"),
    "stamp-suite": ("asmie/stamp-suite: the table of TLVs has it one by one", "tests/interop/stamp_peers.toml"),
    "teaparty": ("cerfcast/teaparty: likewise", "tests/interop/stamp_peers.toml"),
}
"""Who verified something -> what that is, and where it is."""


@dataclass(frozen=True, slots=True)
class Row:
    """One or a few sections."""

    sections: str
    what: str
    supported: str
    """`both ends`, one of them, `yes` where there are no ends, or `no`."""
    by: tuple[str, ...] = ()
    """Keys of `EVIDENCE`."""
    note: str = ""
    """Why not, how, or with which limit."""


_OWN = ("own tests",)
_CONTROL = ("own tests", "perfSONAR", "recorded", "tshark")
_OWAMP = ("own tests", "perfSONAR", "recorded")

DOCUMENTS: Final[dict[str, tuple[Row, ...]]] = {
    "RFC 4656, OWAMP": (
        Row("3.1", "Connection setup: greeting, Set-Up-Response, Server-Start, Token, PBKDF2", "both ends", _OWAMP),
        Row("3.2", "HMAC of control messages", "both ends", _OWAMP),
        Row("3.3", "Values of the Accept field", "both ends", ("own tests", "perfSONAR")),
        Row("3.4, 3.5", "Request-Session, schedules, addresses, padding, Type-P", "both ends", _OWAMP),
        Row(
            "3.5",
            "Sessions between hosts that are neither end of the control connection",
            "Server",
            ("own tests",),
            "Refused unless `--any-sender-address`; the Control-Client asks for none",
        ),
        Row(
            "3.6",
            "Schedules of fixed and exponential slots",
            "both ends",
            ("own tests", "perfSONAR"),
            "Up to 1024 slots; more are refused",
        ),
        Row("3.7, 3.8", "Start-Sessions, Stop-Sessions with skip ranges", "both ends", _OWAMP),
        Row("3.9", "Fetch-Session", "both ends", ("own tests", "perfSONAR", "recorded")),
        Row(
            "4.1",
            "Session-Sender, in the unauthenticated, authenticated and encrypted mode",
            "yes",
            ("vectors", "own tests", "perfSONAR"),
        ),
        Row(
            "4.1.2",
            "Error Estimate",
            "yes",
            ("vectors", "own tests"),
            "By the kernel's clock; see below for multiplier 0",
        ),
        Row("4.2", "Session-Receiver: duplicates, losses, records", "yes", ("own tests", "perfSONAR")),
        Row(
            "5",
            "Exponential deviates from a common seed",
            "both ends",
            ("own tests", "perfSONAR"),
            "Appendix B's values among them",
        ),
        Row("6.2", "Third parties as targets", "yes", _OWN, "Addresses of others are refused unless configured"),
        Row("6.5", "Limits of resources", "yes", _OWN, "By Junos's names; each refusal is counted"),
        Row("6.6 to 6.10", "AES-CBC and HMAC-SHA1, keys managed by hand", "both ends", ("vectors", *_OWAMP)),
    ),
    "RFC 5357, TWAMP": (
        Row(
            "3.1",
            "Connection setup, modes, SERVWAIT, DSCP of the connection",
            "both ends",
            (*_CONTROL, "twampy"),
            "twampy in the open mode",
        ),
        Row("3.2, 3.3", "HMAC; Accept", "both ends", _OWAMP),
        Row("3.4, 3.5", "Request-TW-Session, Accept-Session", "both ends", (*_CONTROL, "twampy")),
        Row("3.6, 3.9", "Send schedules and Fetch-Session", "no", (), "TWAMP has none of them"),
        Row("3.7, 3.8", "Start-Sessions, Stop-Sessions, Timeout", "both ends", _CONTROL),
        Row("4.1", "Session-Sender, in three modes", "yes", ("vectors", "own tests", "perfSONAR", "tshark")),
        Row(
            "4.2",
            "Session-Reflector: TTL, sequence numbers, timestamps, padding",
            "yes",
            ("vectors", "own tests", "perfSONAR", "tshark", "twampy"),
        ),
        Row("4.2", "REFWAIT", "Session-Reflector", _OWN),
        Row("6", "Security considerations", "yes", _OWN, "[Threat model](threat-model.md)"),
        Row("Appendix I", "TWAMP Light, unauthenticated", "both ends", ("vectors", "own tests", "tshark", "twampy")),
        Row(
            "Appendix I",
            "TWAMP Light with keys",
            "no",
            (),
            "The RFC does not say how; STAMP does (RFC 8762 section 4.4)",
        ),
    ),
    "RFC 5618, mixed security mode": (
        Row("3.1", "Set-up with mode 8", "both ends", ("own tests", "perfSONAR", "recorded")),
        Row(
            "4",
            "Unauthenticated test packets under an encrypted connection",
            "both ends",
            ("vectors", "own tests", "perfSONAR"),
        ),
    ),
    "RFC 5938, individual session control": (
        Row(
            "3.1 to 3.5",
            "Start-N-Sessions, Stop-N-Sessions, their acknowledgements",
            "both ends",
            ("vectors", "own tests"),
            "Python interface. No other implementation of it is known to us",
        ),
        Row("3.6, 3.7", "SERVWAIT, and commands while sessions run", "both ends", _OWN),
        Row("4", "Test packets of sessions that begin and end one by one", "both ends", _OWN),
    ),
    "RFC 6038, Reflect Octets and Symmetrical Size": (
        Row(
            "4",
            "Negotiation, Padding to be reflected",
            "both ends",
            ("vectors", "own tests"),
            "Python interface. perfSONAR knows neither",
        ),
        Row("5.1, 5.2", "Symmetrical Size", "both ends", ("vectors", "own tests"), "Negotiated or not"),
        Row(
            "5.1.2, 5.2.1",
            "Reflect Octets",
            "both ends",
            ("vectors", "own tests"),
            "What does not come back is counted",
        ),
    ),
    "RFC 7717, keys from IKEv2": (
        Row(
            "4, 5.1",
            "Derivation of the shared secret",
            "both ends",
            ("own tests",),
            "The key is taken from a file or a callback: the exchange is an IKE daemon's",
        ),
        Row(
            "5.2, 5.3",
            "Greeting and Set-Up-Response",
            "both ends",
            ("vectors", "own tests"),
            "[Reading](decisions/0011-readings-of-the-control-protocols.md) of figure 3",
        ),
        Row(
            "5.4",
            "Control and test over a tunnel",
            "no",
            (),
            "A tunnel is the kernel's; sockets are bound to it if asked",
        ),
    ),
    "RFC 7750, DSCP and ECN monitoring": (
        Row("2.1", "Negotiation", "both ends", ("vectors", "own tests"), "perfSONAR does not know it"),
        Row("2.2", "Replies with the DSCP and ECN that arrived", "both ends", ("vectors", "own tests", "capture")),
        Row("2.2.3", "TWAMP Light", "both ends", ("vectors", "own tests"), "`--dscp-ecn-monitoring`"),
    ),
    "RFC 8186, PTPv2 timestamps": (
        Row(
            "2.1",
            "OWAMP",
            "both ends",
            ("vectors", "own tests"),
            "The Z bit of each packet says it: OWAMP's modes have no bit for it",
        ),
        Row("2.2", "TWAMP", "both ends", ("vectors", "own tests"), "`--clock-format ptp`"),
        Row(
            "2.3.1",
            "TWAMP Light",
            "both ends",
            ("vectors", "own tests"),
            "T2 and T3 in replies to us in either; replies from us in NTP format",
        ),
    ),
    "RFC 8545, well-known ports": (Row("5", "TCP 861 and 862, UDP 862", "both ends", _OWN, "As defaults"),),
    "RFC 8762, STAMP": (
        Row("4.1", "UDP port 862, other ports by agreement", "both ends", _OWN),
        Row(
            "4.2, 4.3",
            "Unauthenticated packets, stateless and stateful reflector",
            "both ends",
            ("vectors", "own tests", "tshark", "Scapy", "twampy", "stamp-suite", "teaparty"),
        ),
        Row(
            "4.4",
            "Authenticated packets, HMAC-SHA-256",
            "both ends",
            ("vectors", "own tests", "stamp-suite", "teaparty"),
        ),
        Row("4.5", "Confidentiality", "no", (), "The RFC leaves it to IPsec or DTLS"),
        Row("4.6", "Interworking with TWAMP Light", "both ends", ("vectors", "own tests", "twampy")),
        Row(
            "5",
            "Operational considerations: rate, who may send",
            "yes",
            _OWN,
            "Limits by source and in all, allow lists",
        ),
    ),
    "RFC 8972, STAMP extensions": (
        Row(
            "3",
            "SSID",
            "both ends",
            ("vectors", "own tests", "Scapy", "stamp-suite", "teaparty"),
            "Sessions need no provisioning: any SSID is answered unless keys or allow lists say otherwise",
        ),
        Row(
            "4",
            "TLV framing, the flags U, M and I",
            "both ends",
            ("vectors", "own tests", "Scapy", "stamp-suite", "teaparty"),
        ),
        Row(
            "4.1 to 4.8",
            "The TLVs",
            "both ends",
            ("vectors", "own tests", "stamp-suite", "teaparty"),
            "One by one [below](#stamp-tlvs)",
        ),
        Row(
            "4.2.1",
            "Location sub-TLVs: MAC, EUI-64 and IP addresses",
            "both ends",
            ("vectors", "own tests"),
            "MAC addresses with `--location all`",
        ),
        Row(
            "4",
            "Private Use types",
            "Session-Reflector",
            ("vectors", "own tests"),
            "Echoed with U: none are defined here",
        ),
        Row("5.4, 5.5, 5.6", "Registries of sync sources, timestamping methods, return codes", "both ends", _OWN),
        Row("6", "Security considerations", "yes", _OWN, "[Threat model](threat-model.md)"),
    ),
    "RFC 9503, STAMP for segment routing": (
        Row("3", "Destination Node Address", "both ends", ("vectors", "own tests", "stamp-suite", "teaparty")),
        Row(
            "4",
            "Return Path: no reply, same link, return address",
            "both ends",
            ("vectors", "own tests", "capture", "stamp-suite", "teaparty"),
            "teaparty knows the address alone",
        ),
        Row(
            "4",
            "Return Path: SR-MPLS label stack",
            "both ends",
            ("vectors", "own tests", "capture", "Scapy", "stamp-suite"),
            "16 labels at most in a reply. stamp-suite refuses with U, as it cannot",
        ),
        Row(
            "4",
            "Return Path: SRv6 segment list",
            "both ends",
            ("vectors", "own tests", "capture", "Scapy", "stamp-suite"),
            "16 segments at most in a reply. stamp-suite refuses with U, as it cannot",
        ),
    ),
    "RFC 9534, STAMP on LAGs": (
        Row("3.1", "Micro-session ID", "both ends", ("vectors", "own tests", "stamp-suite")),
        Row(
            "3.2",
            "A session by each member, checks at both ends",
            "both ends",
            ("own tests", "capture"),
            "On a bridge that stands in for a bond: the kernel of the tests has none",
        ),
    ),
    "RFC 10052, asymmetrical traffic": (
        Row(
            "3",
            "Reflected Test Packet Control",
            "both ends",
            ("vectors", "own tests", "stamp-suite"),
            "Off by default; teaparty has an older form of 8 octets",
        ),
        Row("3.1", "Layer 2 and Layer 3 Address Group", "both ends", ("vectors", "own tests")),
        Row("4.3, 5", "Never with no reply; numbers that grow; limits", "Session-Reflector", ("vectors", "own tests")),
    ),
    "Drafts": (
        Row(
            "draft-ietf-ippm-stamp-ext-hdr",
            "Fixed and IPv6 extension headers reflected, experimental code points",
            "both ends",
            ("vectors", "own tests"),
            "Off by default in the reflector",
        ),
        Row(
            "draft-ietf-ippm-stamp-cos-ecn",
            "ECN in Class of Service",
            "Session-Reflector",
            ("vectors", "own tests"),
            "EC1 is applied; our Session-Sender asks for none",
        ),
        Row(
            "draft-gandhi-ippm-stamp-ber",
            "Bit errors in padding",
            "no",
            (),
            "An individual draft whose code points clash with others'",
        ),
    ),
}
