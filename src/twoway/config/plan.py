"""What the daemon is to do, complete and comparable: the hinge between what a file says and what runs.

The configuration's model ends in a `Plan`; the daemon starts what is in it. Each part is frozen and compares by value,
so that a reload is a difference of two plans: what is equal in both is not disturbed. Times are integer nanoseconds.
Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twoway.path import PLAIN

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from twoway.config.managed import ControlOptions, SessionRequest
    from twoway.config.measurement import Measurement
    from twoway.config.reflection import Reflection
    from twoway.config.route_plan import RoutesPlan
    from twoway.config.server import ServerOptions
    from twoway.path import ForwardPath, ReturnPath

SessionKey = tuple[str, str]
"""Control-connection and test-session, by name."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A threshold for a time, crossed when the value meets or exceeds it."""

    limit_ns: int
    """0: off."""
    average: bool = False
    """Compared with the mean of a test, else with its greatest value, judged at each probe."""


OFF = Limit(0)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a probe, and when a test, has failed. The names are Junos's, hyphens made underscores."""

    rtt: Limit = OFF
    max_rtt: Limit = OFF
    """Judged at the end of a test only."""
    egress_time: Limit = OFF
    """Session-Sender to Session-Reflector."""
    ingress_time: Limit = OFF
    jitter_rtt: Limit = OFF
    """Greatest minus least round-trip time of a test; with `average`, the mean difference between neighbours."""
    jitter_egress: Limit = OFF
    jitter_ingress: Limit = OFF
    std_dev_rtt: Limit = OFF
    std_dev_egress: Limit = OFF
    std_dev_ingress: Limit = OFF
    successive_loss: int = 1
    """Probes lost in a row that make a probe failure; 0: off."""
    total_loss: int = 1
    """Probes lost in one test that make a test failure; 0: off."""
    control_failure: bool = True
    """Whether a test that could not be negotiated has failed."""
    own_faults: bool = False
    """Whether what our own host disturbed is judged too."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One path of a test-session that measures several at the same moments."""

    session: str
    """The test-session as it is written."""
    path: str
    place: int
    """Among the paths, from 0."""
    of: int
    """Paths of the test-session."""


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """One test-session of the client."""

    connection: str
    name: str
    light: Measurement | None
    """Without a control connection (STAMP or TWAMP Light). Its count is the whole of all tests, None for no end."""
    managed: SessionRequest | None
    """Negotiated. Exactly one of both is there."""
    target: str
    """As written: what is shown as the target."""
    probe_count: int
    """Probes of one test; 0: continuous, tests are cut each `test_interval_ns`."""
    test_interval_ns: int
    """From the last probe of a test to the first of the next."""
    test_count: int
    """Tests to run; 0: no end."""
    history_size: int
    moving_average_size: int
    thresholds: Thresholds
    traps: frozenset[str]
    """Names of `analysis.notices.NOTICES` that are also sent as SNMP notifications."""
    persistent: bool
    """Whether its collections and history survive a restart."""
    raw: bool = False
    """Whether every probe is kept in the store."""
    lane: Lane | None = None
    """None: its probes take one path."""

    @property
    def key(self) -> SessionKey:
        """What it is known by."""
        return (self.connection, self.name)

    @property
    def place(self) -> tuple[str, ...]:
        """Where the test-session is written."""
        name = self.name if self.lane is None else self.lane.session
        return ("client", "control-connection", self.connection, "test-session", name)

    @property
    def forward_path(self) -> ForwardPath:
        """The way of its probes."""
        sending = self.light or self.managed
        return PLAIN if sending is None else sending.path

    @property
    def tlvs(self) -> tuple[str, ...]:
        """Registered names of the STAMP TLVs that it asks for."""
        return self.light.tlvs.names if self.light is not None and self.light.tlvs else ()

    @property
    def return_path(self) -> ReturnPath | None:
        """The way that replies are asked to take."""
        return None if self.light is None else self.light.tlvs.return_path


