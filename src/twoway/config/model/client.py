"""The client's statements: control-connections, test-sessions, thresholds."""

from __future__ import annotations

from pathlib import PurePath  # noqa: TC003  (pydantic reads annotations)
from typing import Annotated, Any

from pydantic import Field

from twoway.config import defaults
from twoway.config.managed import CONTROL_DSCP, KEEP_COUNT, KEEP_IDLE_S, KEEP_INTERVAL_S, MODES
from twoway.config.model.file_values import Credential, Secret
from twoway.config.model.network_values import DEVICE, NAMESPACE, CodePoint, Host, Source
from twoway.config.model.source_routing import PATH_NAME, Path, SourceRouting
from twoway.config.model.statements import Presence, Short, Statements
from twoway.config.model.tlvs import Asked, AskedTlvs
from twoway.config.model.values import NAME, Choice, Duration, Integer, ListOf, Switch, Text

_MS = 1_000_000
_DAY_NS = 86_400 * defaults.NANOS
_MANY = 4_294_967_290
"""As far as Junos counts probes and tests."""

SESSION_TRAPS = (
    "probe-failure",
    "test-failure",
    "test-completion",
    "rtt-exceeded",
    "max-rtt-exceeded",
    "jitter-exceeded",
    "std-dev-exceeded",
    "egress-time-exceeded",
    "egress-jitter-exceeded",
    "egress-std-dev-exceeded",
    "ingress-time-exceeded",
    "ingress-jitter-exceeded",
    "ingress-std-dev-exceeded",
)
CONNECTION_TRAPS = ("test-iteration-done", "control-connection-closed")

OFFLOAD = Choice(
    ("none", "kernel", "hardware"),
    {
        "user": "none",
        "pfe-timestamp": "kernel",
        "inline-timestamp": "hardware",
        "inline-timestamping": "hardware",
    },
)
"""Where timestamps are taken. Junos's words for it are taken, too."""
TIMESTAMPS = {"none": "user", "kernel": "kernel", "hardware": "hardware"}
MODE = Choice(MODES, {"none": "unauthenticated", "control-only-encrypted": "mixed"})
KEY_ID = Text(r"[A-Za-z0-9._\-]{1,64}", "the id of a key: 1 to 64 letters, digits, dots, underscores and hyphens")
PORT = Integer(862, 65535)
_LIMIT = Duration(1_000, 60 * defaults.NANOS, bare="us", off=True)


class RoutingInstance(Statements):
    """Where in this host's network something lives. Alone, a name is that of a VRF."""

    vrf: Annotated[str | None, DEVICE] = Field(default=None, examples=["blue"])
    """VRF device, or any other interface, to which sockets are bound."""
    netns: Annotated[str | None, NAMESPACE] = Field(default=None, examples=["blue"])
    """Network namespace in which sockets are opened; names resolve outside of it."""


Routing = Annotated[RoutingInstance | None, Short("vrf", DEVICE)]


class Target(Statements):
    """A Session-Reflector."""

    address: Annotated[str | None, Host()] = Field(default=None, examples=["fe80::1"])
    """Name or numeric address. Names are resolved when the session starts, and again when it fails."""
    local_link: Annotated[str | None, DEVICE] = Field(default=None, examples=["eth0"])
    """Interface of a link-local address; the same as ADDRESS%INTERFACE."""


class Limit(Statements):
    """A threshold for a time. Alone, a value is its limit-value."""

    limit_value: Annotated[int, _LIMIT] = Field(default=0, examples=["50ms"])
    """What is met or exceeded; 0: off. A bare number is microseconds, as in Junos."""
    average: Annotated[bool, Switch()] = False
    """Compare the mean of a test with it, not its worst."""


_Limit = Annotated[Limit, Short("limit-value", _LIMIT)]


def _limit(example: str) -> Any:  # noqa: ANN401  (as pydantic's own Field)
    """A threshold that is off."""
    return Field(default_factory=Limit, examples=[example])


class Thresholds(Statements):
    """When a probe, and when a test, has failed."""

    rtt: _Limit = _limit("20ms")
    """Round-trip time; at each probe, unless average."""
    max_rtt: _Limit = _limit("50ms")
    """Greatest round-trip time of a test, at its end."""
    egress_time: _Limit = _limit("10ms")
    """Delay from us to the Session-Reflector; at each probe, unless average. Only with synchronised clocks."""
    ingress_time: _Limit = _limit("10ms")
    """Delay from the Session-Reflector to us; like egress-time."""
    jitter_rtt: _Limit = _limit("5ms")
    """Greatest minus least round-trip time of a test; with average, the mean difference between neighbours."""
    jitter_egress: _Limit = _limit("2ms")
    """The same of the delays to the Session-Reflector."""
    jitter_ingress: _Limit = _limit("2ms")
    """The same of the delays from the Session-Reflector."""
    std_dev_rtt: _Limit = _limit("5ms")
    """Standard deviation of a test's round-trip times."""
    std_dev_egress: _Limit = _limit("2ms")
    """The same of the delays to the Session-Reflector."""
    std_dev_ingress: _Limit = _limit("2ms")
    """The same of the delays from the Session-Reflector."""
    successive_loss: Annotated[int, Integer(0, _MANY)] = 1
    """Probes lost in a row, or refused by the kernel, that make a probe failure, over the ends of tests; 0: off."""
    total_loss: Annotated[int, Integer(0, _MANY)] = 1
    """Probes of one test that make a test failure as they are lost, late, or could not be sent; 0: off."""
    control_failure: Annotated[bool, Switch()] = True
    """Whether a test that could not be negotiated has failed."""
    own_faults: Annotated[bool, Switch()] = False
    """Whether tests that this host itself disturbed are judged, too."""


