"""Targets and listening addresses as people write them. Pure: nothing is resolved here.

Accepted: `host`, `host:port`, `192.0.2.1`, `192.0.2.1:port`, `2001:db8::1`, `fe80::1%eth0`, `[2001:db8::1]`,
`[fe80::1%eth0]:port` (RFC 4007 section 11.2 for the scope, RFC 3986 section 3.2.2 for the brackets).
"""

from __future__ import annotations

from dataclasses import dataclass

from twoway.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host with what was said about its port and scope."""

    host: str
    """Name or numeric address, without brackets and scope."""
    port: int | None
    """UDP port, None where none was written."""
    scope: str | None
    """Interface name or index of a link-local address, None where none was written."""

    def __str__(self) -> str:
        host = self.host if self.scope is None else f"{self.host}%{self.scope}"
        if self.port is None:
            return host
        return f"[{host}]:{self.port}" if ":" in self.host else f"{host}:{self.port}"


def parse_endpoint(text: str, field: str = "target", lowest_port: int = 1) -> Endpoint:
    """Take `text` apart. Raises `ConfigError`, which quotes the text and says what is wrong with it."""
    rest = text.strip()
    if rest.startswith("["):
        host, bracket, tail = rest[1:].partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise ConfigError(field, f"{text!r}: write an IPv6 address with a port as [ADDRESS]:PORT")
        if ":" not in host:
            raise ConfigError(field, f"{text!r}: only an IPv6 address goes into brackets")
        port_text = tail[1:] if tail else None
    elif rest.count(":") > 1:
        host, port_text = rest, None
    else:
        host, colon, tail = rest.partition(":")
        port_text = tail if colon else None
    host, percent, scope = host.partition("%")
    if not host or host.startswith("-") or any(c.isspace() or not c.isprintable() for c in host):
        raise ConfigError(field, f"{text!r} names no host")
    if percent and (not scope or ":" not in host or any(c.isspace() or c in "/%" for c in scope)):
        raise ConfigError(field, f"{text!r}: %INTERFACE goes with an IPv6 address, as in fe80::1%eth0")
    port = None if port_text is None else _port(port_text, text, field, lowest_port)
    return Endpoint(host, port, scope if percent else None)


def _port(port_text: str, text: str, field: str, lowest: int) -> int:
    digits = port_text.isascii() and port_text.isdigit() and len(port_text) <= 5
    if not (digits and lowest <= int(port_text) <= 65535):
        raise ConfigError(field, f"{text!r}: {port_text!r} is not a port from {lowest} to 65535")
    return int(port_text)


def parse_network(text: str, field: str = "allow") -> tuple[str, int]:
    """`192.0.2.0/24`, `2001:db8::/32` or a single address: (network address, prefix length). Raises `ConfigError`."""
    import ipaddress  # here, because a measurement never needs it

    try:
        network = ipaddress.ip_network(text.strip())
    except ValueError as error:
        raise ConfigError(field, f"{text!r} is no network such as 192.0.2.0/24: {error}") from None
    return str(network.network_address), network.prefixlen
