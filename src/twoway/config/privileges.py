"""THE table of privileges: what the kernel asks for what, which statements need it, and how to do without. Pure.

The systemd unit (`config.unit`), `twoway capabilities` and the documents iterate it. A daemon is given what its
configuration needs and nothing else; what would let it do more to the host than measure is never given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twoway.config.document import path_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twoway.config.document import Path
    from twoway.config.model import Configuration
    from twoway.config.model.client import RoutingInstance
    from twoway.config.model.routes import Route, Routes
    from twoway.config.model.server import Light, Managed

_FIRST_UNPRIVILEGED = 1024
"""`net.ipv4.ip_unprivileged_port_start`, unless an administrator lowered it."""


@dataclass(frozen=True, slots=True)
class Privilege:
    """One row of the table."""

    feature: str
    """What it is for; where `twoway capabilities` tries it, its name there."""
    capability: str
    """Of capabilities(7)."""
    purpose: str
    """What the kernel asks it for."""
    instead: str
    """How to do without it."""
    needed_by: Callable[[Configuration], Iterator[str]]
    """The statements of a configuration that need it."""
    given: bool = True
    """Whether the unit gives it to a configuration that needs it."""


def _client(*rest: str | int) -> Path:
    return ("client", "control-connection", *rest)


def _low_ports(configuration: Configuration) -> Iterator[str]:
    for place, port in _ports(configuration):
        if 0 < port < _FIRST_UNPRIVILEGED:
            yield f"{path_text(place)}: {port}"


def _ports(configuration: Configuration) -> Iterator[tuple[Path, int]]:
    """Every local port, with the statement it comes from."""
    for name, connection in configuration.client.control_connection.items():
        for session, statements in connection.test_session.items():
            yield _client(name, "test-session", session, "source-port"), statements.source_port
    managed, light, api = configuration.server.managed, configuration.server.light, configuration.api
    if managed is not None:
        yield from ((("server", "managed", "port"), port) for port in managed.port)
        yield from ((("server", "managed", "owamp-port"), port) for port in managed.owamp_port)
        yield ("server", "managed", "port-range"), managed.port_range[0]
    if light is not None:
        yield from ((("server", "light", "port"), port) for port in light.port)
    for statement, address in (("listen", api.listen), ("metrics-listen", api.metrics_listen)):
        if address is not None:
            yield ("api", statement), address[1]


def _hardware_stamps(configuration: Configuration) -> Iterator[str]:
    for name, connection in configuration.client.control_connection.items():
        for session, statements in connection.test_session.items():
            if statements.offload_type == "hardware":
                yield path_text(_client(name, "test-session", session, "offload-type"))
    for role, answering in _roles(configuration):
        if answering.offload_type == "hardware":
            yield path_text(("server", role, "offload-type"))


def _roles(configuration: Configuration) -> Iterator[tuple[str, Managed | Light]]:
    if configuration.server.managed is not None:
        yield "managed", configuration.server.managed
    if configuration.server.light is not None:
        yield "light", configuration.server.light


def _namespaces(configuration: Configuration) -> Iterator[str]:
    for name, connection in configuration.client.control_connection.items():
        yield from _namespace(_client(name), connection.routing_instance)
    for role, statements in _roles(configuration):
        yield from _namespace(("server", role), statements.routing_instance)
    if configuration.routes is not None:
        for name, instance in configuration.routes.routing_instance.items():
            if instance.netns is not None:
                yield f"{path_text(('routes', 'routing-instance', name, 'netns'))}: {instance.netns}"


def _namespace(place: Path, where: RoutingInstance | None) -> Iterator[str]:
    if where is not None and where.netns is not None:
        yield f"{path_text((*place, 'routing-instance', 'netns'))}: {where.netns}"


def _routes(configuration: Configuration) -> Iterator[str]:
    """The tracked routes, unless nothing is done with any of them."""
    routes = configuration.routes
    if routes is None or routes.dry_run:
        return
    for place, route in _each_route(routes):
        if not route.dry_run:
            yield path_text(place)


def _each_route(routes: Routes) -> Iterator[tuple[Path, Route]]:
    for prefix, route in routes.route.items():
        yield ("routes", "route", prefix), route
    for name, instance in routes.routing_instance.items():
        for prefix, route in instance.route.items():
            yield ("routes", "routing-instance", name, "route", prefix), route


def _frames(configuration: Configuration) -> Iterator[str]:
    for name, connection in configuration.client.control_connection.items():
        for session, statements in connection.test_session.items():
            place = _client(name, "test-session", session)
            ways = [((*place, "source-routing"), statements.source_routing)]
            ways += [((*place, "path", path), way) for path, way in statements.path.items()]
            for where, way in ways:
                if way.forward.srmpls_nodes:
                    yield path_text((*where, "forward", "srmpls-nodes"))
                elif way.forward.interface is not None:
                    yield path_text((*where, "forward", "interface"))
    yield from _seen_packets(configuration.server.light)


def _seen_packets(light: Light | None) -> Iterator[str]:
    """What a Session-Reflector is only told by a packet socket."""
    if light is None or not light.tlvs.process:
        return
    place: Path = ("server", "light", "tlvs")
    tlvs = light.tlvs
    if tlvs.location == "all":
        yield f"{path_text((*place, 'location'))}: all"
    if tlvs.reflect_headers:
        yield path_text((*place, "reflect-headers"))
    if tlvs.micro_session:
        yield path_text((*place, "micro-session"))
    if tlvs.return_path_allow:
        yield path_text((*place, "return-path-allow"))


def _nothing(_configuration: Configuration) -> Iterator[str]:
    """No statement does."""
    return iter(())


PRIVILEGES = (
    Privilege(
        "low_ports",
        "CAP_NET_BIND_SERVICE",
        "ports below 1024, such as 862 of reflectors and Servers",
        "lower `sysctl net.ipv4.ip_unprivileged_port_start`, or use a port above 1023",
        _low_ports,
    ),
    Privilege(
        "hardware_stamps",
        "CAP_NET_ADMIN",
        "switching a card's stamping on (SIOCSHWTSTAMP)",
        "the kernel's own stamps are used",
        _hardware_stamps,
    ),
    Privilege(
        "tracked_routes",
        "CAP_NET_ADMIN",
        "changing routes in the kernel's table (rtnetlink)",
        "write `dry-run: on`, which tells what would be done",
        _routes,
    ),
    Privilege(
        "receive_buffer",
        "CAP_NET_ADMIN",
        "receive buffers beyond `net.core.rmem_max` (SO_RCVBUFFORCE)",
        "raise `sysctl net.core.rmem_max`",
        _nothing,
        given=False,
    ),
    Privilege(
        "packet_socket",
        "CAP_NET_RAW",
        "sending whole frames and seeing those that come (AF_PACKET), as SR-MPLS paths, members of a LAG, replies "
        "under labels and some TLVs need",
        "use SRv6 paths, or routing-instance with an interface; what a reflector then cannot do it says in the TLV",
        _frames,
    ),
    Privilege(
        "xdp",
        "CAP_NET_RAW",
        "AF_XDP sockets, as a reflector's offload needs",
        "no statement needs it",
        _nothing,
    ),
    Privilege(
        "namespaces",
        "CAP_SYS_ADMIN",
        "entering another network namespace (setns)",
        "run a daemon for each namespace: leave `netns` out, and have systemd start it there by "
        "`NetworkNamespacePath=/run/netns/NAME`",
        _namespaces,
        given=False,
    ),
)
"""CAP_SYS_TIME is not among them: the clock is read, and never set."""


def privilege(feature: str) -> Privilege:
    """The row of a feature. Raises `KeyError`."""
    return {row.feature: row for row in PRIVILEGES}[feature]