class TestSession(Statements):
    """One test-session: probes from here to a Session-Reflector and back."""

    __test__ = False  # no test class, whatever pytest thinks

    target: Annotated[Target | None, Short("address", Host())] = Field(
        default=None, examples=["192.0.2.1", {"address": "fe80::1", "local-link": "eth0"}]
    )
    """Session-Reflector. Must be there if light; if managed, it is the Server unless written."""
    source_address: Annotated[str | None, Source()] = Field(default=None, examples=["192.0.2.9"])
    """Address that probes are sent from; routing chooses one unless written."""
    source_port: Annotated[int, Integer(0, 65535)] = 0
    """UDP port that probes are sent from; 0: any that is free."""
    destination_port: Annotated[int | None, PORT] = Field(default=None, examples=[862])
    """UDP port of the Session-Reflector, 862 unless written. Light only: a managed session negotiates it."""
    protocol: Annotated[str | None, Choice(("stamp", "light"))] = Field(default=None, examples=["stamp"])
    """STAMP (RFC 8762), or light for TWAMP Light (RFC 5357 appendix I); stamp unless written. Light only."""
    probe_count: Annotated[int, Integer(0, _MANY)] = 1
    """Probes of one test; 0: probes never pause, and a test is cut at each test-interval."""
    probe_interval: Annotated[int, Duration(_MS, _DAY_NS)] = defaults.INTERVAL_NS
    """Between two probes of a test."""
    schedule: Annotated[str, Choice(("periodic", "poisson"))] = defaults.SCHEDULE
    """Probes at equal distances, or at random ones with probe-interval as their mean (RFC 2330 section 11.1.1)."""
    timeout: Annotated[int, Duration(_MS, 900 * defaults.NANOS)] = defaults.TIMEOUT_NS
    """A reply after this is late; after twice this a probe is lost."""
    data_size: Annotated[int, Integer(0, 65_400)] = 0
    """Octets of padding beyond the smallest probe to which request and reply are equally long."""
    data_fill: Annotated[str, Choice(("zeros", "random"))] = defaults.FILL
    """Content of the padding."""
    data_fill_with_zeros: Annotated[bool, Switch()] = False
    """Junos's word for data-fill: zeros."""
    dscp_code_points: Annotated[int, CodePoint()] = 0
    """Code point of the probes."""
    ttl: Annotated[int, Integer(1, 255)] = defaults.TTL
    """TTL or hop limit of the probes; the RFCs ask for 255, Junos sends 64."""
    offload_type: Annotated[str, OFFLOAD] = defaults.TIMESTAMPS
    """Where departure and arrival are stamped; one level lower where the host cannot, which is shown."""
    clock_format: Annotated[str, Choice(("ntp", "ptp"))] = defaults.CLOCK_FORMAT
    """Format of the timestamps in probes."""
    reflector_mode: Annotated[str, Choice(("auto", "stateless", "stateful"))] = defaults.REFLECTOR_MODE
    """Whether the Session-Reflector numbers its replies, which tells loss there from loss back; auto learns it."""
    key_file: Annotated[PurePath | Credential | None, Secret()] = Field(
        default=None, examples=["/etc/twoway/stamp-keys"]
    )
    """Keys of authenticated STAMP. Light only."""
    key_id: Annotated[str | None, KEY_ID] = Field(default=None, examples=["fra"])
    """Which key of key-file; a file with one key needs none."""
    ssid: Annotated[int, Integer(0, 65535)] = defaults.SSID
    """STAMP Session-Sender Identifier (RFC 8972 section 3); 0: none. Light only."""
    tlvs: Asked = Field(default_factory=AskedTlvs, examples=[["location", "cos=af41", "follow-up"]])
    """What probes ask for in STAMP TLVs, each as `twoway ping --tlv` takes it; data-size has to have room for them.
    Light only."""
    source_routing: SourceRouting = Field(default_factory=SourceRouting)
    """The way that probes and replies take, where routing is not to choose it."""
    path: dict[Annotated[str, PATH_NAME], Path] = Field(
        default_factory=dict, examples=[{"routed": {}, "red": {"forward": {"srv6-nodes": ["2001:db8:a::1"]}}}]
    )
    """Several ways by name, measured at the same moments, each with results of its own under SESSION:NAME. Light only,
    and instead of source-routing."""
    history_size: Annotated[int | None, Integer(0, 65_536)] = Field(default=None, examples=[100])
    """Probes remembered one by one; that of the control-connection unless written."""
    moving_average_size: Annotated[int | None, Integer(0, 65_536)] = Field(default=None, examples=[60])
    """Newest probes in the moving average; that of the control-connection unless written."""
    raw_history: Annotated[bool | None, Switch()] = Field(default=None, examples=[True])
    """Whether every probe is kept in the store, one by one; that of the control-connection unless written."""
    thresholds: Thresholds = Field(default_factory=Thresholds)
    """When a probe, and when a test, has failed."""
    traps: Annotated[tuple[str, ...], ListOf(Choice(SESSION_TRAPS))] = Field(
        default=(), examples=[["probe-failure", "rtt-exceeded"]]
    )
    """Notices of this session that are sent as SNMP notifications, too. syslog gets them all."""


