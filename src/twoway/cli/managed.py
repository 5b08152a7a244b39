"""`twoway ping --protocol twamp|owamp`: the same measurement and report, of test-sessions that a Server agreed to.

One session is shown live as any other. Several run at once, so each has its report at the end, under its own heading.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from twoway.cli.arguments import abandon_output
from twoway.cli.live import Live
from twoway.cli.ping import check_plot, conditions_of, exit_code, live_of, show
from twoway.cli.ping_arguments import sending_from
from twoway.config import defaults
from twoway.config.managed import ControlOptions, SessionRequest
from twoway.drivers.control_client import ControlClient
from twoway.drivers.plane import local_clock
from twoway.errors import EXIT_ERROR, EXIT_NO_REPLY, EXIT_REPLIES, ConfigError, TwowayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from twoway.analysis.conditions import Condition
    from twoway.analysis.result import Result
    from twoway.cli.ping_arguments import PingArguments
    from twoway.drivers.managed_plane import SampleBatch
    from twoway.drivers.managed_session import TestSession

_SETTLE_S = 1
"""How long an aborted session may take to end: its worker has only to wake up."""
_ORDER = (EXIT_REPLIES, EXIT_NO_REPLY, EXIT_ERROR)


def ping_managed(options: PingArguments) -> int:
    """The command. Returns its exit code."""
    _check(options)
    control, requests = _control(options), _requests(options)
    live = live_of(options) if len(requests) == 1 else Live()
    if options.plot is not None:
        check_plot(options.plot)
    keeps = live.needs_samples or options.samples or options.plot is not None
    if not keeps:
        requests = [replace(request, sample_capacity=0) for request in requests]
    return asyncio.run(_Run(options, live, conditions_of(options.fail_if)).measure(control, requests))


def _check(options: PingArguments) -> None:
    """Refuse what a negotiated session has no place for."""
    if options.samples and options.output != "json":
        raise ConfigError("--samples", "it goes with --json")
    for option, given in (
        ("--auth-key-file", options.auth_key_file is not None),
        ("--ssid", options.ssid is not None),
    ):
        if given:
            raise ConfigError(option, f"it is STAMP's: {options.protocol.upper()} has --key-file")
    if options.netns is not None:
        raise ConfigError("--netns", "run the whole command in it: `ip netns exec NAME twoway ping …`")
    one_way = options.protocol == "owamp"
    sessions = options.sessions * (2 if one_way and options.direction == "both" else 1)
    if sessions > 1 and (options.output in ("ndjson", "csv") or options.plot is not None):
        raise ConfigError("--sessions", "several sessions have no common --ndjson, --csv or --plot: use --json")
    if not one_way and options.direction != "both":
        raise ConfigError("--direction", "TWAMP measures both ways at once")
    if one_way and options.histogram:
        raise ConfigError("--histogram", "OWAMP knows no round-trip time")


def _control(options: PingArguments) -> ControlOptions:
    """The control connection that is wanted. Raises `ConfigError`."""
    interface, source = sending_from(options)
    passphrase: Callable[[], bytes] | None = None
    key_id = options.key_id
    if options.key_file is not None:
        from twoway.config.keyfile import choose_key, read_secret_file

        key = choose_key(read_secret_file(options.key_file), key_id, None, options.key_file)
        key_id, passphrase = key.key_id, lambda: key.octets
    elif key_id is not None:
        raise ConfigError("--key-id", "it chooses a secret of --key-file, which is missing")
    modes = tuple(options.mode) or (("encrypted", "authenticated") if passphrase else ("unauthenticated",))
    required = ("dscp-ecn-monitoring",) if options.dscp_ecn_monitoring else ()
    if options.protocol == "owamp" and required:
        raise ConfigError("--dscp-ecn-monitoring", "OWAMP has no replies to tell it in")
    return ControlOptions(
        protocol=options.protocol,
        modes=modes,
        required=required,
        key_id=key_id,
        passphrase=passphrase,
        family=options.family,
        source=source,
        interface=interface,
    )


def _requests(options: PingArguments) -> list[SessionRequest]:
    """The sessions that are wanted. Raises `ConfigError`."""
    one_way = options.protocol == "owamp"
    count = options.count
    if options.duration_ns is not None and (one_way or options.schedule == "periodic"):
        in_duration = -(-options.duration_ns // options.interval_ns)
        count = in_duration if count is None else min(count, in_duration)
    if count is None and one_way:
        count = defaults.API_COUNT
    traffic_class = options.tos if options.tos is not None else (options.dscp or 0) << 2
    wanted = SessionRequest(
        count=count,
        interval_ns=options.interval_ns,
        schedule=options.schedule,
        timeout_ns=options.timeout_ns,
        payload_len=options.size,
        fill=options.fill,
        dscp=traffic_class >> 2,
        ecn=traffic_class & 3,
        ttl=options.ttl,
        sender_port=options.source_port,
        receiver_port=options.receiver_port,
        seed=options.seed,
        timestamps=options.timestamps,
        clock_format=options.clock_format,
        reflector_mode=options.reflector_mode,
        receive_buffer=options.receive_buffer,
        percentiles=options.percentiles,
    )
    directions = {"both": (False, True), "forward": (False,), "backward": (True,)}[options.direction]
    requests = []
    for number in range(options.sessions):
        for server_sends in directions if one_way else (False,):
            # Ports that are named are those of the first session; each session needs its own.
            request = replace(
                wanted,
                server_sends=server_sends,
                sender_port=_port(options.source_port, number, server_sends),
                receiver_port=_port(options.receiver_port, number, server_sends),
            )
            requests.append(request)
    return requests


def _port(first: int, number: int, server_sends: bool) -> int:
    if not first or server_sends:
        return 0
    if first + number > 65535:
        raise ConfigError("--receiver-port", "there are not so many ports")
    return first + number


class _Run:
    """One measurement, from connecting to its reports."""

    def __init__(self, options: PingArguments, live: Live, conditions: list[Condition]) -> None:
        self._options = options
        self._live = live
        self._conditions = conditions
        self._told: asyncio.Event = asyncio.Event()
        self._kept: list[list[SampleBatch]] = []
        self._failure: TwowayError | None = None

    async def measure(self, control: ControlOptions, requests: list[SessionRequest]) -> int:
        """Until the end, or a signal."""
        loop = asyncio.get_running_loop()
        async with await ControlClient.connect(self._options.target, control) as client:
            sessions = [await client.request_session(request) for request in requests]
            self._kept = [[] for _ in sessions]
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self._told.set)
            loop.add_signal_handler(signal.SIGQUIT, self._interim, sessions)
            await client.start()
            try:
                self._live.begin(sessions[0].description, local_clock())
                interrupted = await self._watch(sessions)
                if not client.closed:
                    try:
                        await client.stop()
                    except TwowayError as error:
                        self._failure = error
                results = [session.result(interrupted=interrupted) for session in sessions]
                self._live.end(results[0])
                self._show(sessions, results)
            except BrokenPipeError:
                abandon_output()
                return self._code([session.result(interrupted=True) for session in sessions], [])
        for session in sessions:
            self._failure = self._failure or session.refusal
        code = self._code(results, self._conditions)
        if self._failure is not None:
            sys.stderr.write(f"twoway ping: {self._failure}\n")
            return EXIT_ERROR
        return code

    async def _watch(self, sessions: list[TestSession]) -> bool:
        """Follow the sessions until they have ended (False) or a signal ends them (True)."""
        pairs = zip(sessions, self._kept, strict=True)
        followers = [asyncio.create_task(self._follow(session, kept)) for session, kept in pairs]
        told = asyncio.create_task(self._told.wait())
        helpers = [asyncio.create_task(self._tick(sessions[0])), asyncio.create_task(self._end_in_time(sessions))]
        everything = asyncio.gather(*followers)
        try:
            waited: list[asyncio.Future[list[None]] | asyncio.Task[bool]] = [everything, told]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if everything.done():
                everything.result()
            else:
                for session in sessions:
                    session.abort()
                # What was still on its way to us is shown, too.
                await asyncio.wait(followers, timeout=_SETTLE_S)
                self._live.clear()
        except TwowayError as error:
            self._failure = error
            return True
        else:
            return self._told.is_set()
        finally:
            everything.cancel()
            for task in (*helpers, told):
                task.cancel()

    async def _follow(self, session: TestSession, kept: list[SampleBatch]) -> None:
        keeps = self._options.samples or self._options.plot is not None
        async for batch in session:
            if keeps:
                kept.append(batch)
            self._live.packets(batch)
            for event in session.take_events():
                self._live.event(event)

    async def _tick(self, session: TestSession) -> None:
        while self._live.tick_ns is not None:
            await asyncio.sleep(self._live.tick_ns / defaults.NANOS)
            if not session.finished:
                self._live.tick(session.summary())

    async def _end_in_time(self, sessions: list[TestSession]) -> None:
        """The end of -w where the count does not say it: a Poisson schedule's."""
        if self._options.duration_ns is not None and self._options.schedule != "periodic":
            await asyncio.sleep(self._options.duration_ns / defaults.NANOS)
            for session in sessions:
                if session.direction == "two-way":
                    session.stop()

    def _interim(self, sessions: list[TestSession]) -> None:
        from twoway.export import text

        self._live.clear()
        sys.stderr.write("".join(f"{text.interim_line(session.summary())}\n" for session in sessions))
        sys.stderr.flush()

    def _show(self, sessions: list[TestSession], results: list[Result]) -> None:
        options = self._options
        if len(results) == 1:
            show(options, results[0], self._kept[0])
            return
        if options.output == "json":
            from twoway.export import json_result

            documents = [
                json_result.document(result, samples=kept if options.samples else None)
                for result, kept in zip(results, self._kept, strict=True)
            ]
            sys.stdout.write("\n".join(json_result.text(document) for document in documents) + "\n")
        else:
            for number, (session, result) in enumerate(zip(sessions, results, strict=True), start=1):
                sys.stdout.write(f"{chr(10) * (number > 1)}session {number}, {session.direction}\n")
                show(options, result, None)
        sys.stdout.flush()

    def _code(self, results: list[Result], conditions: list[Condition]) -> int:
        codes = [exit_code(result, conditions) for result in results]
        return max(codes, key=lambda code: _ORDER.index(code) if code in _ORDER else len(_ORDER))
