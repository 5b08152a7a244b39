"""Values about routes: prefixes, next hops, tests, shares of packets, commands. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twoway.config.model.network_values import DEVICE
from twoway.config.model.values import Kind, shown
from twoway.errors import ConfigError

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue

DISCARD = "discard"
"""The next hop at which packets end, in Junos's word."""


def canonical_prefix(text: str) -> str:
    """`2001:DB8::/32` as `2001:db8::/32`. Raises `ConfigError`."""
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ConfigError("prefix", f"{shown(text)} is not a prefix such as 192.0.2.0/24 or 2001:db8::/32") from None
    if "/" not in text:
        raise ConfigError("prefix", f"{shown(text)} has no length: write {network}")
    if ipaddress.ip_interface(text.strip()).ip != network.network_address:
        raise ConfigError("prefix", f"{shown(text)} has bits behind its length: write {network}")
    if network.is_multicast:
        raise ConfigError("prefix", f"{shown(text)} is multicast, which has no static routes")
    return str(network)


@dataclass(frozen=True, slots=True)
class Prefix(Kind[str]):
    """A destination, as written."""

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            raise self.refuse(value)
        canonical_prefix(value)
        return value

    @property
    def words(self) -> str:
        return "a prefix such as 192.0.2.0/24 or 2001:db8::/32"

    def schema(self) -> JsonSchemaValue:
        return {"type": "string", "pattern": r"^\s*[0-9a-fA-F:.]+/[0-9]{1,3}\s*$"}


def next_hop_of(text: str) -> tuple[str | None, str | None]:
    """Gateway and interface of a next hop as written; both None: `discard`. Raises `ConfigError`."""
    written = text.strip()
    if written == DISCARD:
        return None, None
    host, percent, device = written.partition("%")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if percent or ":" in written or re.fullmatch(r"[0-9.]+", written):
            raise ConfigError("next-hop", f"{shown(text)} is no address") from None
        return None, DEVICE.read(written)
    if address.is_multicast or address.is_unspecified or address.is_loopback or host == "255.255.255.255":
        raise ConfigError("next-hop", f"{shown(text)} cannot be the address of a gateway")
    if getattr(address, "ipv4_mapped", None) is not None:
        raise ConfigError("next-hop", f"{shown(text)}: write the IPv4 address by itself")
    if not percent:
        if address.version == 6 and address.is_link_local:
            raise ConfigError("next-hop", f"{shown(text)} is link-local and needs its interface: {host}%INTERFACE")
        return str(address), None
    return str(address), DEVICE.read(device)


@dataclass(frozen=True, slots=True)
class NextHopName(Kind[str]):
    """A next hop, as written."""

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            raise self.refuse(value)
        next_hop_of(value)
        return value

    @property
    def words(self) -> str:
        return "an address, ADDRESS%INTERFACE, an interface, or discard"

    def schema(self) -> JsonSchemaValue:
        return {"type": "string", "pattern": r"^\s*[^\s/]+\s*$"}


@dataclass(frozen=True, slots=True)
class Ratio(Kind[float]):
    """A share of the packets."""

    def read(self, value: object) -> float:
        match = re.fullmatch(r"\s*([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%\s*", value) if isinstance(value, str) else None
        if match is None or not 0 <= float(match[1]) <= 100:
            raise self.refuse(value)
        return float(match[1]) / 100

    @property
    def words(self) -> str:
        return "a share from 0% to 100%"

    def schema(self) -> JsonSchemaValue:
        return {"type": "string", "pattern": r"^\s*[0-9]{1,3}(\.[0-9]{1,6})?\s*%\s*$"}

    def write(self, value: float) -> object:
        return f"{round(value * 100, 6):.10g}%"


