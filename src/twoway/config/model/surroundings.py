"""The statements about everything around measuring: who is told, what is kept, who may ask."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated

from pydantic import Field

from twoway.config import defaults
from twoway.config.model.file_values import Credential, Mode, Secret, Where
from twoway.config.model.network_values import Listening
from twoway.config.model.statements import Statements
from twoway.config.model.values import Choice, Duration, Integer, Octets, Switch, Text
from twoway.config.plan import NoticePlan, StorePlan, SyslogPlan, TrapPlan

_DAY_NS = 86_400 * defaults.NANOS
_STORE = StorePlan(path=None)
_AGE = Duration(defaults.NANOS, 3_660 * _DAY_NS, off=True)

SEVERITIES = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
"""RFC 5424 section 6.2.1, by number."""
FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"),
    *("ntp", "audit", "alert", "clock"),
    *(f"local{number}" for number in range(8)),
)
"""RFC 5424 section 6.2.1, by number."""


class Syslog(Statements):
    """A receiver of RFC 5424 messages."""

    transport: Annotated[str, Choice(("udp", "tcp", "local"))] = "udp"
    """udp (RFC 5426), tcp (RFC 6587, octets counted), or local for a socket of this host."""
    address: Annotated[str | None, Text(r"\S{1,300}", "an address and port, or the path of a socket")] = Field(
        default=None, examples=["192.0.2.20:514"]
    )
    """Address and port, 514 unless written; if local, a path: /dev/log unless written."""
    facility: Annotated[str, Choice(FACILITIES)] = "daemon"
    """Facility of the messages."""
    min_severity: Annotated[str, Choice(SEVERITIES)] = "info"
    """Least severity that is sent."""
    hostname: Annotated[str | None, Text(r"[!-~]{1,255}", "a host's name")] = Field(default=None, examples=["probe1"])
    """HOSTNAME of the messages; this host's own unless written."""
    enterprise_number: Annotated[int, Integer(1, 2**31 - 1)] = SyslogPlan("udp", "").enterprise_number
    """Your organization's IANA number, behind the @ of the SD-ID; unless written, that of documentation (RFC 5612)."""


class Snmp(Statements):
    """A receiver of SNMP notifications."""

    address: Annotated[tuple[str, int], Listening(names=True, default_port=162)] = Field(examples=["192.0.2.21:162"])
    """Address and port, 162 unless written. Must be there."""
    version: Annotated[str, Choice(("v2c", "v3"))] = "v2c"
    """Of SNMP."""
    inform: Annotated[bool, Switch()] = False
    """Send what has to be acknowledged, and again if it is not."""
    community_file: Annotated[PurePath | Credential | None, Secret()] = Field(
        default=None, examples=["/etc/twoway/community"]
    )
    """Holds the community of v2c; `public` unless written."""
    user: Annotated[str | None, Text(r"[!-~]{1,32}", "a name of 1 to 32 characters")] = Field(
        default=None, examples=["twoway"]
    )
    """Of v3, where it must be there."""
    auth_protocol: Annotated[str | None, Choice(("sha", "sha224", "sha256", "sha384", "sha512"))] = Field(
        default=None, examples=["sha256"]
    )
    """Of v3; no authentication unless written."""
    auth_key_file: Annotated[PurePath | Credential | None, Secret()] = Field(
        default=None, examples=["/etc/twoway/snmp-auth"]
    )
    """Holds the passphrase of auth-protocol."""
    priv_protocol: Annotated[str | None, Choice(("aes", "aes192", "aes256"))] = Field(default=None, examples=["aes"])
    """Of v3; no privacy unless written."""
    priv_key_file: Annotated[PurePath | Credential | None, Secret()] = Field(
        default=None, examples=["/etc/twoway/snmp-priv"]
    )
    """Holds the passphrase of priv-protocol."""
    engine_id: Annotated[
        str | None, Text(r"(?:0x)?(?:[0-9a-fA-F]{2}){5,32}", "5 to 32 octets in hexadecimal, in quotes", numbers=False)
    ] = Field(default=None, examples=["0x80007ed9057477"])
    """Of v3, our own; made from this machine's identity unless written."""
    juniper: Annotated[bool, Switch()] = False
    """Send Juniper's notifications beside DISMAN-PING-MIB's, for an NMS that has rules for a router."""
    enterprise_number: Annotated[int, Integer(1, 2**31 - 1)] = TrapPlan("", "v2c").enterprise_number
    """Your organization's IANA number, under which twoway's own notifications stand, those about tracked routes; unless
    written, that of documentation (RFC 5612)."""


class Notifications(Statements):
    """Who is told of what happens."""

    rate_limit: Annotated[int, Integer(0, 1_000_000)] = NoticePlan().rate_limit
    """Notices a minute to each receiver; 0: no limit. What is over it is counted and summed up."""
    syslog: Annotated[list[Syslog], Field(max_length=64)] = Field(default_factory=list)
    """Receivers of syslog."""
    snmp: Annotated[list[Snmp], Field(max_length=64)] = Field(default_factory=list)
    """Receivers of SNMP notifications."""


class Retention(Statements):
    """How long results are kept; 0: not at all."""

    seconds: Annotated[int, _AGE] = _STORE.seconds_age_s * defaults.NANOS
    """Summaries of each second."""
    minutes: Annotated[int, _AGE] = _STORE.minutes_age_s * defaults.NANOS
    """Summaries of each minute."""
    hours: Annotated[int, _AGE] = _STORE.hours_age_s * defaults.NANOS
    """Summaries of each hour."""
    days: Annotated[int, _AGE] = _STORE.days_age_s * defaults.NANOS
    """Summaries of each day."""
    history: Annotated[int, _AGE] = _STORE.history_age_s * defaults.NANOS
    """Single probes."""
    events: Annotated[int, _AGE] = _STORE.events_age_s * defaults.NANOS
    """What happened."""


class Store(Statements):
    """Where results are kept."""

    path: Annotated[PurePath, Where()] = Field(examples=["/var/lib/twoway/results.db"])
    """File of the database. Must be there."""
    max_size: Annotated[int, Octets(1 << 20, 1 << 44)] = _STORE.max_octets
    """Largest size of the file; the oldest and finest results make room."""
    retention: Retention = Field(default_factory=Retention)
    """How long results are kept."""


class Api(Statements):
    """Who may ask, and where."""

    socket: Annotated[PurePath, Where()] = PurePath("/run/twoway/api.sock")
    """Unix socket of the management API."""
    mode: Annotated[int, Mode()] = 0o660
    """Permissions of the socket: who can write to it may ask and command."""
    group: Annotated[str | None, Text(r"[^\s:]{1,64}", "the name of a group")] = Field(default=None, examples=["noc"])
    """Group of the socket; that of the process unless written."""
    listen: Annotated[tuple[str, int] | None, Listening()] = Field(default=None, examples=["127.0.0.1:8620"])
    """Address and port of the API over TCP; none unless written. Needs a token-file."""
    token_file: Annotated[PurePath | Credential | None, Secret()] = Field(default=None, examples=["/etc/twoway/token"])
    """Holds the token that who asks over TCP must have."""
    metrics_listen: Annotated[tuple[str, int] | None, Listening()] = Field(default=None, examples=["127.0.0.1:9862"])
    """Address and port that answer GET /metrics for Prometheus, without a token; none unless written."""
