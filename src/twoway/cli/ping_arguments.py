"""The options of `twoway ping`, and the measurement that they come to."""

from __future__ import annotations

from twoway.cli.arguments import Parser, value_of
from twoway.cli.ping_tlvs import TlvArguments, add_tlv_options, tlvs_from
from twoway.config import defaults, units
from twoway.config.dscp import parse_dscp
from twoway.config.managed import MODES
from twoway.config.measurement import Measurement
from twoway.config.path import NamedPath, along, lag_paths, named_paths
from twoway.errors import ConfigError

_DESCRIPTION = """\
Measure the path to a Session-Reflector with STAMP or TWAMP Light, or to a Server with TWAMP or OWAMP:
loss by direction, round-trip and one-way delay, delay variation, reordering, duplicates. TARGET is a
host name or an address, as host, host:port, 192.0.2.1:862, 2001:db8::1 or [fe80::1%eth0]:862; port 862
if none is said, with OWAMP 861.
"""
_EPILOG = """\
Replies count as late after -W and as lost after twice that. A key file has one key a line:
`KEY-ID [ssid=N] hex:OCTETS` or `KEY-ID [ssid=N] text:PASSPHRASE`; secrets of a Server have no SSID.
A file for --ikev2-key-file has one line: `SPI-I SPI-R hex:OCTETS`, 16 hexadecimal digits for each SPI.

Times are written 20ms, 1.5s, 500us, 2m; a bare number is seconds. Ctrl-C ends with the report,
Ctrl-\\ shows how it stands. Exit code: 0 replies came, 1 none came, 2 error, 3 a --fail-if holds.

examples:
  twoway ping -c 100 -i 20ms 192.0.2.1
  twoway ping -D ef --size 1400 -w 1m reflector.example.net:8620
  twoway ping --protocol light -c 1000 -i 1ms -q --histogram '[2001:db8::1]:862'
  twoway ping --protocol twamp --key-file secrets --mode encrypted -c 100 -i 20ms server.example.net
  twoway ping -c 600 -i 100ms --plot path.png --fail-if 'loss>1%' --fail-if 'rtt-p99>20ms' 192.0.2.1
"""


class PingArguments(TlvArguments):
    """The options as parsed, with their types."""

    target: str
    protocol: str
    family: int | None
    count: int | None
    duration_ns: int | None
    interval_ns: int
    schedule: str
    timeout_ns: int
    size: int | None
    fill: str
    dscp: int | None
    tos: int | None
    ttl: int
    interface: str | None
    vrf: str | None
    source: str | None
    source_port: int
    netns: str | None
    path: list[str]
    return_path: list[str]
    lag: str | None
    auth_key_file: str | None
    key_id: str | None
    ssid: int | None
    require_ssid: bool
    mode: list[str]
    key_file: str | None
    ikev2_key_file: str | None
    sessions: int
    receiver_port: int
    direction: str
    reconnect_ns: int | None
    reflector_mode: str
    dscp_ecn_monitoring: bool
    timestamps: str
    clock_format: str
    busy_poll: bool
    receive_buffer: int
    seed: int | None
    quiet: bool
    output: str
    samples: bool
    percentiles: tuple[float, ...]
    histogram: bool
    plot: str | None
    fail_if: list[str]


