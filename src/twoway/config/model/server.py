"""The server's statements: a Server of TWAMP, and light Session-Reflectors."""

from __future__ import annotations

from pathlib import PurePath  # noqa: TC003  (pydantic reads annotations)
from typing import Annotated

from pydantic import Field

from twoway.config import defaults, server
from twoway.config.managed import KEEP_COUNT, KEEP_IDLE_S, KEEP_INTERVAL_S
from twoway.config.model.client import MODE, OFFLOAD, Routing
from twoway.config.model.file_values import Credential, Secret
from twoway.config.model.network_values import CodePoint, Network, Numeric, PortRange
from twoway.config.model.statements import Presence, Short, Statements
from twoway.config.model.tlvs import Answered, AnsweredTlvs
from twoway.config.model.values import NAME, Duration, Integer, ListOf, Switch

_HOUR_NS = 3_600 * defaults.NANOS
_PORTS = ListOf(Integer(1, 65535), longest=64)
_LIGHT_PORTS = ListOf(Integer(862, 65535), longest=1000)
_NETWORKS = ListOf(Network(), longest=10_000)


class ClientList(Statements):
    """Networks under a name. Alone, a list is that of its addresses."""

    address: Annotated[tuple[str, ...], _NETWORKS] = Field(default=(), examples=[["192.0.2.0/24", "2001:db8::/32"]])
    """Networks and addresses of clients."""


_Clients = dict[Annotated[str, NAME], Annotated[ClientList, Short("address", _NETWORKS)]]


class Managed(Statements):
    """A Server (RFC 5357 section 3): clients negotiate their test-sessions over TCP."""

    port: Annotated[tuple[int, ...], _PORTS] = (862,)
    """TCP ports of TWAMP-Control."""
    owamp_port: Annotated[tuple[int, ...], _PORTS] = Field(default=(), examples=[[861]])
    """TCP ports of OWAMP-Control; none unless written."""
    address: Annotated[tuple[str, ...], ListOf(Numeric(), longest=64)] = ("0.0.0.0", "::")  # noqa: S104  (a server answers on every address unless told)
    """Addresses to listen on."""
    routing_instance: Routing = Field(default=None, examples=["blue"])
    """VRF or network namespace of listeners and test packets."""
    client_list: _Clients = Field(default_factory=dict, examples=[{"noc": ["192.0.2.0/24"]}])
    """Who is served, as lists of networks by name; at least one."""
    mode: Annotated[tuple[str, ...], ListOf(MODE)] = Field(default=(), examples=[["encrypted", "authenticated"]])
    """Security modes offered: unauthenticated unless written, and with a key-file all others instead."""
    key_file: Annotated[PurePath | Credential | None, Secret()] = Field(default=None, examples=["/etc/twoway/keys"])
    """Shared secrets by KeyID."""
    port_range: Annotated[tuple[int, int], PortRange()] = server.PORT_RANGE
    """UDP ports of test-sessions."""
    any_sender_address: Annotated[bool, Switch()] = False
    """Reflect to addresses other than the client's, too (RFC 4656 section 6.2 has reasons not to)."""
    maximum_connections: Annotated[int, Integer(1, 10_000)] = server.MAXIMUM_CONNECTIONS
    """Control connections at a time."""
    maximum_connections_per_client: Annotated[int, Integer(1, 10_000)] = server.MAXIMUM_CONNECTIONS_PER_CLIENT
    """Control connections of one address."""
    maximum_sessions: Annotated[int, Integer(1, 65_536)] = server.MAXIMUM_SESSIONS
    """Test-sessions at a time."""
    maximum_sessions_per_client: Annotated[int, Integer(1, 65_536)] = server.MAXIMUM_SESSIONS_PER_CLIENT
    """Test-sessions of one address."""
    maximum_sessions_per_connection: Annotated[int, Integer(1, 65_536)] = server.MAXIMUM_SESSIONS_PER_CONNECTION
    """Test-sessions of one control connection."""
    max_connection_duration: Annotated[int, Duration(defaults.NANOS, 120 * _HOUR_NS, bare=None, off=True)] = (
        server.MAX_CONNECTION_DURATION_NS
    )
    """Longest life of a control connection; 0: no limit. Junos counts hours here, so a number needs its unit."""
    server_inactivity_timeout: Annotated[int, Duration(defaults.NANOS, 24 * _HOUR_NS, bare=None, off=True)] = (
        server.SERVER_INACTIVITY_TIMEOUT_NS
    )
    """Silence that ends a control connection (SERVWAIT); 0: none does. Junos counts minutes here."""
    reflector_inactivity_timeout: Annotated[int, Duration(defaults.NANOS, 24 * _HOUR_NS, bare=None, off=True)] = (
        server.REFLECTOR_INACTIVITY_TIMEOUT_NS
    )
    """Silence that ends a test-session (REFWAIT); 0: none does. Junos counts minutes here."""
    tcp_keepidle: Annotated[int, Integer(1, 600)] = KEEP_IDLE_S
    """Seconds of silence before the first keepalive."""
    tcp_keepintvl: Annotated[int, Integer(1, 600)] = KEEP_INTERVAL_S
    """Seconds between keepalives."""
    tcp_keepcnt: Annotated[int, Integer(1, 50)] = KEEP_COUNT
    """Keepalives without an answer that end the connection."""
    offload_type: Annotated[str, OFFLOAD] = defaults.TIMESTAMPS
    """Where departure and arrival are stamped."""
    workers: Annotated[int, Integer(1, 256)] = 1
    """Threads for test packets."""


