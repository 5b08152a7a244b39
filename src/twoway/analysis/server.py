"""What a Server has counted and what runs on it: the input of its renderings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class SessionState:
    """One test-session of a Server, as it is now."""

    sid: bytes
    protocol: str
    """`twamp` or `owamp`."""
    role: str
    """What the Server is in it: `reflector`, `receiver` or `sender`."""
    connection: int
    """Number of the control connection, counted from 1."""
    client: str
    """Address and port of its client."""
    mode: str
    """Security mode."""
    sender: tuple[str, int]
    receiver: tuple[str, int]
    """Session-Reflector or Session-Receiver."""
    state: str
    """`accepted`, `started` or `stopping`."""
    packets: Mapping[str, int]
    """Disposition -> packets."""
    obtained: Mapping[str, str]
    """Option -> what stands instead, for each that was granted in lesser form."""


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """One control connection of a Server, as it is now."""

    number: int
    """Counted from 1."""
    client: tuple[str, int]
    server: tuple[str, int]
    mode: str
    """Security mode; `none` before it is negotiated."""
    sessions: int
    since_ns: int
    """Wall time of its beginning."""


@dataclass(frozen=True, slots=True)
class ServerState:
    """A Server at one moment."""

    local_addresses: Sequence[tuple[str, str, int]]
    """(protocol, address, port) of each listener."""
    counters: Mapping[str, int]
    """Name -> how often; the names of broken rules have what became of it before a colon."""
    connections: int
    """Control connections that are open, or whose stopped sessions still run."""
    sessions: Sequence[SessionState]
    at_ns: int
    """Wall time."""