def ping_parser() -> Parser:
    """All options of the command."""
    parser = Parser("twoway ping", "TARGET", _DESCRIPTION, _EPILOG)
    add = parser.add_argument
    add("target", metavar="TARGET", help="what to measure the path to")

    group = parser.add_argument_group("packets")
    add = group.add_argument
    add(
        "-c",
        "--count",
        type=value_of(units.parse_integer, 1, 2**32),
        metavar="N",
        help="packets to send (until stopped)",
    )
    duration = value_of(units.parse_positive_duration_ns)
    add(
        "-i",
        "--interval",
        dest="interval_ns",
        type=duration,
        default=defaults.INTERVAL_NS,
        metavar="TIME",
        help=f"time between packets ({units.duration_text(defaults.INTERVAL_NS)})",
    )
    add("-w", "--duration", dest="duration_ns", type=duration, metavar="TIME", help="how long to send")
    add(
        "-W",
        "--timeout",
        dest="timeout_ns",
        type=duration,
        default=defaults.TIMEOUT_NS,
        metavar="TIME",
        help=f"a reply after this is late ({units.duration_text(defaults.TIMEOUT_NS)})",
    )
    add(
        "--schedule",
        choices=("periodic", "poisson"),
        default=defaults.SCHEDULE,
        help=f"equal distances or a Poisson process ({defaults.SCHEDULE})",
    )
    add(
        "--seed",
        type=value_of(units.parse_integer, 0, 2**64 - 1),
        metavar="N",
        help="repeat the same Poisson schedule and random fill",
    )
    add(
        "-s",
        "--size",
        type=value_of(units.parse_octets),
        metavar="OCTETS",
        help="UDP payload, header included (the smallest for which replies are as long)",
    )
    add(
        "--fill", choices=("zeros", "random"), default=defaults.FILL, help=f"octets beyond the header ({defaults.FILL})"
    )
    add(
        "-t",
        "--ttl",
        type=value_of(units.parse_integer, 1, 255),
        default=defaults.TTL,
        metavar="N",
        help=f"TTL or hop limit ({defaults.TTL})",
    )
    marks = group.add_mutually_exclusive_group()
    marks.add_argument(
        "-D",
        "--dscp",
        type=value_of(parse_dscp),
        metavar="NAME",
        help="code point: ef, af11 to af43, cs0 to cs7, le, va, be or a number",
    )
    marks.add_argument(
        "-Q",
        "--tos",
        type=value_of(units.parse_integer, 0, 255),
        metavar="OCTET",
        help="the whole traffic class octet, DSCP and ECN",
    )

    add = parser.add_argument_group("path").add_argument
    add("-4", dest="family", action="store_const", const=4, help="IPv4 only")
    add("-6", dest="family", action="store_const", const=6, help="IPv6 only")
    add("-I", "--interface", metavar="IFACE", help="interface to send through, or address to send from")
    add("-S", "--source", metavar="ADDR", help="address to send from")
    add(
        "--source-port",
        type=value_of(units.parse_integer, 0, 65535),
        default=0,
        metavar="PORT",
        help="UDP port to send from (any)",
    )
    add("--vrf", metavar="NAME", help="VRF to send in")
    add(
        "--path",
        action="append",
        default=[],
        metavar="PATH",
        help="way there: srv6:SID,SID,…, mpls:LABEL,LABEL,…[@GATEWAY][%%IFACE], link:IFACE or plain; NAME=PATH twice "
        "and more measures several at once (plain)",
    )
    add(
        "--return-path",
        action="append",
        default=[],
        metavar="PATH",
        help="way back that the reflector is asked for (RFC 9503): srv6:SID,SID,… or mpls:LABEL,LABEL,…, either with "
        "@ADDR, address:ADDR, same-link or none; NAME=PATH for one of several paths",
    )
    add(
        "--lag",
        metavar="LAG",
        help="each member link of a LAG at once (RFC 9534): IFACE, or its members IFACE[=ID[:FAR-ID]],…",
    )
    add("--netns", metavar="NAME", help="network namespace to send in (`ip netns`, or a path); needs root")

    add = parser.add_argument_group("protocol").add_argument
    add(
        "--protocol",
        choices=("stamp", "light", "twamp", "owamp"),
        default=defaults.PROTOCOL,
        help=f"STAMP, TWAMP Light, or negotiated with a Server: TWAMP or OWAMP ({defaults.PROTOCOL})",
    )
    add(
        "--auth-key-file",
        metavar="FILE",
        help="authenticated STAMP with a key of this file (mode 0600; format below)",
    )
    add("--key-id", metavar="ID", help="which key of the file, where it has several")
    add(
        "--mode",
        action="append",
        choices=MODES,
        default=[],
        help="TWAMP, OWAMP: security mode; repeatable, best first (unauthenticated, or with a key file encrypted)",
    )
    add("--key-file", metavar="FILE", help="TWAMP, OWAMP: shared secrets by KeyID (mode 0600; format below)")
    add(
        "--ikev2-key-file",
        metavar="FILE",
        help="TWAMP, OWAMP: key derived from an IKEv2 security association (mode 0600; format below)",
    )
    add(
        "--sessions",
        type=value_of(units.parse_integer, 1, 1000),
        default=1,
        metavar="N",
        help="TWAMP, OWAMP: test-sessions at once on the connection, in each direction (1)",
    )
    add(
        "--receiver-port",
        type=value_of(units.parse_integer, 0, 65535),
        default=0,
        metavar="PORT",
        help="TWAMP, OWAMP: UDP port wanted at the Server, for several sessions the first (its choice)",
    )
    add(
        "--direction",
        choices=("both", "forward", "backward"),
        default="both",
        help="OWAMP: which way to measure (both)",
    )
    add(
        "--reconnect",
        dest="reconnect_ns",
        type=value_of(_parse_reconnect),
        metavar="TIME",
        help="TWAMP, OWAMP: try so often to reach a Server again that was lost, or off "
        f"({units.duration_text(defaults.RECONNECT_NS)}; off with -c, -w and OWAMP)",
    )
    add("--ssid", type=value_of(units.parse_integer, 0, 0xFFFF), metavar="N", help="STAMP Session Identifier (none)")
    add("--require-ssid", action="store_true", help="stop at a reply without it: the far end knows no SSIDs, nor TLVs")
    add(
        "--reflector-mode",
        choices=("auto", "stateless", "stateful"),
        default=defaults.REFLECTOR_MODE,
        help="whether the far end numbers its replies, which tells forward from backward loss "
        "(auto: learnt from the replies)",
    )
    add(
        "--dscp-ecn-monitoring",
        action="store_true",
        help="TWAMP Light, TWAMP: the far end says which DSCP and ECN arrived (RFC 7750)",
    )

    add_tlv_options(parser)

    add = parser.add_argument_group("clock and sockets").add_argument
    add(
        "--timestamps",
        choices=("kernel", "hardware", "user"),
        default=defaults.TIMESTAMPS,
        help=f"where departure and arrival are taken ({defaults.TIMESTAMPS})",
    )
    add(
        "--clock-format",
        choices=("ntp", "ptp"),
        default=defaults.CLOCK_FORMAT,
        help=f"timestamp format in our packets ({defaults.CLOCK_FORMAT})",
    )
    add("--busy-poll", action="store_true", help="spin instead of sleeping: exact departures, for a whole CPU")
    add(
        "--receive-buffer",
        type=value_of(units.parse_octets),
        default=defaults.SENDER_RECEIVE_BUFFER,
        metavar="OCTETS",
        help=f"socket buffer for replies ({units.octets_text(defaults.SENDER_RECEIVE_BUFFER)})",
    )

    group = parser.add_argument_group("output")
    add = group.add_argument
    add("-q", "--quiet", action="store_true", help="only the report")
    add(
        "-a",
        "--percentiles",
        type=value_of(units.parse_percentiles),
        default=defaults.PERCENTILES,
        metavar="LIST",
        help=f"percentiles of the report ({','.join(f'{value:g}' for value in defaults.PERCENTILES)})",
    )
    kinds = group.add_mutually_exclusive_group()
    kinds.add_argument(
        "--json",
        dest="output",
        action="store_const",
        const="json",
        help="one JSON document at the end (see `twoway schema result`)",
    )
    kinds.add_argument(
        "--ndjson", dest="output", action="store_const", const="ndjson", help="a JSON record a line, as it happens"
    )
    kinds.add_argument(
        "--csv", dest="output", action="store_const", const="csv", help="a row per packet, as it happens"
    )
    add("--samples", action="store_true", help="with --json: every packet too")
    add("--histogram", action="store_true", help="draw the round-trip times under the report")
    add("--plot", metavar="FILE", help="draw delay over time and its distribution into FILE.png or FILE.svg")
    add(
        "--fail-if",
        action="append",
        default=[],
        metavar="COND",
        help="end with 3 if this holds, such as 'loss>1%%' or 'rtt-p99>20ms'; repeatable",
    )
    parser.set_defaults(output="text")
    return parser


