"""Parts of a plan that want the same UDP port of this host: the second could not be opened. Pure.

Only what is certain is refused: where an address is not known, such as that of a name, the kernel has the last word.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from twoway.config import defaults
from twoway.config.endpoint import parse_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from twoway.config.document import Path as Place
    from twoway.config.plan import ConnectionPlan, SessionPlan
    from twoway.config.reflection import Reflection
    from twoway.config.server import ServerOptions


@dataclass(frozen=True, slots=True)
class _End:
    """Where a socket is bound."""

    port: int
    version: int | None
    """4 or 6; None where only the resolver knows."""
    address: str | None
    """None: every address of its family."""
    interface: str | None
    netns: str | None

    def collides(self, other: _End) -> bool:
        """Whether the kernel has no room for both, as it compares them: a part that is not bound goes with any."""
        return (
            (self.port, self.netns) == (other.port, other.netns)
            and (None in (self.interface, other.interface) or self.interface == other.interface)
            and (self.version == other.version if None not in (self.version, other.version) else self == other)
            and (None in (self.address, other.address) or self.address == other.address)
        )


def refuse_collisions(
    connections: Iterable[ConnectionPlan],
    server: ServerOptions | None,
    reflections: Iterable[Reflection],
    refuse: Callable[[Place, str], None],
) -> None:
    """Refuse what comes second."""
    listening = [end for reflection in reflections for end in _listening(reflection)]
    if server is not None:
        first, last = server.port_range
        for port in dict.fromkeys(end.port for end in listening if _shares(end, server)):
            if first <= port <= last:
                refuse(("server", "light", "port"), f"{port} is in the port-range of server.managed, {first}-{last}")
    taken: dict[int, list[tuple[_End, str]]] = {}
    for end in listening:
        taken.setdefault(end.port, []).append((end, "server.light"))
    for connection in connections:
        for session in connection.sessions:
            sending = _sending(connection, session)
            if sending is None:
                continue
            others = taken.setdefault(sending.port, [])
            other = next((name for end, name in others if sending.collides(end)), None)
            if other is not None:
                refuse((*session.place, "source-port"), f"{sending.port} is that of {other} already")
            others.append((sending, f"{connection.name}.{session.name}"))


def _shares(end: _End, server: ServerOptions) -> bool:
    """Whether a port there could be one of the Server's test-sessions."""
    interfaces = {end.interface, server.interface}
    return end.netns == server.netns and (None in interfaces or len(interfaces) == 1)


def _listening(reflection: Reflection) -> Iterator[_End]:
    for where in reflection.listen or (f":{defaults.PORT}",):
        if not isinstance(where, str):
            continue
        if where.startswith(":"):
            ends: list[tuple[int, str | None, int]] = [(4, None, int(where[1:])), (6, None, int(where[1:]))]
        else:
            end = parse_endpoint(where)
            ends = [(ip_address(end.host).version, _unless_all(end.host), end.port or defaults.PORT)]
        for version, address, port in ends:
            yield _End(port, version, address, reflection.interface, reflection.netns)


def _unless_all(address: str) -> str | None:
    return None if ip_address(address).is_unspecified else address


def _sending(connection: ConnectionPlan, session: SessionPlan) -> _End | None:
    """Where a session is bound, None where any port will do."""
    if session.light is not None:
        light = session.light
        port, source, interface, netns = light.source_port, light.source, light.interface, light.netns
        target = parse_endpoint(light.target).host
    elif session.managed is not None and connection.control is not None:
        control, port = connection.control, session.managed.sender_port
        source, interface, netns = session.managed.sender_address or control.source, control.interface, control.netns
        target = parse_endpoint(connection.target).host
    else:
        return None
    return _End(port, _version(source or target), source, interface, netns) if port else None


def _version(address: str) -> int | None:
    try:
        return ip_address(address).version
    except ValueError:
        return None
