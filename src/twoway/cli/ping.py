"""`twoway ping`: measure a path, show it live, report, and end with a code that a script can use."""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING

from twoway.cli.arguments import abandon_output
from twoway.cli.live import LINE_INTERVAL_NS, CsvLive, Live, NdjsonLive, PacketLive, StatusLive
from twoway.cli.ping_arguments import OPTIONS, PingArguments, measurement_from, ping_parser
from twoway.errors import EXIT_CONDITION, EXIT_NO_REPLY, EXIT_REPLIES, ConfigError, OutputError

if TYPE_CHECKING:
    from twoway.analysis.conditions import Condition
    from twoway.analysis.result import Result
    from twoway.drivers.plane import RunningMeasurement, SampleBatch
    from twoway.drivers.signals import SignalWait


MANAGED = ("twamp", "owamp")
"""Protocols with a control connection."""


def live_of(options: PingArguments) -> Live:
    """How the measurement is shown while it runs."""
    if options.output == "ndjson":
        return NdjsonLive()
    if options.output == "csv":
        return CsvLive()
    if options.quiet or options.output == "json":
        return Live()
    return PacketLive() if options.interval_ns >= LINE_INTERVAL_NS else StatusLive()


def check_plot(path: str) -> None:
    """Refuse before measuring what could only fail after it."""
    import importlib.util
    import os
    from pathlib import Path

    if not path.lower().endswith((".png", ".svg")):
        raise ConfigError("--plot", f"{path!r} ends neither in .png nor in .svg")
    if importlib.util.find_spec("matplotlib") is None:
        raise OutputError(path, "matplotlib is not installed: `pip install 'twoway[plot]'`")
    directory = Path(path).parent
    if not os.access(directory, os.W_OK | os.X_OK):
        raise OutputError(path, f"the directory {directory} does not exist or is not writable")


def run(arguments: list[str]) -> int:
    """The command. Returns its exit code."""
    options = ping_parser().parse_args(arguments, PingArguments())
    try:
        if options.protocol in MANAGED:
            from twoway.cli.managed import ping_managed

            return ping_managed(options)
        if len(options.path) > 1 or options.lag is not None:
            from twoway.cli.ping_paths import ping_paths

            return ping_paths(options)
        return _ping(options)
    except ConfigError as error:
        if error.field not in OPTIONS:
            raise
        raise ConfigError(OPTIONS[error.field], error.reason) from None


def _ping(options: PingArguments) -> int:
    if options.samples and options.output != "json":
        raise ConfigError("--samples", "it goes with --json")
    conditions = conditions_of(options.fail_if)
    if options.plot is not None:
        check_plot(options.plot)
    live = live_of(options)
    kept: list[SampleBatch] | None = [] if options.samples or options.plot is not None else None
    measurement = measurement_from(options, keep_samples=live.needs_samples or kept is not None)

    from twoway.drivers.plane import RunningMeasurement, local_clock, resolve_target
    from twoway.drivers.signals import SignalWait

    with (
        RunningMeasurement(measurement, resolve_target(measurement)) as running,
        SignalWait((signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)) as signals,
    ):
        try:
            running.start()
            # What renders is loaded while the first packet is on its way.
            live.begin(running.description, local_clock())
            interrupted = _watch(running, live, kept, signals)
            result = running.result(interrupted=interrupted)
            live.end(result)
            show(options, result, kept)
        except BrokenPipeError:
            # The reader of our output has gone, as in `… | head`: end quietly, with the code that the replies earn.
            running.abort()
            running.settle()
            abandon_output()
            return exit_code(running.result(interrupted=True), [])
    return exit_code(result, conditions)


def _watch(running: RunningMeasurement, live: Live, kept: list[SampleBatch] | None, signals: SignalWait) -> bool:
    """Show the measurement until it has finished (False) or a signal ends it (True)."""
    tick_at_ns = None if live.tick_ns is None else time.monotonic_ns() + live.tick_ns
    while True:
        _take(running, live, kept)
        now_ns = time.monotonic_ns()
        if live.tick_ns is not None and tick_at_ns is not None and now_ns >= tick_at_ns and not running.finished:
            live.tick(running.summary())
            tick_at_ns = now_ns + live.tick_ns
        if running.finished:
            return False
        numbers = signals.wait(running.coalesce_ns) if running.coalesce_ns and live.needs_samples else []
        bounds = [bound for bound in (running.remaining_ns(), tick_at_ns and tick_at_ns - now_ns) if bound is not None]
        numbers = numbers or signals.wait(min(bounds, default=None), descriptor=running.fileno())
        if signal.SIGINT in numbers or signal.SIGTERM in numbers:
            running.abort()
            running.settle()
            _take(running, live, kept)
            live.clear()
            return True
        if signal.SIGQUIT in numbers:
            from twoway.export import text

            live.clear()
            sys.stderr.write(text.interim_line(running.summary()) + "\n")
            sys.stderr.flush()


def _take(running: RunningMeasurement, live: Live, kept: list[SampleBatch] | None) -> None:
    """Move what the packet plane has gathered to where it is shown and kept."""
    batch = running.take()
    if len(batch):
        if kept is not None:
            kept.append(batch)
        live.packets(batch)
    for event in running.take_events():
        live.event(event)


def show(options: PingArguments, result: Result, kept: list[SampleBatch] | None) -> None:
    """Everything that comes at the end."""
    if options.output == "json":
        from twoway.export import json_result

        document = json_result.document(result, samples=kept if options.samples else None)
        sys.stdout.write(json_result.text(document) + "\n")
    elif options.output == "text":
        from twoway.export import text

        gap = "" if options.quiet else "\n"
        sys.stdout.write(f"{gap}{text.report(result, options.percentiles)}\n")
        if options.histogram:
            _draw_histogram(result)
    if options.plot is not None:
        from twoway.export import plot

        plot.save(result, kept or [], options.plot)
    sys.stdout.flush()


def _draw_histogram(result: Result) -> None:
    from twoway.cli.arguments import terminal_width
    from twoway.export import histogram

    drawn = histogram.draw(result.summary.distribution("round_trip"), terminal_width(), "round trip")
    sys.stdout.write(f"\n{drawn}\n")


def conditions_of(texts: list[str]) -> list[Condition]:
    """The `--fail-if`s. Raises `ConfigError`."""
    if not texts:
        return []
    from twoway.analysis import conditions

    return [conditions.parse(text) for text in texts]


def exit_code(result: Result, conditions: list[Condition]) -> int:
    """3 if a condition is violated, which is said, else 0 with replies and 1 without."""
    reasons = [reason for condition in conditions if (reason := condition.violated(result)) is not None]
    for reason in reasons:
        sys.stderr.write(f"twoway ping: --fail-if {reason}\n")
    if reasons:
        return EXIT_CONDITION
    # Who asks for no reply is content to have sent.
    counters = ("sent",) if result.session.return_path == "none" else ("received", "late")
    return EXIT_REPLIES if any(result.summary.counter(name) for name in counters) else EXIT_NO_REPLY