def _parse_reconnect(text: str, field: str) -> int:
    """`off` or a duration; 0 is off."""
    return 0 if text == "off" else units.parse_duration_ns(text, field)


def sending_from(options: PingArguments) -> tuple[str | None, str | None]:
    """Interface and source address, options that exclude each other refused. Raises `ConfigError`."""
    interface, source = options.interface, options.source
    if interface is not None and _is_address(interface):
        if source is not None:
            raise ConfigError("-I", f"{interface} is an address, and -S names another one to send from")
        interface, source = None, interface
    if options.vrf is not None:
        if interface is not None:
            raise ConfigError("--vrf", "a packet is bound to an interface or to a VRF, not to both")
        interface = options.vrf
    return interface, source


def paths_of(options: PingArguments) -> tuple[NamedPath, ...]:
    """The paths to measure, at least one. Raises `ConfigError` and `PlaneError`."""
    if options.lag is None:
        return named_paths(options.path, options.return_path)
    for option, given in (("--path", options.path), ("--return-path", options.return_path)):
        if given:
            raise ConfigError(option, "packets go out and back by the members of --lag")
    if options.protocol != "stamp":
        raise ConfigError("--lag", "only STAMP packets carry the numbers of its members")
    from twoway.drivers.path_set import lag_members

    return lag_paths(options.lag, lambda interface: lag_members(interface, options.netns))