@dataclass(frozen=True, slots=True)
class Amount(Kind["float | int"]):
    """A share of the packets (a float), or a number of them."""

    def read(self, value: object) -> float | int:
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 2**32:
            return value
        try:
            return Ratio().read(value)
        except ConfigError:
            raise self.refuse(value) from None

    @property
    def words(self) -> str:
        return "a number of packets, or a share from 0% to 100%"

    def schema(self) -> JsonSchemaValue:
        return {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 2**32}, Ratio().schema()]}

    def write(self, value: float) -> object:
        return value if isinstance(value, int) else Ratio().write(value)


@dataclass(frozen=True, slots=True)
class TestName(Kind[str]):
    """A test-session by the name of its control-connection and its own."""

    __test__ = False  # no test class, whatever pytest thinks

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(r"[!-~]{1,32}/[!-~]{1,32}", value):
            raise self.refuse(value)
        return value

    @property
    def words(self) -> str:
        return "a test-session as CONTROL-CONNECTION/TEST-SESSION"

    def schema(self) -> JsonSchemaValue:
        return {"type": "string", "pattern": r"^[!-~]{1,32}/[!-~]{1,32}$"}


@dataclass(frozen=True, slots=True)
class Require(Kind["str | int"]):
    """How many of several must be good."""

    def read(self, value: object) -> str | int:
        number = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 64
        if not number and value not in ("all", "any"):
            raise self.refuse(value)
        return value  # type: ignore[return-value]  # what was looked at above

    @property
    def words(self) -> str:
        return "all, any, or a number from 1 to 64"

    def schema(self) -> JsonSchemaValue:
        return {"anyOf": [{"enum": ["all", "any"]}, {"type": "integer", "minimum": 1, "maximum": 64}]}


@dataclass(frozen=True, slots=True)
class Command(Kind[tuple[str, ...]]):
    """A program and its arguments. There is no shell: each word is one argument, whatever is in it."""

    def read(self, value: object) -> tuple[str, ...]:
        words = value if isinstance(value, list) else [value]
        if not words or len(words) > 64 or not all(isinstance(word, str) and "\x00" not in word for word in words):
            raise self.refuse(value)
        if not str(words[0]).startswith("/"):
            raise ConfigError("value", f"{shown(words[0])} is not the path of a program from the root")
        return tuple(map(str, words))

    @property
    def words(self) -> str:
        return "a list: the path of a program from the root, and its arguments"

    def schema(self) -> JsonSchemaValue:
        path = {"type": "string", "pattern": "^/"}
        return {"anyOf": [path, {"type": "array", "prefixItems": [path], "items": {"type": "string"}, "maxItems": 64}]}

    def write(self, value: tuple[str, ...]) -> object:
        return list(value)


@dataclass(frozen=True, slots=True)
class Protocol(Kind[int]):
    """A number of `rtm_protocol` that nobody else uses."""

    def read(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 5 <= value <= 255:
            raise self.refuse(value)
        if value in TAKEN_PROTOCOLS:
            raise ConfigError(
                "value", f"{value} is the number of {TAKEN_PROTOCOLS[value]}, whose routes would be taken for ours"
            )
        return value

    @property
    def words(self) -> str:
        return "a number from 5 to 255 that no other program has"

    def schema(self) -> JsonSchemaValue:
        return {"type": "integer", "minimum": 5, "maximum": 255}


TAKEN_PROTOCOLS = {
    # linux/rtnetlink.h, RTPROT_*
    8: "GATED",
    9: "router advertisements",
    10: "MRT",
    11: "zebra",
    12: "BIRD",
    13: "DECnet",
    14: "XORP",
    15: "Netsukuku",
    16: "DHCP",
    17: "multicast routing",
    18: "keepalived",
    42: "Babel",
    84: "OVN",
    99: "Open/R",
    186: "BGP",
    187: "IS-IS",
    188: "OSPF",
    189: "RIP",
    192: "EIGRP",
    # zebra/rt_netlink.h of FRR, RTPROT_*
    191: "FRR's NHRP",
    193: "FRR's LDP",
    194: "FRR's SHARP",
    195: "FRR's PBR",
    196: "FRR's static routes",
    197: "FRR's OpenFabric",
    198: "FRR's SR-TE",
}
