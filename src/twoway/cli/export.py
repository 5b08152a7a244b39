"""`twoway export`: what the store kept, for others to work with, from a daemon that runs or from the store's file."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sqlite3
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from twoway.cli.api_client import add_api_options
from twoway.cli.arguments import Parser, value_of
from twoway.config.units import parse_duration_ns
from twoway.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from twoway.config.plan import SessionKey
    from twoway.export.kept import Cell
    from twoway.store import Reader

_DESCRIPTION = """\
Write what the store of a daemon kept. SESSION is CONTROL-CONNECTION/TEST-SESSION, or CONTROL-CONNECTION for all of
its test-sessions; without one, all there are.
"""
_EPILOG = """\
Times are like 2026-01-31T12:00 (UTC unless they say otherwise), or a duration before now, as in 24h.
The daemon is asked, unless --store names a file, which may be that of a daemon that runs. Single
probes (--what history) are there of test-sessions with raw-history; each has a number, and keeps it.

Exit code: 0; 2 if it cannot be read or written.

examples:
  twoway export --since 24h --resolution 1h core-fra/voice
  twoway export --what events --format ndjson
  twoway export --store /var/lib/twoway/store.db --format parquet -o month.parquet --since 720h
"""
RESOLUTIONS_S = {"1s": 1, "1min": 60, "1h": 3600, "1d": 86400}
MAX_STEPS = 1500
"""Of one question, so that memory stays bounded; the API answers no more."""
PROBES = 5000
"""Of one question, for the same reason."""
_DAY_NS = 86400 * 10**9


class _Arguments(argparse.Namespace):
    """The options as parsed, with their types."""

    sessions: list[str]
    store: Path | None
    api: str | None
    token_file: str | None
    since: int | None
    until: int | None
    resolution: str
    format: str
    what: str
    output: Path | None


def moment_ns(text: str, field: str = "time") -> int:
    """Wall ns of a date and time, or of a duration before now. Raises `ConfigError`."""
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        try:
            return time.time_ns() - parse_duration_ns(text, field)
        except ConfigError:
            reason = f"{text!r} is neither a time such as 2026-01-31T12:00 nor a duration such as 24h"
            raise ConfigError(field, reason) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000


def export_parser() -> Parser:
    """The options."""
    parser = Parser("twoway export", "[SESSION]...", _DESCRIPTION, _EPILOG)
    parser.add_argument("sessions", metavar="SESSION", nargs="*", help="which test-sessions (all)")
    parser.add_argument("--store", metavar="PATH", type=Path, help="the file of a store, instead of a daemon")
    parser.add_argument("--since", metavar="TIME", type=value_of(moment_ns), help="from then on (24h)")
    parser.add_argument("--until", metavar="TIME", type=value_of(moment_ns), help="up to then (now)")
    parser.add_argument("--resolution", choices=(*RESOLUTIONS_S, "raw"), default="1min", help="of results (1min)")
    parser.add_argument("--format", choices=("csv", "ndjson", "parquet"), default="csv", help="of the output (csv)")
    parser.add_argument("--what", choices=("results", "history", "events"), default="results", help="(results)")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write it there")
    add_api_options(parser)
    return parser


def run(arguments: list[str]) -> int:
    """The command. Returns its exit code."""
    parser = export_parser()
    options = parser.parse_args(arguments, _Arguments())
    if options.format == "parquet" and options.output is None:
        parser.error("--format parquet needs a file: -o FILE")
    if options.store is not None and options.api is not None:
        parser.error("--store and --api: what is exported comes from one of them")
    options.until = time.time_ns() if options.until is None else options.until
    options.since = options.until - _DAY_NS if options.since is None else options.since
    if options.store is None:
        return _export_api(options)
    return _export_file(options.store, options)


def _export_api(options: _Arguments) -> int:
    from twoway.cli.api_client import Api
    from twoway.cli.export_api import KeptByDaemon

    _write(*_table(KeptByDaemon(Api.of(options.api, options.token_file)), options), options)
    return 0


def _export_file(path: Path, options: _Arguments) -> int:
    from twoway.drivers.summaries import PackedSummaries
    from twoway.store import Reader, schema

    if not path.is_file():
        raise StoreError(str(path), "there is no such file: `twoway show health` says where a daemon's is")
    try:
        reader = Reader(schema.connect_read_only(path), PackedSummaries())
        try:
            _write(*_table(KeptInFile(path, reader), options), options)
            if reader.unreadable:
                sys.stderr.write(f"twoway export: {reader.unreadable} rows could not be read, and are left out\n")
        finally:
            reader.close()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise StoreError(str(path), f"it cannot be read: {error}") from error
    return 0


def _write(columns: Sequence[str], rows: Iterable[Sequence[Cell]], options: _Arguments) -> None:
    from twoway.export import kept

    if options.format == "parquet" and options.output is not None:
        kept.write_parquet(columns, rows, options.output)
        return
    write = kept.write_csv if options.format == "csv" else kept.write_ndjson
    if options.output is None:
        write(columns, rows, sys.stdout)
        return
    with options.output.open("w", encoding="utf-8", newline="") as out:
        write(columns, rows, out)


class Source(Protocol):
    """Where what is exported comes from. Times are wall ns."""

    where: str

    def keys(self) -> list[SessionKey]: ...
    def series(self, key: SessionKey, since_ns: int, until_ns: int, resolution: str) -> Iterator[Sequence[Cell]]:
        """Start, end and `SUMMARY_COLUMNS` of each step of at most `MAX_STEPS`."""

    def events(self, since_ns: int, until_ns: int) -> Iterator[Sequence[Cell]]: ...
    def probes(self, key: SessionKey, since_ns: int, until_ns: int) -> Iterator[Sequence[Cell]]:
        """`PROBE_COLUMNS` of each probe that left then, as they came."""


def _table(source: Source, options: _Arguments) -> tuple[Sequence[str], Iterable[Sequence[Cell]]]:
    since, until = options.since or 0, options.until or 0
    if options.what == "events":
        return ("at_ns", "name", "state", "connection", "session", "message"), source.events(since, until)
    keys = _chosen(source, options.sessions)
    if options.what == "history" or options.resolution == "raw":
        from twoway.export.kept import PROBE_COLUMNS

        columns = ("connection", "session", *PROBE_COLUMNS)
        return columns, ((*key, *row) for key in keys for row in source.probes(key, since, until))
    from twoway.export.kept import SUMMARY_COLUMNS

    columns = ("connection", "session", "start_ns", "end_ns", *SUMMARY_COLUMNS)
    return columns, _results(source, keys, since, until, options.resolution)


def _chosen(source: Source, names: list[str]) -> list[SessionKey]:
    """The test-sessions that were asked for. Raises `StoreError` for one that is not there."""
    keys = source.keys()
    if not names:
        return keys
    found = {key: None for name in names for key in keys if name in (key[0], "/".join(key))}
    for name in names:
        if not any(name in (key[0], "/".join(key)) for key in keys):
            raise StoreError(source.where, f"it has no test-session {name}: use CONTROL-CONNECTION/TEST-SESSION")
    return list(found)


def _results(
    source: Source, keys: list[SessionKey], since: int, until: int, resolution: str
) -> Iterator[Sequence[Cell]]:
    step_ns = RESOLUTIONS_S[resolution] * 10**9
    oldest = since // step_ns * step_ns
    for key in keys:
        for start in range(oldest, until, MAX_STEPS * step_ns):
            for row in source.series(key, start, min(until, start + MAX_STEPS * step_ns), resolution):
                yield (*key, *row)


class KeptInFile:
    """The store's own file, read while the daemon writes it. Raises `sqlite3.Error`."""

    def __init__(self, path: Path, reader: Reader) -> None:
        self.where = str(path)
        self._reader = reader

    def keys(self) -> list[SessionKey]:
        return self._reader.keys()

    def series(self, key: SessionKey, since_ns: int, until_ns: int, resolution: str) -> Iterator[Sequence[Cell]]:
        from twoway.export.kept import summary_cells

        for point in self._reader.window(key, since_ns, until_ns, RESOLUTIONS_S[resolution] * 10**9):
            yield (point.start_ns, point.end_ns, *summary_cells(point.summary))

    def events(self, since_ns: int, until_ns: int) -> Iterator[Sequence[Cell]]:
        for event in self._reader.events(since_ns, until_ns, limit=10**9):
            texts = [event.fields.get(name) for name in ("state", "connection", "session", "message")]
            cells = [text if isinstance(text, str) or text is None else json.dumps(text) for text in texts]
            yield (event.at_ns, event.name, *cells)

    def probes(self, key: SessionKey, since_ns: int, until_ns: int) -> Iterator[Sequence[Cell]]:
        from twoway.export.kept import probe_cells

        first, more = 0, True
        while more:
            page = self._reader.page(key, first, since_ns, until_ns, PROBES)
            for number, cells in page.rows:
                yield probe_cells(number, cells)
            first, more = page.next, page.more
