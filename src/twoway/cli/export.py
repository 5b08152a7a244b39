"""`twoway export`: what the store kept, for others to work with. It reads the file while the daemon writes it."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import sqlite3
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from twoway.cli.arguments import Parser, value_of
from twoway.config.units import parse_duration_ns
from twoway.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from twoway.config.plan import SessionKey
    from twoway.export.kept import Cell
    from twoway.store import Reader

_DESCRIPTION = """\
Write what the store kept. SESSION is CONTROL-CONNECTION/TEST-SESSION, or CONTROL-CONNECTION for all of
its test-sessions; without one, all there are.
"""
_EPILOG = """\
Times are like 2026-01-31T12:00 (UTC unless they say otherwise), or a duration before now, as in 24h.
Exit code: 0; 2 if it cannot be read or written.

examples:
  twoway export --store /var/lib/twoway/store.db --since 24h --resolution 1h core-fra/voice
  twoway export --store /var/lib/twoway/store.db --format parquet -o month.parquet --since 720h
  twoway export --store /var/lib/twoway/store.db --what events --format ndjson
"""
_RESOLUTIONS_S = {"1s": 1, "1min": 60, "1h": 3600, "1d": 86400}
_DAY_NS = 86400 * 10**9
_STEPS = 1500
"""Points of one question, so that memory stays bounded."""


class _Arguments(argparse.Namespace):
    """The options as parsed, with their types."""

    sessions: list[str]
    store: Path
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
    parser.add_argument("--store", metavar="PATH", type=Path, required=True, help="the file of the store")
    parser.add_argument("--since", metavar="TIME", type=value_of(moment_ns), help="from then on (24h)")
    parser.add_argument("--until", metavar="TIME", type=value_of(moment_ns), help="up to then (now)")
    parser.add_argument("--resolution", choices=(*_RESOLUTIONS_S, "raw"), default="1min", help="of results (1min)")
    parser.add_argument("--format", choices=("csv", "ndjson", "parquet"), default="csv", help="of the output (csv)")
    parser.add_argument("--what", choices=("results", "history", "events"), default="results", help="(results)")
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="write it there")
    return parser


def run(arguments: list[str]) -> int:
    """The command. Returns its exit code."""
    parser = export_parser()
    options = parser.parse_args(arguments, _Arguments())
    if options.format == "parquet" and options.output is None:
        parser.error("--format parquet needs a file: -o FILE")

    from twoway.drivers.summaries import PackedSummaries
    from twoway.export import kept
    from twoway.store import Reader, schema

    try:
        reader = Reader(schema.connect_read_only(options.store), PackedSummaries())
        try:
            columns, rows = _table(reader, options)
            if options.format == "parquet" and options.output is not None:
                kept.write_parquet(columns, rows, options.output)
            else:
                write = kept.write_csv if options.format == "csv" else kept.write_ndjson
                if options.output is None:
                    write(columns, rows, sys.stdout)
                else:
                    with options.output.open("w", encoding="utf-8", newline="") as out:
                        write(columns, rows, out)
            if reader.unreadable:
                sys.stderr.write(f"twoway export: {reader.unreadable} rows could not be read, and are left out\n")
        finally:
            reader.close()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise StoreError(str(options.store), f"it cannot be read: {error}") from error
    return 0


def _table(reader: Reader, options: _Arguments) -> tuple[Sequence[str], Iterable[Sequence[Cell]]]:
    until = time.time_ns() if options.until is None else options.until
    since = until - _DAY_NS if options.since is None else options.since
    if options.what == "events":
        return ("at_ns", "name", "state", "connection", "session", "message"), _events(reader, since, until)
    keys = _chosen(reader.keys(), options)
    if options.what == "history" or options.resolution == "raw":
        from twoway.analysis import samples

        return ("connection", "session", *(c.name for c in samples.COLUMNS)), _probes(reader, keys, since, until)
    from twoway.export.kept import SUMMARY_COLUMNS

    step_ns = _RESOLUTIONS_S[options.resolution] * 10**9
    names = ("connection", "session", "start_ns", "end_ns", *SUMMARY_COLUMNS)
    return names, _results(reader, keys, since, until, step_ns)


def _chosen(keys: list[SessionKey], options: _Arguments) -> list[SessionKey]:
    """The test-sessions that were asked for. Raises `StoreError` for one that is not there."""
    if not options.sessions:
        return keys
    found = {key: None for name in options.sessions for key in keys if name in (key[0], "/".join(key))}
    for name in options.sessions:
        if not any(name in (key[0], "/".join(key)) for key in keys):
            raise StoreError(str(options.store), f"it has no test-session {name}: use CONTROL-CONNECTION/TEST-SESSION")
    return list(found)


def _results(reader: Reader, keys: list[SessionKey], since: int, until: int, step_ns: int) -> Iterator[Sequence[Cell]]:
    from twoway.export.kept import summary_cells

    oldest = since // step_ns * step_ns
    for key in keys:
        for start in range(oldest, until, _STEPS * step_ns):
            for point in reader.window(key, start, min(until, start + _STEPS * step_ns), step_ns):
                yield (*key, point.start_ns, point.end_ns, *summary_cells(point.summary))


def _probes(reader: Reader, keys: list[SessionKey], since: int, until: int) -> Iterator[Sequence[Cell]]:
    from twoway.analysis import samples

    left = [column.name for column in samples.COLUMNS].index("t1_ns")
    for key in keys:
        for batch in reader.history(key, since, until):
            for row in samples.rows(batch):
                moment = row[left]
                if isinstance(moment, int) and not since <= moment < until:
                    continue  # it shares a row of the store with some that are asked for
                yield (*key, *("|".join(cell) if isinstance(cell, tuple) else cell for cell in row))


def _events(reader: Reader, since: int, until: int) -> Iterator[Sequence[Cell]]:
    for event in reader.events(since, until, limit=10**9):
        texts = [event.fields.get(name) for name in ("state", "connection", "session", "message")]
        cells = [text if isinstance(text, str) or text is None else json.dumps(text) for text in texts]
        yield (event.at_ns, event.name, *cells)