@dataclass(frozen=True, slots=True)
class ConnectionPlan:
    """One control-connection of the client and its test-sessions."""

    name: str
    target: str
    """`host:port` of the Server, as `ControlClient.connect` takes it; empty if it is light."""
    control: ControlOptions | None
    """None: light."""
    test_start: str
    """`auto` or `manual`."""
    test_interval_ns: int
    """Also the pause before a lost connection is tried again."""
    traps: frozenset[str]
    sessions: tuple[SessionPlan, ...]


@dataclass(frozen=True, slots=True)
class SyslogPlan:
    """A receiver of RFC 5424 messages."""

    transport: str
    """`udp`, `tcp` or `local`."""
    address: str
    """`host:port`, or the path of a socket."""
    facility: int = 3
    min_severity: int = 6
    """Most unimportant severity that is sent: 0 is emergency, 7 debug."""
    hostname: str | None = None
    """As shown in its messages; None: this machine's name."""
    enterprise_number: int = 32473
    """Behind the `@` of the SD-ID (RFC 5424 section 7.2.2). twoway has none: this one is for documentation."""


@dataclass(frozen=True, slots=True)
class TrapPlan:
    """A receiver of SNMP notifications."""

    address: str
    """`host:port`."""
    version: str
    """`v2c` or `v3`."""
    inform: bool = False
    community_file: Path | None = None
    """Its content is the community; None: `public`."""
    user: str | None = None
    auth_protocol: str | None = None
    """`sha`, `sha224`, `sha256`, `sha384` or `sha512`; None: noAuthNoPriv."""
    auth_key_file: Path | None = None
    priv_protocol: str | None = None
    """`aes`, `aes192` or `aes256`; None: no privacy."""
    priv_key_file: Path | None = None
    engine_id: str | None = None
    """Hexadecimal; None: made from the machine's identity."""
    juniper: bool = False
    """Whether Juniper's notifications are sent beside DISMAN's three, for an NMS that has rules for a router."""
    enterprise_number: int = 32473
    """Under which notifications of our own stand (tracked routes). twoway has none: this one is for documentation."""
    held: tuple[str, ...] = field(default=(), repr=False)
    """What its files held when the configuration was read: with other secrets it is another receiver."""


@dataclass(frozen=True, slots=True)
class NoticePlan:
    """Who is told, and of what."""

    syslog: tuple[SyslogPlan, ...] = ()
    snmp: tuple[TrapPlan, ...] = ()
    rate_limit: int = 100
    """Notices a minute to each receiver, 0: no limit. What is over it is counted, and a summary of it is sent."""


@dataclass(frozen=True, slots=True)
class StorePlan:
    """Where results are kept, and how long. Ages are in seconds; 0: not kept.

    Ages are upper bounds: where the size does not allow for them, the finest goes first (`store.retention`).
    """

    path: Path | None
    """None: nothing survives a restart."""
    max_octets: int = 2 << 30
    seconds_age_s: int = 3600 * 6
    minutes_age_s: int = 86400 * 14
    hours_age_s: int = 86400 * 400
    days_age_s: int = 86400 * 1200
    history_age_s: int = 86400 * 7
    events_age_s: int = 86400 * 400


@dataclass(frozen=True, slots=True)
class ApiPlan:
    """Where the management API listens."""

    socket: Path
    mode: int = 0o660
    group: str | None = None
    listen: tuple[str, int] | None = None
    """Address and port of TCP, for which a token is needed."""
    token_file: Path | None = None
    token: str | None = field(default=None, repr=False)
    """What the file held when the configuration was read: unlike the rest it changes at a reload."""
    metrics_listen: tuple[str, int] | None = None
    """Address and port that answer GET /metrics alone, without a token."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All of it."""

    connections: tuple[ConnectionPlan, ...]
    server: ServerOptions | None
    reflections: tuple[Reflection, ...]
    """Light Session-Reflectors."""
    notices: NoticePlan
    store: StorePlan
    api: ApiPlan
    workers: int = 1
    """Threads of the packet plane for Session-Senders."""
    routes: RoutesPlan | None = None
    """Tracked routes; None: the kernel's table is not touched."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Free words that are shown beside the version, such as a site's name."""