class Authentication(Statements):
    """How a control connection is secured (RFC 5357 section 3.1)."""

    mode: Annotated[tuple[str, ...], ListOf(MODE)] = ("encrypted", "authenticated")
    """Modes that will do, best first: the first that the Server offers is taken."""
    key_file: Annotated[PurePath | Credential | None, Secret()] = Field(default=None, examples=["/etc/twoway/keys"])
    """Shared secrets by KeyID."""
    key_id: Annotated[str | None, Text(r"[^\x00-\x1f\x7f]{1,80}", "a KeyID of 1 to 80 characters")] = Field(
        default=None, examples=["noc"]
    )
    """Which secret of key-file; a file with one needs none."""


class ControlConnection(Statements):
    """A Server with the test-sessions that are negotiated with it, or a set of test-sessions without one."""

    control_type: Annotated[str, Choice(("managed", "light"))] = "managed"
    """managed: test-sessions are negotiated over TCP (TWAMP); light: STAMP or TWAMP Light, as each session says."""
    target: Annotated[Target | None, Short("address", Host())] = Field(default=None, examples=["192.0.2.1"])
    """Server. Managed only, and must be there."""
    destination_port: Annotated[int | None, PORT] = Field(default=None, examples=[862])
    """TCP port of the Server, 862 unless written. Managed only."""
    source_address: Annotated[str | None, Source()] = Field(default=None, examples=["192.0.2.9"])
    """Address that we connect and probe from; routing chooses one unless written."""
    routing_instance: Routing = Field(default=None, examples=["blue"])
    """VRF or network namespace of the connection and its test-sessions."""
    authentication: Annotated[Authentication | None, Presence()] = None
    """How the control connection is secured; in the clear unless written. Managed only."""
    dscp_code_points: Annotated[int, CodePoint()] = CONTROL_DSCP
    """Code point of the control connection's own packets. Managed only."""
    test_start: Annotated[str, Choice(("auto", "manual"))] = "auto"
    """auto: test at once and for ever; manual: when `twoway request start` says so."""
    test_interval: Annotated[int, Duration(_MS, _DAY_NS)] = defaults.NANOS
    """From the last probe of a test to the first of the next, and between two attempts to reach the Server."""
    test_count: Annotated[int, Integer(0, _MANY)] = 0
    """Tests to run; 0: no end."""
    history_size: Annotated[int | None, Integer(0, 65_536)] = Field(default=None, examples=[100])
    """Probes of each session remembered one by one: 50 unless written, or a whole test if that is more."""
    moving_average_size: Annotated[int, Integer(0, 65_536)] = 0
    """Newest probes of each session in the moving average; 0: none."""
    tcp_keepidle: Annotated[int, Integer(1, 600)] = KEEP_IDLE_S
    """Seconds of silence before the first keepalive. Managed only, as the next two."""
    tcp_keepintvl: Annotated[int, Integer(1, 600)] = KEEP_INTERVAL_S
    """Seconds between keepalives."""
    tcp_keepcnt: Annotated[int, Integer(1, 50)] = KEEP_COUNT
    """Keepalives without an answer that end the connection."""
    persistent_results: Annotated[bool, Switch()] = True
    """Whether results and history survive a restart; for that, there must be a store."""
    raw_history: Annotated[bool, Switch()] = False
    """Whether every probe of its sessions is kept in the store as long as store.retention.history says."""
    traps: Annotated[tuple[str, ...], ListOf(Choice(CONNECTION_TRAPS))] = Field(
        default=(), examples=[["control-connection-closed"]]
    )
    """Notices of this connection that are sent as SNMP notifications, too."""
    test_session: dict[Annotated[str, NAME], TestSession] = Field(default_factory=dict)
    """Test-sessions by name, at least one."""


class Client(Statements):
    """What is measured from here."""

    control_connection: dict[Annotated[str, NAME], ControlConnection] = Field(default_factory=dict)
    """Control-connections by name."""
