"""The paths that test packets take, out and back, as people write them. Pure.

Out: `plain` (as the kernel routes), `srv6:SID,SID,…`, `mpls:LABEL,LABEL,…` and `link:INTERFACE`; after the labels and
the interface may stand who gets the frames, as `@GATEWAY`, `%INTERFACE` or `@GATEWAY%INTERFACE`. Back: `srv6:…` and
`mpls:…`, either with `@ADDRESS` for where to, `address:ADDRESS`, `same-link` and `none`. A path in a set has a name:
`a=srv6:…`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from twoway.errors import ConfigError
from twoway.path import PLAIN, ForwardPath, ReturnPath, check_labels, check_segments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from twoway.config.measurement import Measurement

MOST_PATHS = 16
"""Paths of one set."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")


def parse_path(text: str, field: str = "path") -> ForwardPath:
    """One path out. Raises `ConfigError`, which says what is wrong with it."""
    kind, colon, rest = text.strip().partition(":")
    if kind == "plain" and not colon:
        return PLAIN
    if kind not in ("srv6", "mpls", "link") or not rest:
        raise ConfigError(field, f"{text!r} is none of srv6:SID,SID,…, mpls:LABEL,LABEL,…, link:INTERFACE, plain")
    if kind == "srv6":
        return ForwardPath("srv6", segments=_segments(rest, field))
    what, gateway, interface = _next_hop(rest, field)
    if kind == "mpls":
        return ForwardPath("mpls", labels=_labels(what, field), gateway=gateway, interface=interface)
    if interface is not None:
        raise ConfigError(field, f"{text!r} names two interfaces")
    return ForwardPath("link", gateway=gateway, interface=_interface(what, field))


def parse_return_path(text: str, field: str = "return_path") -> ReturnPath:
    """One path back. Raises `ConfigError`, which says what is wrong with it."""
    text = text.strip()
    if text in ("same-link", "none"):
        return ReturnPath(text)
    kind, _, rest = text.partition(":")
    if kind not in ("srv6", "mpls", "address") or not rest:
        raise ConfigError(
            field,
            f"{text!r} is none of srv6:SID,SID,…, mpls:LABEL,LABEL,…, address:ADDRESS, same-link, none",
        )
    if kind == "address":
        return ReturnPath("address", address=_address(rest, field))
    what, at, where = rest.partition("@")
    address = _address(where, field) if at else None
    if kind == "srv6":
        return ReturnPath("srv6", segments=_segments(what, field), address=address)
    return ReturnPath("mpls", labels=_labels(what, field), address=address)


@dataclass(frozen=True, slots=True)
class NamedPath:
    """One path of a measurement, there and back."""

    name: str | None
    """None: it is the only one, and nobody has named it."""
    path: ForwardPath = PLAIN
    return_path: ReturnPath | None = None
    micro_session: tuple[int, int] | None = None
    """Numbers of a LAG's member here and at the Session-Reflector (RFC 9534); 0 for one that is not known."""


def along(base: Measurement, way: NamedPath) -> Measurement:
    """The measurement on that path. Raises `ConfigError`."""
    micro_session = way.micro_session or base.tlvs.micro_session
    tlvs = replace(base.tlvs, return_path=way.return_path, micro_session=micro_session)
    return replace(base, path=way.path, tlvs=tlvs)


def named_paths(there: Sequence[str], back: Sequence[str]) -> tuple[NamedPath, ...]:
    """The paths of one measurement, at least one: each `[NAME=]PATH` there, and the way back of the same name.

    A way back without a name is that of all of them. Raises `ConfigError`.
    """
    ways = dict(_named(there, "path")) or {None: "plain"}
    if len(ways) > 1 and None in ways:
        raise ConfigError("path", f"of several paths each has a name, as in a={ways[None]}")
    if len(ways) > MOST_PATHS:
        raise ConfigError("path", f"{len(ways)} paths are more than {MOST_PATHS}")
    returns = dict(_named(back, "return_path"))
    for name in returns:
        if name is not None and name not in ways:
            raise ConfigError("return_path", f"there is no path {name} (--path {name}=…)")
    parsed = {name: parse_return_path(text) for name, text in returns.items()}
    return tuple(NamedPath(name, parse_path(text), parsed.get(name, parsed.get(None))) for name, text in ways.items())


