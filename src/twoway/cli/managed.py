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
from twoway.cli.ping_arguments import paths_of, sending_from
from twoway.config import defaults
from twoway.config.managed import ControlOptions, SessionRequest
from twoway.drivers.managed_measurement import ManagedMeasurement
from twoway.drivers.managed_plane import SenderPlane
from twoway.drivers.plane import local_clock
from twoway.errors import EXIT_ERROR, EXIT_NO_REPLY, EXIT_REPLIES, ConfigError, KeyFileError, TwowayError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twoway.analysis.conditions import Condition
    from twoway.analysis.result import Event, Result
    from twoway.cli.ping_arguments import PingArguments
    from twoway.drivers.managed_ends import SampleBatch
    from twoway.drivers.managed_measurement import MeasuredSession

_ORDER = (EXIT_REPLIES, EXIT_NO_REPLY, EXIT_ERROR)


def ping_managed(options: PingArguments) -> int:
    """The command. Returns its exit code."""
    _check(options)
    control, requests = _control(options), _requests(options)
    live = live_of(options) if len(requests) == 1 else Live()
    if options.plot is not None:
        check_plot(options.plot)
    keeps = live.needs_samples or options.samples or options.plot is not None
    return asyncio.run(_Run(options, live, conditions_of(options.fail_if)).measure(control, requests, keeps=keeps))


def _reconnect_ns(options: PingArguments) -> int:
    """Time between attempts to reach the Server again; 0: none."""
    if options.reconnect_ns is not None:
        return options.reconnect_ns
    # Who asked for so much waits for it, and wants to know at once why it does not come; who asked for no end wants it
    # to go on.
    endless = options.protocol == "twamp" and options.count is None and options.duration_ns is None
    return defaults.RECONNECT_NS if endless else 0


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
    one_way = options.protocol == "owamp"
    if options.return_path:
        raise ConfigError("--return-path", f"it is STAMP's: {options.protocol.upper()} packets cannot ask for one")
    if options.path and one_way:
        raise ConfigError("--path", "OWAMP packets go as they are routed")
    if options.lag is not None:
        raise ConfigError("--lag", "only STAMP packets carry the numbers of its members")
    if len(options.path) > 1:
        raise ConfigError("--path", "several paths at once are for STAMP and light")
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
    ikev2 = _ikev2(options.ikev2_key_file)
    secure = passphrase is not None or ikev2 is not None
    modes = tuple(options.mode) or (("encrypted", "authenticated") if secure else ("unauthenticated",))
    required = ("dscp-ecn-monitoring",) if options.dscp_ecn_monitoring else ()
    if options.protocol == "owamp" and required:
        raise ConfigError("--dscp-ecn-monitoring", "OWAMP has no replies to tell it in")
    return ControlOptions(
        protocol=options.protocol,
        modes=modes,
        required=required,
        key_id=key_id,
        passphrase=passphrase,
        ikev2=ikev2,
        family=options.family,
        source=source,
        interface=interface,
        netns=options.netns,
    )


def _ikev2(path: str | None) -> tuple[bytes, bytes, Callable[[], bytes]] | None:
    """SPIi, SPIr and the key of the security association in the file. Raises `KeyFileError`."""
    if path is None:
        return None
    from twoway.config.keyfile import read_ikev2_file

    key, *others = read_ikev2_file(path)
    if others:
        raise KeyFileError(path, None, "holds several security associations: leave the one to use")
    return key.initiator_spi, key.responder_spi, lambda: key.octets


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
        path=paths_of(options)[0].path,
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
        self._kept: dict[MeasuredSession, list[SampleBatch]] = {}

    async def measure(self, control: ControlOptions, requests: list[SessionRequest], *, keeps: bool) -> int:
        """Until the end, or a signal."""
        options, loop = self._options, asyncio.get_running_loop()
        measurement = ManagedMeasurement(
            options.target,
            requests,
            control,
            reconnect_ns=_reconnect_ns(options),
            duration_ns=options.duration_ns,
            plane=SenderPlane(busy_poll=True) if options.busy_poll else None,
            on_samples=self._samples if keeps else None,
            on_event=self._event,
            on_started=lambda: self._live.begin(measurement.sessions[0].description, local_clock()),
        )
        sessions = measurement.sessions
        # A wrong address or key is told at once, whatever is done about later outages.
        await measurement.connect()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, measurement.stop)
        loop.add_signal_handler(signal.SIGQUIT, self._interim, sessions)
        ticking = asyncio.create_task(self._tick(sessions[0]))
        failure: TwowayError | None = None
        try:
            try:
                await measurement.run()
            except TwowayError as error:
                failure = error
            finally:
                ticking.cancel()
            self._live.clear()
            results = [measurement.result(session) for session in sessions]
            self._live.end(results[0])
            self._show(sessions, results)
        except BrokenPipeError:
            abandon_output()
            return self._code([measurement.result(session) for session in sessions], [])
        code = self._code(results, self._conditions)
        for session in sessions:
            failure = failure or session.refusal
        if failure is not None:
            sys.stderr.write(f"twoway ping: {failure}\n")
            return EXIT_ERROR
        return code

    def _samples(self, session: MeasuredSession, batch: SampleBatch) -> None:
        if self._options.samples or self._options.plot is not None:
            self._kept.setdefault(session, []).append(batch)
        self._live.packets(batch)

    def _event(self, session: MeasuredSession, event: Event) -> None:
        del session
        self._live.event(event)

    async def _tick(self, session: MeasuredSession) -> None:
        while self._live.tick_ns is not None:
            await asyncio.sleep(self._live.tick_ns / defaults.NANOS)
            if session.test_session is not None and not session.test_session.finished:
                self._live.tick(session.summary())

    def _interim(self, sessions: Sequence[MeasuredSession]) -> None:
        from twoway.export import text

        self._live.clear()
        sys.stderr.write("".join(f"{text.interim_line(session.summary())}\n" for session in sessions))
        sys.stderr.flush()

    def _show(self, sessions: Sequence[MeasuredSession], results: list[Result]) -> None:
        options = self._options
        kept_of = [self._kept.get(session, []) for session in sessions]
        if len(results) == 1:
            show(options, results[0], kept_of[0])
            return
        if options.output == "json":
            from twoway.export import json_result

            documents = [
                json_result.document(result, samples=kept if options.samples else None)
                for result, kept in zip(results, kept_of, strict=True)
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
