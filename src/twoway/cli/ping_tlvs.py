"""The options of `twoway ping` about STAMP TLVs: what is asked of the other end beside a reply."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from twoway.cli.arguments import value_of
from twoway.config import units
from twoway.config.tlvs import FORMS, parse_tlvs
from twoway.errors import ConfigError
from twoway.tlvs import ACCESS_RETRANSMISSIONS, ACCESS_TIMER_NS, Tlvs

if TYPE_CHECKING:
    from twoway.cli.arguments import Parser


class TlvArguments(argparse.Namespace):
    """The options as parsed, with their types."""

    tlv: list[str]
    tlv_hmac: bool
    access_timer_ns: int
    access_retransmissions: int


def add_tlv_options(parser: Parser) -> None:
    """Add their group."""
    add = parser.add_argument_group("STAMP TLVs").add_argument
    add(
        "--tlv",
        action="append",
        default=[],
        metavar="TLV",
        help=f"ask for this too; repeatable: {', '.join(FORMS.values())}",
    )
    add(
        "--tlv-hmac",
        action="store_true",
        help="use the key of --auth-key-file for an HMAC over the TLVs, and leave the packets unauthenticated",
    )
    add(
        "--access-timer",
        dest="access_timer_ns",
        type=value_of(units.parse_positive_duration_ns),
        default=ACCESS_TIMER_NS,
        metavar="TIME",
        help=f"how long an access report waits for its acknowledgement ({units.duration_text(ACCESS_TIMER_NS)})",
    )
    add(
        "--access-retransmissions",
        type=value_of(units.parse_integer, 0, 2**16),
        default=ACCESS_RETRANSMISSIONS,
        metavar="N",
        help=f"how often it is sent again ({ACCESS_RETRANSMISSIONS})",
    )


def tlvs_from(options: TlvArguments, key: bytes | None) -> Tlvs:
    """What they ask for. Raises `ConfigError`."""
    if options.tlv_hmac and key is None:
        raise ConfigError("--tlv-hmac", "it needs the key of an --auth-key-file")
    return parse_tlvs(
        options.tlv,
        access_timer_ns=options.access_timer_ns,
        access_retransmissions=options.access_retransmissions,
        hmac=options.tlv_hmac,
        field="--tlv",
    )
