"""`twoway ping` with several paths: all at once, shown and reported side by side."""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING

from twoway.cli.arguments import abandon_output, terminal_width
from twoway.cli.live import EVENTS
from twoway.cli.ping import conditions_of
from twoway.cli.ping_arguments import measurement_from, paths_of
from twoway.config.defaults import NANOS
from twoway.config.path import along
from twoway.errors import EXIT_CONDITION, EXIT_NO_REPLY, EXIT_REPLIES, ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twoway.analysis.comparison import PathSetResult
    from twoway.analysis.conditions import Condition
    from twoway.analysis.result import Event, SessionDescription, Summary
    from twoway.cli.ping_arguments import PingArguments
    from twoway.drivers.path_set import RunningPathSet
    from twoway.drivers.plane import SampleBatch
    from twoway.drivers.signals import SignalWait
    from twoway.export.ndjson import Record

_REWRITE_NS = NANOS // 5
"""Between two states of the status line."""


class PathsLive:
    """What is on the screen while paths are measured: nothing, or a status line on a terminal."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._shown = False
        self.tick_ns = _REWRITE_NS if not quiet and sys.stdout.isatty() else None

    def begin(self, sessions: Mapping[str, SessionDescription]) -> None:
        """The first packets have been asked for."""
        if self._quiet:
            return
        from twoway.export.paths_text import heading

        sys.stdout.write(heading(next(iter(sessions.values())), len(sessions)) + "\n")
        sys.stdout.flush()

    def packets(self, path: str, batch: SampleBatch) -> None:
        """The fate of some packets of a path is known."""

    def event(self, path: str, event: Event) -> None:
        """Something happened on a path that is not a packet."""
        if not self._quiet:
            self.clear()
            sys.stdout.write(f"event on {path}: {EVENTS.get(event.name, event.name)}\n")
            sys.stdout.flush()

    def tick(self, summaries: Mapping[str, Summary]) -> None:
        """`tick_ns` went by."""
        from twoway.export.paths_text import status_line

        sys.stdout.write(f"\r{status_line(summaries)[: terminal_width() - 1]}\x1b[K")
        sys.stdout.flush()
        self._shown = True

    def clear(self) -> None:
        """Something else is about to be written."""
        if self._shown:
            sys.stdout.write("\r\x1b[K")
            self._shown = False

    def end(self, measured: PathSetResult) -> None:
        """Nothing more will come."""
        del measured
        self.clear()


class PathsNdjson(PathsLive):
    """A JSON record a line as things happen, each with its path; at the end summaries and differences."""

    def __init__(self) -> None:
        super().__init__(quiet=True)

    def begin(self, sessions: Mapping[str, SessionDescription]) -> None:
        from twoway.export import ndjson

        self._write([ndjson.on_path(name, ndjson.session(session)) for name, session in sessions.items()])

    def packets(self, path: str, batch: SampleBatch) -> None:
        from twoway.export import ndjson

        self._write([ndjson.on_path(path, record) for record in ndjson.packets(batch)])

    def event(self, path: str, event: Event) -> None:
        from twoway.export import ndjson

        self._write([ndjson.on_path(path, ndjson.event(event))])

    def end(self, measured: PathSetResult) -> None:
        from twoway.export import ndjson

        self._write([ndjson.on_path(name, ndjson.summary(result)) for name, result in measured.results.items()])
        self._write([ndjson.difference(difference) for difference in measured.differences])

    def _write(self, records: list[Record]) -> None:
        from twoway.export import ndjson

        sys.stdout.write("".join(f"{ndjson.line(record)}\n" for record in records))
        sys.stdout.flush()


class PathsCsv(PathsLive):
    """A row for each packet, the path first, under a header."""

    def __init__(self) -> None:
        super().__init__(quiet=True)

    def begin(self, sessions: Mapping[str, SessionDescription]) -> None:
        del sessions
        from twoway.export import csv_rows

        sys.stdout.write(csv_rows.header(paths=True) + "\n")
        sys.stdout.flush()

    def packets(self, path: str, batch: SampleBatch) -> None:
        from twoway.export import csv_rows

        sys.stdout.write("".join(f"{row}\n" for row in csv_rows.rows(batch, path)))
        sys.stdout.flush()


def _live_of(options: PingArguments) -> PathsLive:
    if options.output == "ndjson":
        return PathsNdjson()
    if options.output == "csv":
        return PathsCsv()
    return PathsLive(quiet=options.quiet or options.output == "json")


def ping_paths(options: PingArguments) -> int:
    """The command. Returns its exit code."""
    for option, given in (("--plot", options.plot is not None), ("--histogram", options.histogram)):
        if given:
            raise ConfigError(option, "several paths have no common one: measure one of them")
    if options.samples and options.output != "json":
        raise ConfigError("--samples", "it goes with --json")
    conditions = conditions_of(options.fail_if)
    live = _live_of(options)
    base = measurement_from(options, keep_samples=True)

    from twoway.drivers.path_set import RunningPathSet
    from twoway.drivers.plane import resolve_target
    from twoway.drivers.signals import SignalWait

    measurements = {way.name or str(way.path): along(base, way) for way in paths_of(options)}
    kept: dict[str, list[SampleBatch]] | None = {name: [] for name in measurements} if options.samples else None
    with (
        RunningPathSet(measurements, resolve_target(base)) as running,
        SignalWait((signal.SIGINT, signal.SIGTERM)) as signals,
    ):
        try:
            running.start()
            live.begin({name: path.description for name, path in running.paths.items()})
            interrupted = _watch(running, live, kept, signals)
            measured = running.result(interrupted=interrupted)
            live.end(measured)
            _show(options, measured, kept)
        except BrokenPipeError:
            running.abort()
            running.settle()
            abandon_output()
            return _exit_code(running.result(interrupted=True), [])
    return _exit_code(measured, conditions)


def _watch(
    running: RunningPathSet, live: PathsLive, kept: dict[str, list[SampleBatch]] | None, signals: SignalWait
) -> bool:
    """Show the measurement until it has finished (False) or a signal ends it (True)."""
    tick_at_ns = None if live.tick_ns is None else time.monotonic_ns() + live.tick_ns
    while True:
        _take(running, live, kept)
        if running.finished:
            return False
        now_ns = time.monotonic_ns()
        if live.tick_ns is not None and tick_at_ns is not None and now_ns >= tick_at_ns:
            live.tick({name: path.summary() for name, path in running.paths.items()})
            tick_at_ns = now_ns + live.tick_ns
        bounds = [bound for bound in (running.remaining_ns(), tick_at_ns and tick_at_ns - now_ns) if bound is not None]
        numbers = signals.wait(running.coalesce_ns) if running.coalesce_ns else []
        if numbers or signals.wait(min(bounds, default=None), descriptor=running.fileno()):
            running.abort()
            running.settle()
            _take(running, live, kept)
            live.clear()
            return True


def _take(running: RunningPathSet, live: PathsLive, kept: dict[str, list[SampleBatch]] | None) -> None:
    for name, batch in running.take():
        if len(batch):
            if kept is not None:
                kept[name].append(batch)
            live.packets(name, batch)
    for name, event in running.take_events():
        live.event(name, event)


def _show(options: PingArguments, measured: PathSetResult, kept: dict[str, list[SampleBatch]] | None) -> None:
    if options.output == "json":
        from twoway.export import json_result, paths_json

        sys.stdout.write(json_result.text(paths_json.document(measured, kept)) + "\n")
    elif options.output == "text":
        from twoway.export import paths_text

        gap = "" if options.quiet else "\n"
        sys.stdout.write(f"{gap}{paths_text.report(measured, options.percentiles)}\n")
    sys.stdout.flush()


def _exit_code(measured: PathSetResult, conditions: list[Condition]) -> int:
    """3 if a condition is violated on some path, which is said; else 0 with replies on each path, and 1 without."""
    violated = False
    for name, result in measured.results.items():
        for condition in conditions:
            reason = condition.violated(result)
            if reason is not None:
                violated = True
                sys.stderr.write(f"twoway ping: --fail-if on {name}: {reason}\n")
    if violated:
        return EXIT_CONDITION
    summaries = [result.summary for result in measured.results.values()]
    answered = [summary.counter("received") + summary.counter("late") for summary in summaries]
    return EXIT_REPLIES if all(answered) else EXIT_NO_REPLY
