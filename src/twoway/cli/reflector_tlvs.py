"""The options of `twoway reflector` about STAMP TLVs (RFC 8972 section 4): what a packet may ask for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from twoway.cli.arguments import value_of
from twoway.config import units
from twoway.config.dscp import parse_dscp
from twoway.config.reflection import ControlReflection, TlvReflection
from twoway.errors import ConfigError
from twoway.tlvs import LOCATIONS, SYNC_SOURCES

if TYPE_CHECKING:
    from twoway.cli.arguments import Parser

_DEFAULTS = TlvReflection()
_CONTROL = ControlReflection(allow=())
_LIMITS = (
    ("replies", "at most so many to one request", "N"),
    ("length", "octets of payload of each at most", "OCTETS"),
    ("rate", "octets of payload a second at most", "OCTETS"),
    ("volume", "octets of payload for one request at most", "OCTETS"),
)


class TlvArguments(argparse.Namespace):
    """The options as parsed, with their types."""

    tlvs: bool
    require_tlv_hmac: bool
    location: str
    permit_dscp: tuple[int, ...] | None
    sync_source: str | None
    return_paths: str
    return_path_allow: list[str]
    reflect_headers: bool
    micro_session: list[tuple[str, int]]
    control_allow: list[str]
    control_replies: int | None
    control_length: int | None
    control_rate: int | None
    control_volume: int | None


def add_tlv_options(parser: Parser) -> None:
    """Add their group."""
    add = parser.add_argument_group("STAMP TLVs").add_argument
    add(
        "--no-tlvs",
        dest="tlvs",
        action="store_false",
        help="send back what follows the header as it came: for TWAMP Light senders with random padding",
    )
    add("--require-tlv-hmac", action="store_true", help="use the TLVs of unauthenticated packets only with an HMAC TLV")
    add(
        "--location",
        choices=LOCATIONS,
        default=_DEFAULTS.location,
        help=f"what a Location TLV is told; all: with the MAC address of the last hop ({_DEFAULTS.location})",
    )
    add(
        "--permit-dscp",
        type=value_of(_code_points),
        metavar="NAME,...",
        help="code points that a Class of Service TLV may choose for the reply (all, or that of --dscp)",
    )
    add("--sync-source", choices=SYNC_SOURCES, help="what the clock follows (ntp or free-running, as the kernel knows)")
    add(
        "--return-paths",
        choices=("off", "authenticated"),
        default=_DEFAULTS.return_paths,
        help=f"whose Return Path TLV is obeyed ({_DEFAULTS.return_paths})",
    )
    add(
        "--return-path-allow",
        action="append",
        default=[],
        metavar="CIDR",
        help="obey that of this network without authentication; repeatable",
    )
    add(
        "--reflect-headers",
        action="store_true",
        help="give back headers of the IP packet to TLVs that ask for them: experimental code points 246 and 247",
    )
    add(
        "--micro-session",
        action="append",
        type=value_of(_micro_session),
        default=[],
        metavar="IFACE=ID",
        help="Micro-session ID of a member link (RFC 9534); repeatable",
    )
    add(
        "--control-allow",
        action="append",
        default=[],
        metavar="CIDR",
        help="send this network, where it proves a key, several replies to one request (RFC 10052); repeatable",
    )
    for limit, what, metavar in _LIMITS:
        add(
            f"--control-{limit}",
            type=value_of(_LIMIT_TYPES[limit]),
            metavar=metavar,
            help=f"{what} ({getattr(_CONTROL, f'max_{limit}')})",
        )


def tlv_reflection(options: TlvArguments) -> TlvReflection | None:
    """What they come to; None where TLVs are not processed."""
    if not options.tlvs:
        return None
    return TlvReflection(
        require_hmac=options.require_tlv_hmac,
        location=options.location,
        permit_dscp=options.permit_dscp,
        sync_source=options.sync_source,
        return_paths=options.return_paths,
        return_path_allow=options.return_path_allow,
        reflect_headers=options.reflect_headers,
        micro_sessions=options.micro_session,
        control=_control(options),
    )


def _control(options: TlvArguments) -> ControlReflection | None:
    limits = {
        "replies": options.control_replies,
        "length": options.control_length,
        "rate": options.control_rate,
        "volume": options.control_volume,
    }
    given = {limit: value for limit, value in limits.items() if value is not None}
    if not options.control_allow:
        for limit in given:
            raise ConfigError(f"--control-{limit}", "it bounds what a --control-allow permits, and there is none")
        return None
    return ControlReflection(
        allow=options.control_allow,
        max_replies=given.get("replies", _CONTROL.max_replies),
        max_length=given.get("length", _CONTROL.max_length),
        max_rate=given.get("rate", _CONTROL.max_rate),
        max_volume=given.get("volume", _CONTROL.max_volume),
    )


def _replies(text: str, field: str) -> int:
    return units.parse_integer(text, field, 1, 0xFFFF)


_LIMIT_TYPES = {
    "replies": _replies,
    "length": units.parse_octets,
    "rate": units.parse_octets,
    "volume": units.parse_octets,
}


def _code_points(text: str, field: str) -> tuple[int, ...]:
    return tuple(parse_dscp(name, field) for name in text.split(","))


def _micro_session(text: str, field: str) -> tuple[str, int]:
    device, equals, number = text.rpartition("=")
    if not equals or not device:
        raise ConfigError(field, f"{text!r} is not IFACE=ID, such as eth1=11")
    return device, units.parse_integer(number, field, 1, 0xFFFF)
