"""`twoway reflector`: a Session-Reflector in the foreground, until SIGINT or SIGTERM."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from twoway.cli.arguments import Parser, abandon_output, value_of
from twoway.cli.reflector_tlvs import TlvArguments, add_tlv_options, tlv_reflection
from twoway.config import defaults, units
from twoway.config.dscp import parse_dscp
from twoway.config.reflection import Reflection
from twoway.drivers.signals import SignalWait
from twoway.errors import ConfigError

if TYPE_CHECKING:
    from twoway.drivers.reflector import Reflector

_DESCRIPTION = """\
Answer STAMP and TWAMP Light test packets: replies leave from the address and port that was asked,
as long as the request, with TTL 255 and the DSCP that arrived.
"""
_EPILOG = """\
Ports below 1024 need CAP_NET_BIND_SERVICE. SIGUSR1 prints the counters; SIGINT and SIGTERM answer
what is queued, print the counters and end with 0. Every received packet is in exactly one counter.

A stateful reflector remembers at most --max-sessions test-sessions. When the table is full, a new
one takes the place of one silent for --session-timeout, or of one that never had a second packet;
otherwise it is refused. Both are counted.

A key file has mode 0600 and one key a line: `KEY-ID [ssid=N] hex:OCTETS` or `text:PASSPHRASE`.

examples:
  twoway reflector --listen 127.0.0.1:8620 --listen '[::1]:8620'
  twoway reflector --stateful --allow 192.0.2.0/24 --rate-limit 100k --rate-limit-per-source 1000
  twoway reflector --auth-key-file keys --require-auth