def lag_paths(text: str, members_of: Callable[[str], Sequence[str]]) -> tuple[NamedPath, ...]:
    """A path by each member of a LAG: of `IFACE`, or of those named, `IFACE[=ID[:FAR-ID]],…`.

    `members_of` lists those of an interface. Members without numbers are numbered from 1. Raises `ConfigError`.
    """
    parts = text.split(",")
    if len(parts) == 1 and "=" not in text:
        parts = list(members_of(_interface(text, "lag")))
        if not parts:
            raise ConfigError("lag", f"{text} has no members: name them, as in eth1,eth2")
    if len(parts) > MOST_PATHS:
        raise ConfigError("lag", f"{len(parts)} members are more than {MOST_PATHS}")
    found = []
    for number, part in enumerate(parts, 1):
        name, equals, ids = part.partition("=")
        ours, colon, theirs = ids.partition(":")
        micro_session = (_number(ours) if equals else number, _number(theirs) if colon else 0)
        found.append(NamedPath(name, ForwardPath("link", interface=_interface(name, "lag")), None, micro_session))
    for what, values in (
        ("name", [path.name for path in found]),
        ("number", [path.micro_session and path.micro_session[0] for path in found]),
    ):
        twice = next((value for place, value in enumerate(values) if value in values[:place]), None)
        if twice is not None:
            raise ConfigError("lag", f"two members have the {what} {twice}")
    return tuple(found)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 0xFFFF):
        raise ConfigError("lag", f"{text!r} is no number from 1 to 65535 of a member")
    return int(text)


def _named(texts: Iterable[str], field: str) -> list[tuple[str | None, str]]:
    """(name, rest) of each `NAME=PATH`; the name is None where none is written. Raises `ConfigError`."""
    found: list[tuple[str | None, str]] = []
    for text in texts:
        name, equals, rest = text.partition("=")
        if equals and _NAME.fullmatch(name) is None:
            raise ConfigError(
                field, f"{name!r} is no name of a path: 1 to 32 letters, digits, dots, underscores and hyphens"
            )
        key, value = (name, rest) if equals else (None, text)
        if any(known == key for known, _ in found):
            raise ConfigError(
                field, f"{text!r}: there is another one" + (f" named {name}" if equals else " without a name")
            )
        found.append((key, value))
    return found


def _segments(text: str, field: str) -> tuple[str, ...]:
    import ipaddress  # here, because an ordinary measurement never needs it

    segments = text.split(",")
    check_segments(segments, field)
    return tuple(str(ipaddress.IPv6Address(segment)) for segment in segments)


def _labels(text: str, field: str) -> tuple[int, ...]:
    labels = []
    for part in text.split(","):
        if not (part.isascii() and part.isdigit() and len(part) <= 10):
            what = "an address" if ":" in part or "." in part else "no number"
            raise ConfigError(field, f"{part!r} is {what}: the segments of mpls are labels")
        labels.append(int(part))
    check_labels(labels, field)
    return tuple(labels)


def _next_hop(text: str, field: str) -> tuple[str, str | None, str | None]:
    """`WHAT@GATEWAY%INTERFACE`, each of the last two optional."""
    text, percent, interface = text.partition("%")
    what, at, gateway = text.partition("@")
    if at and not gateway:
        raise ConfigError(field, "after @ comes the address of a router")
    return what, _address(gateway, field) if at else None, _interface(interface, field) if percent else None


def _interface(text: str, field: str) -> str:
    if not 1 <= len(text) <= 15 or any(not c.isprintable() or c.isspace() or c in "/:%@" for c in text):
        raise ConfigError(field, f"{text!r} is no name of an interface")
    return text


def _address(text: str, field: str) -> str:
    import ipaddress  # here, because an ordinary measurement never needs it

    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ConfigError(field, f"{text!r} is no address") from None
    if address.is_unspecified or address.is_multicast or getattr(address, "scope_id", None) is not None:
        raise ConfigError(field, f"{text} is not the address of one host")
    return str(address)
