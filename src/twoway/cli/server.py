"""`twoway server`: a Server of TWAMP and OWAMP in the foreground, until SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from twoway.cli.arguments import Parser, abandon_output, value_of
from twoway.config import defaults, server, units
from twoway.config.managed import FEATURES, KEEP_COUNT, KEEP_IDLE_S, KEEP_INTERVAL_S, MODES, PORTS
from twoway.config.server import ServerOptions
from twoway.errors import ConfigError

if TYPE_CHECKING:
    from twoway.drivers.reflector import Reflector
    from twoway.drivers.server import Server, ServerEvent

_DESCRIPTION = """\
Serve TWAMP and OWAMP: negotiate test-sessions over TCP (port 862 and 861), then reflect, receive or
send their test packets. With --light, answer STAMP and TWAMP Light beside that, as `twoway reflector`.
"""
_EPILOG = """\
ADDR:PORT is a numeric address, as 192.0.2.1:862, [2001:db8::1]:862 or :862 for every address; port
861 is OWAMP, any other TWAMP, unless `owamp=` or `twamp=` stands before it.

A key file has mode 0600 and one secret a line: `KEY-ID text:PASSPHRASE` or `KEY-ID hex:OCTETS`. With
one, every secure mode is offered and none in the clear, unless --mode says what to offer. A file for
--ikev2-key-file has lines `SPI-I SPI-R hex:OCTETS`, with 16 hexadecimal digits for each SPI.

Ports below 1024 need CAP_NET_BIND_SERVICE. SIGUSR1 prints the counters; SIGINT and SIGTERM end with
them and with 0. Each rule that a client breaks is counted by its name; -v prints a line for each.

examples:
  twoway server --listen 127.0.0.1:8620 --listen owamp=127.0.0.1:8610
  twoway server --key-file secrets --light --maximum-sessions 1000
  twoway server --allow 192.0.2.0/24 --port-range 20000-20999