"""


class _Arguments(TlvArguments):
    """The options as parsed, with their types."""

    listen: list[str]
    interface: str | None
    vrf: str | None
    netns: str | None
    workers: int | None
    stateful: bool
    max_sessions: int
    session_timeout_ns: int
    auth_key_file: str | None
    require_auth: bool
    allow: list[str]
    rate_limit: int
    rate_limit_per_source: int
    dscp: int | None
    larger_replies: bool
    dscp_ecn_monitoring: bool
    timestamps: str
    receive_buffer: int
    drain_ns: int
    json: bool


def reflector_parser() -> Parser:
    parser = Parser("twoway reflector", "", _DESCRIPTION, _EPILOG)

    add = parser.add_argument_group("where").add_argument
    add(
        "-l",
        "--listen",
        action="append",
        default=[],
        metavar="ADDR:PORT",
        help=f"numeric address, as 192.0.2.1:862, [2001:db8::1]:862 or :862 for every address; repeatable "
        f"(:{defaults.PORT})",
    )
    add("-I", "--interface", metavar="IFACE", help="answer only what arrives on this interface")
    add("--vrf", metavar="NAME", help="answer in this VRF")
    add("--netns", metavar="NAME", help="answer in this network namespace (`ip netns`, or a path); needs root")
    add(
        "--workers",
        type=value_of(units.parse_integer, 1, 256),
        metavar="N",
        help=f"threads, each with a socket of its own (one per CPU, at most {defaults.MAX_WORKERS})",
    )

    add = parser.add_argument_group("test-sessions").add_argument
    add(
        "--stateful",
        action="store_true",
        help="number the replies, so that senders can tell forward from backward loss",
    )
    add(
        "--max-sessions",
        type=value_of(units.parse_integer, 1, 2**24),
        default=defaults.MAX_SESSIONS,
        metavar="N",
        help=f"test-sessions remembered ({defaults.MAX_SESSIONS})",
    )
    add(
        "--session-timeout",
        dest="session_timeout_ns",
        type=value_of(units.parse_positive_duration_ns),
        default=defaults.SESSION_TIMEOUT_NS,
        metavar="TIME",
        help=f"silence after which one makes room for another ({units.duration_text(defaults.SESSION_TIMEOUT_NS)})",
    )

    add = parser.add_argument_group("who is answered").add_argument
    add("--allow", action="append", default=[], metavar="CIDR", help="answer only this network; repeatable (all)")
    rate = value_of(units.parse_rate)
    add("--rate-limit", type=rate, default=defaults.RATE_LIMIT, metavar="N", help="packets a second in all (no limit)")
    add(
        "--rate-limit-per-source",
        type=rate,
        default=defaults.RATE_LIMIT_PER_SOURCE,
        metavar="N",
        help="packets a second from one address (no limit)",
    )
    add("--auth-key-file", metavar="FILE", help="keys for authenticated STAMP, by key id and SSID")
    add("--require-auth", action="store_true", help="answer authenticated packets only")

    add = parser.add_argument_group("replies").add_argument
    add("-D", "--dscp", type=value_of(parse_dscp), metavar="NAME", help="code point of the replies (as it arrived)")
    add(
        "--no-larger-replies",
        dest="larger_replies",
        action="store_false",
        help="do not answer requests shorter than the shortest reply (TWAMP Light: 14 octets get 44)",
    )
    add(
        "--dscp-ecn-monitoring",
        action="store_true",
        help="TWAMP Light: tell which DSCP and ECN the request arrived with (RFC 7750)",
    )

    add_tlv_options(parser)

    add = parser.add_argument_group("clock and sockets").add_argument
    add(
        "--timestamps",
        choices=("kernel", "hardware", "user"),
        default=defaults.TIMESTAMPS,
        help=f"where arrival is taken and departure learnt from ({defaults.TIMESTAMPS})",
    )
    add(
        "--receive-buffer",
        type=value_of(units.parse_octets),
        default=defaults.REFLECTOR_RECEIVE_BUFFER,
        metavar="OCTETS",
        help=f"socket buffer of each worker ({units.octets_text(defaults.REFLECTOR_RECEIVE_BUFFER)})",
    )
    add(
        "--drain",
        dest="drain_ns",
        type=value_of(units.parse_duration_ns),
        default=defaults.DRAIN_NS,
        metavar="TIME",
        help=f"how long to answer what is queued when told to stop ({units.duration_text(defaults.DRAIN_NS)})",
    )

    add = parser.add_argument_group("output").add_argument
    add("--json", action="store_true", help="a JSON document a line instead of text (see `twoway schema reflector`)")
    return parser


def _reflection(options: _Arguments) -> Reflection:
    """What was asked for. Raises `ConfigError`."""
    if options.vrf is not None and options.interface is not None:
        raise ConfigError("--vrf", "a socket is bound to an interface or to a VRF, not to both")
    keys: tuple[tuple[str, int | None, bytes], ...] = ()
    if options.auth_key_file is not None:
        from twoway.config.keyfile import read_key_file

        keys = tuple((key.key_id, key.ssid, key.octets) for key in read_key_file(options.auth_key_file))
    elif options.require_auth:
        raise ConfigError("--require-auth", "it needs the keys of an --auth-key-file")
    if options.require_tlv_hmac and not keys:
        raise ConfigError("--require-tlv-hmac", "it needs the keys of an --auth-key-file")
    return Reflection(
        listen=options.listen,
        interface=options.interface or options.vrf,
        netns=options.netns,
        workers=options.workers,
        stateful=options.stateful,
        max_sessions=options.max_sessions,
        session_timeout_ns=options.session_timeout_ns,
        keys=keys,
        require_authentication=options.require_auth,
        allow=options.allow,
        rate_limit=options.rate_limit,
        rate_limit_per_source=options.rate_limit_per_source,
        dscp=options.dscp,
        larger_replies=options.larger_replies,
        tlvs=tlv_reflection(options),
        dscp_ecn_monitoring=options.dscp_ecn_monitoring,
        timestamps=options.timestamps,
        receive_buffer=options.receive_buffer,
    )


def run(arguments: list[str]) -> int:
    """The command. Returns its exit code."""
    options = reflector_parser().parse_args(arguments, _Arguments())
    reflection = _reflection(options)
    # Signals first: one that comes while the sockets are being opened must not kill what is half there.
    with SignalWait((signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)) as signals:
        from twoway.drivers.reflector import Reflector

        reflector = Reflector(reflection)
        reflector.start()
        try:
            _show_listening(reflector, options)
            while not _told_to_stop(signals):
                _show_counters(reflector, options)
        except BrokenPipeError:
            abandon_output()  # nobody reads us any more, but the senders still want their replies
            while not _told_to_stop(signals):
                pass
        finally:
            reflector.stop(options.drain_ns)
        _show_counters(reflector, options)
    return 0


def _told_to_stop(signals: SignalWait) -> bool:
    """Sleep until a signal: True for one that ends the reflector, False for one that asks for the counters."""
    while not (numbers := signals.wait()):
        pass
    return any(number != signal.SIGUSR1 for number in numbers)


def _show_listening(reflector: Reflector, options: _Arguments) -> None:
    """One line once packets are answered: whoever waits for it may send."""
    addresses = reflector.local_addresses
    if options.json:
        import json

        where = [{"address": address, "port": port} for address, port in addresses]
        line = json.dumps({"type": "listening", "schema": 1, "local_addresses": where})
    else:
        from twoway.export.quantities import endpoint

        kind = "stateful" if options.stateful else "stateless"
        line = f"listening on {', '.join(endpoint(address, port) for address, port in addresses)} ({kind})"
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    for option, instead in sorted(reflector.obtained.items()):
        sys.stderr.write(f"twoway reflector: not granted: {option}: {instead}\n")


def _show_counters(reflector: Reflector, options: _Arguments) -> None:
    state = reflector.state()
    if options.json:
        import json

        from twoway.export import reflector_json

        text = json.dumps(reflector_json.document(state), separators=(",", ":"), allow_nan=False)
    else:
        from twoway.export import reflector_text

        text = reflector_text.report(state)
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