def measurement_from(options: PingArguments, *, keep_samples: bool) -> Measurement:
    """What was asked for. Raises `ConfigError`."""
    for option, given in (
        ("--mode", options.mode),
        ("--key-file", options.key_file),
        ("--ikev2-key-file", options.ikev2_key_file),
        ("--sessions", options.sessions != 1),
        ("--receiver-port", options.receiver_port),
        ("--direction", options.direction != "both"),
        ("--reconnect", options.reconnect_ns is not None),
    ):
        if given:
            reason = f"it is for --protocol twamp or owamp: {options.protocol} negotiates nothing with a Server"
            raise ConfigError(option, reason)
    interface, source = sending_from(options)
    key, ssid = _key(options)
    dscp_ecn = options.tos if options.tos is not None else (options.dscp or 0) << 2
    base = Measurement(
        options.target,
        protocol=options.protocol,
        family=options.family,
        count=options.count,
        duration_ns=options.duration_ns,
        interval_ns=options.interval_ns,
        schedule=options.schedule,
        seed=options.seed,
        timeout_ns=options.timeout_ns,
        payload_len=options.size,
        fill=options.fill,
        dscp_ecn=dscp_ecn,
        ttl=options.ttl,
        ssid=ssid,
        require_ssid=options.require_ssid,
        key=None if options.tlv_hmac else key,
        tlvs=tlvs_from(options, key),
        tlv_key=key if options.tlv_hmac else None,
        source=source,
        source_port=options.source_port,
        interface=interface,
        netns=options.netns,
        timestamps=options.timestamps,
        clock_format=options.clock_format,
        reflector_mode=options.reflector_mode,
        dscp_ecn_monitoring=options.dscp_ecn_monitoring,
        receive_buffer=options.receive_buffer,
        sample_capacity=defaults.SAMPLE_CAPACITY if keep_samples else 0,
        busy_poll=options.busy_poll,
        percentiles=options.percentiles,
    )
    return along(base, paths_of(options)[0])


OPTIONS = {
    "clock_format": "--clock-format",
    "condition": "--fail-if",
    "count": "-c",
    "dscp_ecn": "-Q",
    "dscp_ecn_monitoring": "--dscp-ecn-monitoring",
    "key_id": "--key-id",
    "mode": "--mode",
    "duration_ns": "-w",
    "interface": "-I",
    "interval_ns": "-i",
    "key": "--auth-key-file",
    "netns": "--netns",
    "path": "--path",
    "payload_len": "-s",
    "receive_buffer": "--receive-buffer",
    "require_ssid": "--require-ssid",
    "return_path": "--return-path",
    "lag": "--lag",
    "scope_id": "TARGET",
    "source": "-S",
    "source_port": "--source-port",
    "ssid": "--ssid",
    "stamp_key": "--auth-key-file",
    "target": "TARGET",
    "target_port": "TARGET",
    "timeout_ns": "-W",
    "timestamp_format": "--clock-format",
    "timestamps": "--timestamps",
    "tlv_hmac": "--tlv-hmac",
    "tlvs": "--tlv",
    "ttl": "-t",
}
"""Field that a `ConfigError` names -> the option that a person wrote."""


def _is_address(text: str) -> bool:
    from twoway.drivers.resolve import numeric_family

    return numeric_family(text) is not None


def _key(options: PingArguments) -> tuple[bytes | None, int]:
    """The HMAC key and the SSID to use; a key that is tied to an SSID brings it along."""
    if options.auth_key_file is None:
        if options.key_id is not None:
            raise ConfigError("--key-id", "it chooses a key of --auth-key-file, which is missing")
        return None, defaults.SSID if options.ssid is None else options.ssid
    from twoway.config.keyfile import choose_key, read_key_file

    key = choose_key(read_key_file(options.auth_key_file), options.key_id, options.ssid, options.auth_key_file)
    if options.ssid is not None:
        return key.octets, options.ssid
    return key.octets, defaults.SSID if key.ssid is None else key.ssid