"""


class _Arguments(argparse.Namespace):
    """The options as parsed, with their types."""

    listen: list[str]
    light: list[str]
    interface: str | None
    netns: str | None
    port_range: tuple[int, int]
    workers: int
    key_file: str | None
    ikev2_key_file: str | None
    mode: list[str]
    without: list[str]
    iterations: int
    allow: list[str]
    any_sender_address: bool
    maximum_connections: int
    maximum_connections_per_client: int
    maximum_sessions: int
    maximum_sessions_per_client: int
    maximum_sessions_per_connection: int
    max_connection_duration_ns: int
    server_inactivity_timeout_ns: int
    reflector_inactivity_timeout_ns: int
    tcp_keepidle_s: int
    tcp_keepintvl_s: int
    tcp_keepcnt: int
    timestamps: str
    clock_format: str
    verbose: bool
    json: bool


def _port_range(text: str, field: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not (dash and first.isascii() and first.isdigit() and last.isascii() and last.isdigit()):
        raise ConfigError(field, f"{text!r} is no range of ports such as 20000-29999")
    return int(first), int(last)


def server_parser() -> Parser:
    """All options of the command."""
    parser = Parser("twoway server", "", _DESCRIPTION, _EPILOG)

    add = parser.add_argument_group("where").add_argument
    add(
        "-l",
        "--listen",
        action="append",
        default=[],
        metavar="ADDR:PORT",
        help="TCP address of control connections; repeatable (:862 and :861)",
    )
    add(
        "--light",
        action="append",
        nargs="?",
        const=f":{defaults.PORT}",
        default=[],
        metavar="ADDR:PORT",
        help=f"answer STAMP and TWAMP Light at this UDP address too; repeatable (:{defaults.PORT})",
    )
    add("-I", "--interface", metavar="IFACE", help="device or VRF of connections and test packets")
    add("--netns", metavar="NAME", help="network namespace of both (`ip netns`, or a path); needs root")
    add(
        "--port-range",
        type=value_of(_port_range),
        default=server.PORT_RANGE,
        metavar="FIRST-LAST",
        help=f"UDP ports of test-sessions ({server.PORT_RANGE[0]}-{server.PORT_RANGE[1]})",
    )
    add(
        "--workers",
        type=value_of(units.parse_integer, 1, 256),
        default=1,
        metavar="N",
        help="threads for test packets (1)",
    )

    add = parser.add_argument_group("who is served").add_argument
    add("--key-file", metavar="FILE", help="secrets by KeyID (mode 0600; format below)")
    add(
        "--ikev2-key-file",
        metavar="FILE",
        help="keys derived from IKEv2 security associations (RFC 7717; mode 0600; format below)",
    )
    add(
        "--mode",
        action="append",
        choices=MODES,
        default=[],
        help="security mode to offer; repeatable (unauthenticated, or with a key file the others)",
    )
    add(
        "--without",
        action="append",
        choices=FEATURES,
        default=[],
        help="feature not to offer; repeatable (all are offered)",
    )
    add(
        "--iterations",
        type=value_of(units.parse_integer, 1024, 2**31),
        default=server.COUNT,
        metavar="N",
        help=f"of PBKDF2, a power of 2 ({server.COUNT})",
    )
    add("--allow", action="append", default=[], metavar="CIDR", help="serve only this network; repeatable (all)")
    add(
        "--any-sender-address",
        action="store_true",
        help="reflect to addresses other than the control connection's too",
    )

    add = parser.add_argument_group("limits").add_argument
    for name, highest, default, what in (
        ("maximum-connections", 10_000, server.MAXIMUM_CONNECTIONS, "control connections"),
        (
            "maximum-connections-per-client",
            10_000,
            server.MAXIMUM_CONNECTIONS_PER_CLIENT,
            "control connections of one address",
        ),
        ("maximum-sessions", 65_536, server.MAXIMUM_SESSIONS, "test-sessions"),
        (
            "maximum-sessions-per-client",
            65_536,
            server.MAXIMUM_SESSIONS_PER_CLIENT,
            "test-sessions of one address",
        ),
        (
            "maximum-sessions-per-connection",
            65_536,
            server.MAXIMUM_SESSIONS_PER_CONNECTION,
            "test-sessions of one connection",
        ),
    ):
        add(
            f"--{name}",
            type=value_of(units.parse_integer, 1, highest),
            default=default,
            metavar="N",
            help=f"{what} ({default})",
        )
    for name, default, what in (
        ("max-connection-duration", server.MAX_CONNECTION_DURATION_NS, "longest life of a connection; 0: no limit"),
        ("server-inactivity-timeout", server.SERVER_INACTIVITY_TIMEOUT_NS, "SERVWAIT: idle connections; 0: never"),
        (
            "reflector-inactivity-timeout",
            server.REFLECTOR_INACTIVITY_TIMEOUT_NS,
            "REFWAIT: sessions without a packet; 0: never",
        ),
    ):
        add(
            f"--{name}",
            dest=f"{name.replace('-', '_')}_ns",
            type=value_of(units.parse_duration_ns),
            default=default,
            metavar="TIME",
            help=f"{what} ({units.duration_text(default)})",
        )
    for name, highest, default in (
        ("tcp-keepidle", 600, KEEP_IDLE_S),
        ("tcp-keepintvl", 600, KEEP_INTERVAL_S),
        ("tcp-keepcnt", 50, KEEP_COUNT),
    ):
        add(
            f"--{name}",
            dest="tcp_keepcnt" if name == "tcp-keepcnt" else f"{name.replace('-', '_')}_s",
            type=value_of(units.parse_integer, 1, highest),
            default=default,
            metavar="N",
            help=f"TCP keepalive: {'probes' if name == 'tcp-keepcnt' else 'seconds'} ({default})",
        )

    add = parser.add_argument_group("clock and sockets").add_argument
    add(
        "--timestamps",
        choices=("kernel", "hardware", "user"),
        default=defaults.TIMESTAMPS,
        help=f"where arrival and departure are taken ({defaults.TIMESTAMPS})",
    )
    add(
        "--clock-format",
        choices=("ntp", "ptp"),
        default=defaults.CLOCK_FORMAT,
        help=f"timestamp format of replies, where a client negotiated PTPv2 ({defaults.CLOCK_FORMAT})",
    )

    add = parser.add_argument_group("output").add_argument
    add("-v", "--verbose", action="store_true", help="a line on standard error for each thing that went wrong")
    add("--json", action="store_true", help="a JSON document a line instead of text (see `twoway schema server`)")
    return parser


def _options(arguments: _Arguments) -> ServerOptions:
    """What was asked for. Raises `ConfigError`."""
    secrets: tuple[tuple[str, bytes], ...] = ()
    if arguments.key_file is not None:
        from twoway.config.keyfile import read_secret_file

        secrets = tuple((key.key_id, key.octets) for key in read_secret_file(arguments.key_file))
    ikev2_key_of = None
    if arguments.ikev2_key_file is not None:
        from twoway.config.keyfile import read_ikev2_file

        ikev2 = {(key.initiator_spi, key.responder_spi): key for key in read_ikev2_file(arguments.ikev2_key_file)}
        ikev2_key_of = lambda spi_i, spi_r: key.octets if (key := ikev2.get((spi_i, spi_r))) else None  # noqa: E731  (a closure, which no representation looks into)
    return ServerOptions(
        listen=tuple(address for text in arguments.listen for address in _listening(text)),
        modes=tuple(arguments.mode),
        features=tuple(feature for feature in FEATURES if feature not in arguments.without),
        secrets=secrets,
        ikev2_key_of=ikev2_key_of,
        count=arguments.iterations,
        allow=arguments.allow,
        port_range=arguments.port_range,
        any_sender_address=arguments.any_sender_address,
        maximum_connections=arguments.maximum_connections,
        maximum_connections_per_client=arguments.maximum_connections_per_client,
        maximum_sessions=arguments.maximum_sessions,
        maximum_sessions_per_client=arguments.maximum_sessions_per_client,
        maximum_sessions_per_connection=arguments.maximum_sessions_per_connection,
        max_connection_duration_ns=arguments.max_connection_duration_ns,
        server_inactivity_timeout_ns=arguments.server_inactivity_timeout_ns,
        reflector_inactivity_timeout_ns=arguments.reflector_inactivity_timeout_ns,
        tcp_keepidle_s=arguments.tcp_keepidle_s,
        tcp_keepintvl_s=arguments.tcp_keepintvl_s,
        tcp_keepcnt=arguments.tcp_keepcnt,
        interface=arguments.interface,
        netns=arguments.netns,
        workers=arguments.workers,
        timestamps=arguments.timestamps,
        clock_format=arguments.clock_format,
    )


def _listening(text: str) -> list[tuple[str, str, int, int]]:
    """Listeners for one `--listen`. Raises `ConfigError`."""
    from twoway.drivers.reflector import listening

    protocol, named, where = text.rpartition("=")
    if named and protocol not in PORTS:
        raise ConfigError("--listen", f"{text!r}: {protocol!r} is none of {', '.join(PORTS)}")
    addresses = listening(where, "--listen", PORTS.get(protocol, PORTS["twamp"]))
    return [
        (protocol or ("owamp" if port == PORTS["owamp"] else "twamp"), host, port, scope)
        for host, port, scope in addresses
    ]


OPTIONS = {
    "count": "--iterations",
    "modes": "--mode",
    "port_range": "--port-range",
    "allow": "--allow",
    "listen": "--listen",
}
"""Field that a `ConfigError` names -> the option that a person wrote."""


def run(arguments: list[str]) -> int:
    """The command. Returns its exit code."""
    parsed = server_parser().parse_args(arguments, _Arguments())
    try:
        options = _options(parsed)
        return asyncio.run(_serve(options, parsed))
    except ConfigError as error:
        option = OPTIONS.get(error.field) or (
            f"--{error.field.removesuffix('_ns').replace('_', '-')}" if hasattr(parsed, error.field) else None
        )
        if option is None:
            raise
        raise ConfigError(option, error.reason) from None


async def _serve(options: ServerOptions, arguments: _Arguments) -> int:
    from twoway.drivers.reflector import Reflector
    from twoway.drivers.server import Server

    loop = asyncio.get_running_loop()
    told: asyncio.Queue[signal.Signals] = asyncio.Queue()
    # Signals first: one that comes while the sockets are being opened must not kill what is half there.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        loop.add_signal_handler(number, told.put_nowait, number)
    with ExitStack() as stack:
        light = None
        if arguments.light:
            reflector = Reflector(listen=arguments.light, interface=arguments.interface, netns=arguments.netns)
            light = stack.enter_context(reflector)
        running = Server(options)
        running.on_event = _show_event if arguments.verbose else _forget_event
        async with running:
            try:
                _show_listening(running, light, arguments)
                while await told.get() is signal.SIGUSR1:
                    _show_counters(running, light, arguments)
                _show_counters(running, light, arguments)
            except BrokenPipeError:
                abandon_output()
    return 0


def _forget_event(event: ServerEvent) -> None:
    """It is counted; nobody asked for a line."""


def _show_event(event: ServerEvent) -> None:
    section = f" ({event.section})" if event.section else ""
    sys.stderr.write(f"twoway server: {event.peer}: {event.name}: {event.meaning}{section}\n")
    sys.stderr.flush()


def _show_listening(running: Server, light: Reflector | None, arguments: _Arguments) -> None:
    """One line once connections are accepted: whoever waits for it may connect."""
    where = [*running.local_addresses, *(("light", *address) for address in (light.local_addresses if light else []))]
    if arguments.json:
        from twoway.export import server_json

        line = server_json.line(server_json.listening(where))
    else:
        from twoway.export.quantities import endpoint

        line = "listening on " + ", ".join(f"{protocol} {endpoint(host, port)}" for protocol, host, port in where)
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _show_counters(running: Server, light: Reflector | None, arguments: _Arguments) -> None:
    if arguments.json:
        from twoway.export import reflector_json, server_json

        documents = [server_json.document(running.state())]
        if light is not None:
            documents.append(reflector_json.document(light.state()))
        text = "\n".join(server_json.line(document) for document in documents)
    else:
        from twoway.export import reflector_text, server_text

        text = server_text.report(running.state())
        if light is not None:
            text += f"\n\n{reflector_text.report(light.state())}"
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