class StatefulSequence(Statements):
    """Replies numbered for each test-session, so that senders can tell loss there from loss back."""

    cache_size: Annotated[int, Integer(1_000, 1_000_000)] = 65_536
    """Test-sessions remembered; the longest silent one makes room."""


class Light(Statements):
    """A Session-Reflector of STAMP and TWAMP Light: it answers whoever sends to its ports."""

    port: Annotated[tuple[int, ...], _LIGHT_PORTS] = (defaults.PORT,)
    """UDP ports."""
    address: Annotated[tuple[str, ...], ListOf(Numeric(scoped=True), longest=64)] = Field(
        default=(), examples=[["192.0.2.1", "fe80::1%eth0"]]
    )
    """Addresses to answer on; all of them unless written."""
    routing_instance: Routing = Field(default=None, examples=["blue"])
    """VRF or network namespace of its sockets."""
    client_list: _Clients = Field(default_factory=dict, examples=[{"noc": ["192.0.2.0/24"]}])
    """Who is answered, as lists of networks by name; everyone unless written."""
    stateful_sequence: Annotated[StatefulSequence | None, Presence(switch=True)] = None
    """Number the replies of each test-session, `on` will do. Unless written, a reply has its request's number."""
    session_timeout: Annotated[int, Duration(defaults.NANOS, 24 * _HOUR_NS)] = defaults.SESSION_TIMEOUT_NS
    """Silence after which a test-session is forgotten."""
    key_file: Annotated[PurePath | Credential | None, Secret()] = Field(
        default=None, examples=["/etc/twoway/stamp-keys"]
    )
    """Keys of authenticated STAMP."""
    require_authentication: Annotated[bool, Switch()] = False
    """Answer authenticated probes only."""
    rate_limit: Annotated[int, Integer(0, 2**32 - 1)] = defaults.RATE_LIMIT
    """Probes a second that are answered in all; 0: no limit."""
    rate_limit_per_source: Annotated[int, Integer(0, 2**32 - 1)] = defaults.RATE_LIMIT_PER_SOURCE
    """Probes a second that are answered for each address; 0: no limit."""
    dscp_code_points: Annotated[int | None, CodePoint()] = Field(default=None, examples=["ef"])
    """Code point of the replies; that of the probe unless written."""
    larger_replies: Annotated[bool, Switch()] = True
    """Answer probes that are shorter than the shortest reply."""
    tlvs: Answered = Field(default_factory=AnsweredTlvs, examples=[True])
    """What STAMP TLVs may ask (RFC 8972 section 4)."""
    dscp_ecn_monitoring: Annotated[bool, Switch()] = False
    """Tell in unauthenticated replies with which DSCP and ECN the probe arrived (RFC 7750)."""
    offload_type: Annotated[str, OFFLOAD] = defaults.TIMESTAMPS
    """Where departure and arrival are stamped."""
    workers: Annotated[int | None, Integer(1, 256)] = Field(default=None, examples=[1])
    """Threads for each address; one per CPU and at most 4 unless written."""


class Server(Statements):
    """What is answered here."""

    managed: Annotated[Managed | None, Presence()] = None
    """A Server of TWAMP, and of OWAMP if it has ports for it."""
    light: Annotated[Light | None, Presence()] = None
    """A Session-Reflector of STAMP and TWAMP Light."""
