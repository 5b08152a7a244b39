"""`twping` and `owping`: arrange, measure, and print as perfSONAR's programs do.

What is said about failures is twoway's own, one line on standard error; the exit codes are the originals'.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import signal
import socket
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from twoway.cli.perfsonar_options import EXIT_FAILED, parse
from twoway.config.endpoint import parse_endpoint
from twoway.config.managed import START_DELAY_NS, ControlOptions, SessionRequest
from twoway.errors import ConfigError, PlaneError, TwowayError, one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twoway.analysis.result import Result
    from twoway.cli.perfsonar_options import PerfsonarArguments
    from twoway.config.endpoint import Endpoint
    from twoway.drivers.control_client import ControlClient, TestSession
    from twoway.drivers.managed_ends import SampleBatch
    from twoway.export.perfsonar import Style
    from twoway.export.perfsonar_records import RecordedSession

EXIT_INTERRUPTED = 2
"""Exit code of the originals when interrupted with nothing to show."""
PROTOCOLS = {"twping": "twamp", "owping": "owamp"}
"""Program -> protocol."""

_OPTIONS = {
    "target": "address",
    "count": "-c",
    "slots": "-i",
    "interval_ns": "-i",
    "timeout_ns": "-L",
    "dscp": "-D",
    "padding_length": "-s",
    "payload_len": "-s",
    "sender_port": "-P",
    "receiver_port": "-P",
    "mode": "-A",
    "key_id": "-u",
    "passphrase": "-u",
    "source": "-S",
    "interface": "-B",
    "family": "-4, -6",
}
"""Field of what was asked for -> the option it came from."""
_NANOS = 1_000_000_000
_MODES = {"E": "encrypted", "A": "authenticated", "M": "mixed", "O": "unauthenticated"}
"""By the letter of `-A`, the strictest first: the order in which they are taken."""
_TIMEOUT_NS = 2 * _NANOS
"""`-L` where it is not given, beside a round trip: the originals' guess at how long a person waits."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(program: str, arguments: list[str]) -> int:
    """One of both programs. Returns its exit code."""
    options = parse(program, arguments)
    _note_ignored(program, options)
    try:
        code = asyncio.run(_measure(program, options))
        sys.stdout.flush()
    except ConfigError as error:
        named = ConfigError(_OPTIONS[error.field], error.reason) if error.field in _OPTIONS else error
        return _failed(program, str(named), error)
    except TwowayError as error:
        return _failed(program, str(error), error)
    except BrokenPipeError:
        from twoway.cli.arguments import abandon_output

        abandon_output()
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except OSError as error:
        return _failed(program, f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "), error)
    return code


def _failed(program: str, message: str, error: Exception) -> int:
    if os.environ.get("TWOWAY_DEBUG"):
        import traceback

        traceback.print_exception(error)
    sys.stderr.write(f"{program}: {one_line(message)}\n")
    return EXIT_FAILED


def _note_ignored(program: str, options: PerfsonarArguments) -> None:
    """Say which options have no effect beside others, and drop them, as the originals do."""
    silent = options.quiet or options.raw
    for letter, given, other, wins in (
        ("v", options.packets is not None, "Q", silent),
        ("M", options.machine, "Q", silent),
        ("v", options.packets is not None and not silent, "M", options.machine),
    ):
        if given and wins:
            sys.stderr.write(f"{program}: Ignoring '-{letter}', '-{other}' set\n")
    options.machine = options.machine and not silent
    if silent or options.machine:
        options.packets = None


# What was asked for, in twoway's terms.


def control_options(program: str, options: PerfsonarArguments) -> ControlOptions:
    """The control connection; the passphrase is read here. Raises `ConfigError`, `KeyFileError`."""
    protocol = PROTOCOLS[program]
    letters = (options.modes or ("EAMO" if options.identity is not None else "O")).upper()
    modes = [name for letter, name in _MODES.items() if letter in letters]
    passphrase: Callable[[], bytes] | None = None
    if protocol == "owamp":
        modes = [name for name in modes if name != "mixed"]
    if options.identity is None:
        modes = ["unauthenticated"]
    elif modes != ["unauthenticated"]:
        secret = _secret(options.identity, options.key_file)
        passphrase = lambda: secret  # noqa: E731  (a closure, which no representation looks into)
    source, interface = options.source, options.interface
    if source is not None and interface is None and source in (name for _, name in socket.if_nameindex()):
        source, interface = None, source
    family = 4 if options.ip4 else 6 if options.ip6 else None
    return ControlOptions(
        protocol=protocol,
        modes=tuple(modes),
        features=(),
        key_id=options.identity if passphrase is not None else None,
        passphrase=passphrase,
        family=family,
        source=None if source is None else _numeric(parse_endpoint(source), family),
        interface=interface,
    )


def _secret(identity: str, path: str | None) -> bytes:
    """The user's passphrase, from the file or else from the terminal."""
    if path is not None:
        from twoway.cli.perfsonar_keyfile import read_passphrase

        return read_passphrase(path, identity)
    import getpass

    try:
        return getpass.getpass(f"Enter passphrase for identity '{one_line(identity)}': ").encode()
    except EOFError:
        raise ConfigError("-u", "no passphrase: give -k FILE where there is no terminal") from None


def _numeric(endpoint: Endpoint, family: int | None) -> str:
    """The numeric address of a host, with its scope."""
    from twoway.drivers.resolve import resolve

    address = resolve(endpoint, 0, family)
    return f"{address.host}%{address.scope_id}" if address.scope_id else address.host


@dataclass(frozen=True, slots=True)
class Connected:
    """What is known once there is a control connection."""

    mode: str
    """Its security mode."""
    local_address: str
    peer_address: str
    """Numeric, of the server."""
    round_trip_ns: int
    now_ns: int
    """Wall clock."""


def session_requests(program: str, options: PerfsonarArguments, connected: Connected) -> list[SessionRequest]:
    """The test-sessions to ask for. Raises `ConfigError`, `ResolveError`.

    Both addresses are named unless `-Z` forbids it, as the originals do: owampd denies a session without them.
    """
    padding = options.padding
    if padding is None and program == "twping":
        # With which requests are as long as replies.
        padding = 64 if connected.mode in ("authenticated", "encrypted") else 27
    peer = connected.peer_address
    if options.server_address is not None:
        peer = _numeric(parse_endpoint(options.test_address), 4 if options.ip4 else 6 if options.ip6 else None)
    slots = tuple((slot.kind, slot.interval_ns) for slot in options.slots)
    single = len(slots) == 1
    if program == "twping" and not single:
        raise ConfigError("-i", "a schedule of several times is owping's")
    timeout_ns = round(options.timeout_s * _NANOS) or _TIMEOUT_NS + connected.round_trip_ns
    ends = (None, None) if options.zero_addresses else (connected.local_address, peer)
    delay_ns = round(options.start_delay_s * _NANOS)
    directions = [False]
    if program == "owping":
        delay_ns = max(delay_ns, START_DELAY_NS + 3 * connected.round_trip_ns)
        both = options.forward == options.backward
        directions = [sends for sends, wanted in ((False, options.forward), (True, options.backward)) if both or wanted]
    return [
        SessionRequest(
            count=options.count,
            interval_ns=max(1, slots[0][1]) if single else _mean_interval_ns(slots),
            schedule="poisson" if slots[0][0] == "exponential" else "periodic",
            slots=() if single else slots,
            server_sends=server_sends,
            timeout_ns=timeout_ns,
            start_ns=connected.now_ns + delay_ns if delay_ns else None,
            padding_length=padding or 0,
            dscp=options.dscp,
            sender_address=ends[server_sends],
            receiver_address=ends[not server_sends],
            percentiles=(),
        )
        for server_sends in directions
    ]


def _mean_interval_ns(slots: tuple[tuple[str, int], ...]) -> int:
    """Mean time between packets of a schedule."""
    return max(1, sum(interval_ns for _, interval_ns in slots) // len(slots))


def style_of(options: PerfsonarArguments) -> Style:
    """What to print."""
    from twoway.export.perfsonar import Style
    from twoway.export.perfsonar_text import UNITS

    return Style(
        raw=options.raw,
        machine=options.machine,
        packets=options.packets is not None,
        packets_limit=options.packets or None,
        unix=options.unix,
        unit=UNITS[options.unit],
        percentiles=tuple(percentile for given in options.percentiles for percentile in given),
        bucket_width_s=options.bucket_width_s,
        part_packets=options.part_packets,
    )


# Measuring.


async def _measure(program: str, options: PerfsonarArguments) -> int:
    from twoway.drivers.control_client import ControlClient

    control = control_options(program, options)
    server = options.server_address or options.test_address
    async with await ControlClient.connect(server, control) as client:
        connected = Connected(
            mode=client.mode,
            local_address=str(client.local_address),
            peer_address=str(client.peer_address),
            round_trip_ns=client.round_trip_ns,
            now_ns=time.time_ns(),
        )
        requests = session_requests(program, options, connected)
        sessions = [await _request(client, request, options.ports) for request in requests]
        await client.start()
        if not (options.quiet or options.raw):
            sys.stdout.write(f"Approximately {_expected_s(requests):.1f} seconds until results available\n")
            sys.stdout.flush()
        samples, interrupted = await _follow(client, sessions, options.end_delay_s)
        for line in _report(options, sessions, samples, interrupted=interrupted):
            sys.stdout.write(f"{line}\n")
    return 0


async def _request(client: ControlClient, request: SessionRequest, ports: tuple[int, int]) -> TestSession:
    """Ask for a session with a port of ours from the range, the first of it that is free from a random one on."""
    low, high = ports
    if not high:
        return await client.request_session(request)
    start = random.randrange(high - low + 1)  # noqa: S311  (only so that programs beside us rarely want the same)
    for offset in range(high - low + 1):
        port = low + (start + offset) % (high - low + 1)
        try:
            if request.server_sends:
                return await client.request_session(replace(request, receiver_port=port))
            return await client.request_session(replace(request, sender_port=port, receiver_port=port))
        except PlaneError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise ConfigError("-P", f"every port from {low} to {high} is in use")


def _expected_s(requests: list[SessionRequest]) -> float:
    """About how long it takes from now until there are results."""
    spans_ns = [
        (request.count or 0) * request.interval_ns
        + request.timeout_ns
        + (max(0, request.start_ns - time.time_ns()) if request.start_ns else 0)
        for request in requests
    ]
    return max(spans_ns) / _NANOS


async def _follow(
    client: ControlClient, sessions: list[TestSession], end_delay_s: float
) -> tuple[list[list[SampleBatch]], bool]:
    """Collect samples until all sessions have ended, or a signal ends them: (samples of each, whether one did)."""
    samples: list[list[SampleBatch]] = [[] for _ in sessions]

    async def collect(session: TestSession, batches: list[SampleBatch]) -> None:
        batches.extend([batch async for batch in session])

    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, interrupted.set)
    signalled = asyncio.create_task(interrupted.wait())
    collecting = asyncio.gather(*map(collect, sessions, samples))
    try:
        await asyncio.wait((collecting, signalled), return_when=asyncio.FIRST_COMPLETED)
        if interrupted.is_set():
            for session in sessions:
                session.abort()
        await collecting
        if end_delay_s and not interrupted.is_set():
            await asyncio.wait((signalled,), timeout=end_delay_s)
        await client.stop()
    finally:
        signalled.cancel()
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
    return samples, interrupted.is_set()


def _report(
    options: PerfsonarArguments, sessions: list[TestSession], samples: list[list[SampleBatch]], *, interrupted: bool
) -> Iterator[str]:
    """The lines of every session, one after the other."""
    from twoway.export.perfsonar import report_lines
    from twoway.export.perfsonar_records import oneway_records, twoway_records

    if options.quiet and not options.raw:
        return
    style = style_of(options)
    for session, batches in zip(sessions, samples, strict=True):
        result = session.result(interrupted=interrupted)
        described = recorded_session(options, session, result)
        if described.twoway:
            yield from report_lines(described, twoway_records(result, batches), style)
        elif (recorded := session.recorded) is not None:
            skipped = [(skipped.first, skipped.last) for skipped in recorded.skip_ranges]
            yield from report_lines(described, oneway_records(recorded.batch, skipped, session.scheduled_ns()), style)
        else:
            why = "no reason given" if session.refusal is None else str(session.refusal)
            sys.stderr.write(f"owping: no results of session {session.sid.hex()}: {one_line(why)}\n")


def recorded_session(options: PerfsonarArguments, session: TestSession, result: Result) -> RecordedSession:
    """What the formats say of a session beside its packets; looks the name of our address up."""
    from twoway.drivers.plane import header_len
    from twoway.export.perfsonar_records import RecordedSession, interval_of, timestamp_of

    asked = result.session
    ours = (_host_name(asked.local_address), asked.local_address, asked.local_port)
    theirs = (parse_endpoint(options.test_address).host, asked.address, asked.port)
    (from_host, from_address, from_port), (to_host, to_address, to_port) = (
        (theirs, ours) if session.direction == "backward" else (ours, theirs)
    )
    return RecordedSession(
        twoway=session.direction == "two-way",
        sid=session.sid,
        from_host=from_host,
        from_address=from_address,
        from_port=from_port,
        to_host=to_host,
        to_address=to_address,
        to_port=to_port,
        dscp=asked.dscp_ecn >> 2,
        timeout=interval_of(asked.timeout_ns),
        padding_octets=asked.payload_len - header_len(asked.format),
        packets=options.count,
        packets_per_s=_NANOS / asked.interval_ns,
        started=timestamp_of(result.started_ns),
        finished=not result.interrupted,
    )


def _host_name(address: str) -> str:
    """The name of an address, or the address where it has none."""
    try:
        return socket.getnameinfo((address, 0), 0)[0].partition("%")[0]
    except OSError:
        return address
