"""Host names into numeric addresses. Numeric addresses never ask anything, so they cost no start-up time."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, NamedTuple

from twoway.errors import ResolveError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twoway.config.endpoint import Endpoint

    _Answers = Sequence[tuple[int, int, int, str, tuple[object, ...]]]


class Address(NamedTuple):
    """A numeric address to send to or to listen on."""

    host: str
    port: int
    scope_id: int
    family: int
    """4 or 6."""


_FAMILIES = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}
_REASONS = {
    socket.EAI_AGAIN: "no answer from the name server: check /etc/resolv.conf and the network",
    socket.EAI_FAIL: "the name server refused: check /etc/resolv.conf",
    socket.EAI_MEMORY: "out of memory",
}


def numeric_family(host: str) -> int | None:
    """4 or 6 for a numeric address, None for a name."""
    for family, number in ((socket.AF_INET, 4), (socket.AF_INET6, 6)):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return number
    return None


def _numeric(endpoint: Endpoint, port: int, family: int | None) -> Address | None:
    """The address if it is numeric already. Raises `ResolveError` where it contradicts `family`."""
    number = numeric_family(endpoint.host)
    if number is None:
        if endpoint.scope is not None:
            raise ResolveError(str(endpoint), "not an IPv6 address")
        return None
    if family not in (None, number):
        raise ResolveError(endpoint.host, f"this is an IPv{number} address, but IPv{family} was asked for (-{family})")
    return Address(endpoint.host, port, _scope_id(endpoint), number)


def _scope_id(endpoint: Endpoint) -> int:
    if endpoint.scope is None:
        return 0
    if endpoint.scope.isascii() and endpoint.scope.isdigit():
        return int(endpoint.scope)
    try:
        return socket.if_nametoindex(endpoint.scope)
    except OSError:
        reason = (
            f"no interface {endpoint.scope} here: `ip link` lists those there are (inside --netns, write its number)"
        )
        raise ResolveError(str(endpoint), reason) from None


def _failed(endpoint: Endpoint, family: int | None, error: Exception) -> ResolveError:
    if isinstance(error, UnicodeError):
        return ResolveError(endpoint.host, "not a host name")
    code = error.errno if isinstance(error, socket.gaierror) else None
    if code in _REASONS:
        return ResolveError(endpoint.host, _REASONS[code])
    if family is not None:
        return ResolveError(endpoint.host, f"no such name, or it has no IPv{family} address: try without -{family}")
    return ResolveError(endpoint.host, f"no such name: check the spelling, or `getent ahosts {endpoint.host}`")


def _first(answers: _Answers, endpoint: Endpoint, port: int) -> Address:
    """The system's first choice (RFC 6724 section 6 orders them)."""
    for family, _, _, _, where in answers:
        if family in (socket.AF_INET, socket.AF_INET6):
            scope_id = where[3] if len(where) == 4 else 0
            host = str(where[0]).partition("%")[0]
            return Address(
                host, port, scope_id if isinstance(scope_id, int) else 0, 6 if family == socket.AF_INET6 else 4
            )
    raise ResolveError(endpoint.host, "it has neither an IPv4 nor an IPv6 address")


def resolve(endpoint: Endpoint, port: int, family: int | None) -> Address:
    """The address to use for an endpoint; `port` where it names none. Blocks while the resolver does.

    Raises `ResolveError`.
    """
    port = port if endpoint.port is None else endpoint.port
    address = _numeric(endpoint, port, family)
    if address is not None:
        return address
    try:
        answers = socket.getaddrinfo(endpoint.host, port, _FAMILIES[family], socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise _failed(endpoint, family, error) from None
    return _first(answers, endpoint, port)


async def resolve_async(endpoint: Endpoint, port: int, family: int | None) -> Address:
    """As `resolve`, without blocking the event loop."""
    import asyncio  # here, because only who uses a loop should pay for it

    port = port if endpoint.port is None else endpoint.port
    address = _numeric(endpoint, port, family)
    if address is not None:
        return address
    loop = asyncio.get_running_loop()
    try:
        answers = await loop.getaddrinfo(endpoint.host, port, family=_FAMILIES[family], type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise _failed(endpoint, family, error) from None
    return _first(answers, endpoint, port)
