"""Values about networks: addresses, names, ports, code points. Pure: nothing is resolved."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twoway.config.dscp import DSCP, dscp_name, parse_dscp
from twoway.config.endpoint import parse_endpoint, parse_network
from twoway.config.model.values import Integer, Kind, ListOf, Text, shown
from twoway.errors import ConfigError
from twoway.path import FIRST_LABEL, LARGEST_LABEL, MOST_LABELS, MOST_SEGMENTS, check_labels, check_segments

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue

DEVICE = Text(r"(?!\.\.?$)[^\s/:]{1,15}", "the name of an interface")


NAMESPACE = Text(r"[^\s\x00]{1,255}", "a network namespace: a name of `ip netns`, or a path")


@dataclass(frozen=True, slots=True)
class Numeric(Kind[str]):
    """A numeric address of this host."""

    scoped: bool = False
    """Whether a link-local address may have its interface: `fe80::1%eth0`."""

    def read(self, value: object) -> str:
        try:
            if not isinstance(value, str):
                raise self.refuse(value)
            address = ipaddress.ip_address(value.strip())
        except ValueError:
            raise self.refuse(value) from None
        if address.is_multicast or str(address) == "255.255.255.255" or getattr(address, "ipv4_mapped", None):
            raise ConfigError("value", f"{shown(value)} cannot be an address of this host")
        if "%" in str(address) and not self.scoped:
            raise ConfigError("value", f"{shown(value)}: an interface does not belong here")
        return str(address)

    @property
    def words(self) -> str:
        return "a numeric address such as 192.0.2.1 or 2001:db8::1"

    def schema(self) -> JsonSchemaValue:
        return {"type": "string", "pattern": r"^[^\s/]+$"}


@dataclass(frozen=True, slots=True)
class Source(Numeric):
    """A numeric address to send from."""

    def read(self, value: object) -> str:
        text = Numeric.read(self, value)
        if ipaddress.ip_address(text).is_unspecified:
            raise ConfigError(
                "value", f"{shown(value)} is every address: leave the statement out to let routing choose"
            )
        return text


@dataclass(frozen=True, slots=True)
class Segment(Kind[str]):
    """A segment of SRv6: the IPv6 address that a node on the way listens to."""

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            raise self.refuse(value)
        check_segments([value.strip()], "value")
        return str(ipaddress.IPv6Address(value.strip()))

    @property
    def words(self) -> str:
        return "an IPv6 address such as 2001:db8:0:1::"

    def schema(self) -> JsonSchemaValue:
        return {"type": "string", "pattern": r"^\s*[0-9a-fA-F:.]+\s*$"}


@dataclass(frozen=True, slots=True)
class Label(Integer):
    """A label of SR-MPLS."""

    def read(self, value: object) -> int:
        label = Integer.read(self, value)
        check_labels([label], "value")
        return label

    @property
    def words(self) -> str:
        return f"a label from {FIRST_LABEL} to {LARGEST_LABEL}"

    def schema(self) -> JsonSchemaValue:
        return {"type": "integer", "minimum": FIRST_LABEL, "maximum": self.high}


LABELS = ListOf(Label(0, LARGEST_LABEL), longest=MOST_LABELS, unique=False)
SEGMENTS = ListOf(Segment(), longest=MOST_SEGMENTS, unique=False)


@dataclass(frozen=True, slots=True)
class Host(Kind[str]):
    """A far end: a name or a numeric address, without a port."""

    def read(self, value: object) -> str:
        if not isinstance(value, str) or "/" in value:
            raise self.refuse(value)
        endpoint = parse_endpoint(value)
        if endpoint.port is not None or value.strip().startswith("["):
            raise ConfigError("value", f"{shown(value)}: the port is a statement of its own, destination-port")
        if re.fullmatch(r"[0-9.]+", endpoint.host):
            try:
                ipaddress.ip_address(endpoint.host)
            except ValueError:
                raise ConfigError("value", f"{shown(value)} is no IPv4 address") from None
        try:
            address = ipaddress.ip_address(endpoint.host)
        except ValueError:
            # RFC 1035 section 2.3.4. What else a name may be, the resolver knows.
            labels = endpoint.host.removesuffix(".").split(".")
            if ":" in endpoint.host or len(endpoint.host) > 253 or not all(0 < len(label) <= 63 for label in labels):
                raise self.refuse(value) from None
            return str(endpoint)
        if getattr(address, "ipv4_mapped", None):
            raise ConfigError("value", f"{shown(value)}: write the IPv4 address by itself")
        if address.is_multicast or address.is_unspecified or str(address) == "255.255.255.255":
            raise ConfigError("value", f"{shown(value)} is not the address of one host")
        return str(endpoint)

    @property
    def words(self) -> str:
        return "a host's name or address"

    def schema(self) -> JsonSchemaValue:
        return {"type": "string", "pattern": r"^\s*[^\s/\[-][^\s/\[]*\s*$"}


@dataclass(frozen=True, slots=True)
class Network(Kind[str]):
    """A network, or one address."""

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            raise self.refuse(value)
        address, length = parse_network(value)
        return f"{address}/{length}"

    @property
    def words(self) -> str:
        return "a network such as 192.0.2.0/24 or 2001:db8::/32"

    def schema(self) -> JsonSchemaValue:
        return {"type": "string", "pattern": r"^\s*[0-9a-fA-F:.]+(/[0-9]{1,3}|/[0-9.]+)?\s*$"}


@dataclass(frozen=True, slots=True)
class Listening(Kind[tuple[str, int]]):
    """An address and a port to listen on, or to send to where `names` are taken too."""

    names: bool = False
    default_port: int | None = None

    def read(self, value: object) -> tuple[str, int]:
        if not isinstance(value, str):
            raise self.refuse(value)
        endpoint = parse_endpoint(value)
        port = self.default_port if endpoint.port is None else endpoint.port
        if port is None:
            raise ConfigError("value", f"{shown(value)} has no port: write it as {self._example}")
        if not self.names:
            try:
                ipaddress.ip_address(endpoint.host)
            except ValueError:
                raise self.refuse(value) from None
        host = endpoint.host if endpoint.scope is None else f"{endpoint.host}%{endpoint.scope}"
        return host, port

    @property
    def _example(self) -> str:
        return "192.0.2.1:162 or [2001:db8::1]:162" if self.names else "127.0.0.1:8080 or [::1]:8080"

    @property
    def words(self) -> str:
        return f"an address and port such as {self._example}"

    def schema(self) -> JsonSchemaValue:
        return {"type": "string", "minLength": 1}

    def write(self, value: tuple[str, int]) -> object:
        return f"[{value[0]}]:{value[1]}" if ":" in value[0] else f"{value[0]}:{value[1]}"


@dataclass(frozen=True, slots=True)
class CodePoint(Kind[int]):
    """A Differentiated Services code point: Junos's six bits, a name, or a number."""

    def read(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise self.refuse(value)
        text = str(value).strip()
        if re.fullmatch(r"[01]{6}", text):
            return int(text, 2)
        try:
            return parse_dscp(_JUNOS_CODE_POINTS.get(text.lower(), text))
        except ConfigError:
            raise self.refuse(value) from None

    @property
    def words(self) -> str:
        return (
            "a code point: six bits as 101110, a name (be, ef, af11 to af43, cs0 to cs7, nc1, nc2, va, le), or 0 to 63"
        )

    def schema(self) -> JsonSchemaValue:
        names = "|".join((*DSCP, *_JUNOS_CODE_POINTS, "default", "df", "voice-admit"))
        bits = {"type": "integer", "enum": [int(f"{value:b}") for value in range(32, 64)]}
        text = {
            "type": "string",
            "pattern": rf"^\s*([01]{{6}}|[0-9]{{1,2}}|0x[0-9a-fA-F]{{1,2}}|{names}|{names.upper()})\s*$",
        }
        return {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 63}, bits, text]}

    def write(self, value: int) -> object:
        name = dscp_name(value)
        return value if name.isdigit() else name


_JUNOS_CODE_POINTS = {"nc1": "cs6", "nc2": "cs7"}


@dataclass(frozen=True, slots=True)
class PortRange(Kind[tuple[int, int]]):
    """A range of UDP ports."""

    def read(self, value: object) -> tuple[int, int]:
        match = re.fullmatch(r"\s*([0-9]{1,5})\s*-\s*([0-9]{1,5})\s*", value) if isinstance(value, str) else None
        if match is None or not 1 <= int(match[1]) <= int(match[2]) <= 65535:
            raise self.refuse(value)
        return int(match[1]), int(match[2])

    @property
    def words(self) -> str:
        return "a range of ports such as 20000-29999"

    def schema(self) -> JsonSchemaValue:
        return {"type": "string", "pattern": r"^\s*[0-9]{1,5}\s*-\s*[0-9]{1,5}\s*$"}

    def write(self, value: tuple[int, int]) -> object:
        return f"{value[0]}-{value[1]}"
